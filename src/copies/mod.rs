//! The last good answers of this process.

pub(crate) mod memory;
