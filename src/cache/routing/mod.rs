//! Which node serves which key, and asking several at once.

pub mod fan_out;
pub mod hash_slot;
pub mod slot_map;
