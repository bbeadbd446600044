//! `[memory]`: the last good answers in this process.

use crate::config::declare::settings;
use crate::config::section::Kind;
use crate::config::values::number::{GIB, KIB, Size};
use crate::config::values::text::YES_OR_NO;

pub(crate) static MEMORY: Kind = Kind::one("memory", &[Memory::SETTINGS]);

settings! {
    /// `[memory]`: the last good answers in this process.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Memory {
        /// Whether last good answers are kept in this process; false: as the original services.
        pub enabled: bool = "true", YES_OR_NO;
        /// Keys, values and overhead together; the least useful answers make room.
        /// The upper bound catches a slip of the unit, nothing else.
        pub max_bytes: u64 = "64MiB", Size(KIB, 1024 * GIB);
        /// Whether a copy within its ttl answers while Redis is down; false: the source is asked.
        /// Keeps an outage of Redis from becoming one of the primary.
        pub fresh_while_redis_is_down: bool = "true", YES_OR_NO;
    }
}
