//! The last good answers of this process.

pub(crate) mod cached_value;
pub(crate) mod memory;
