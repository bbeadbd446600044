//! Which node serves which key, and asking several at once.

pub(crate) mod fan_out;
pub mod hash_slot;
pub(crate) mod redirect;
pub(crate) mod router;
pub(crate) mod slot_map;
