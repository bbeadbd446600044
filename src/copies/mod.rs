//! The last good answers of this process.

pub mod memory;
