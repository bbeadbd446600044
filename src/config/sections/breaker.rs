//! `[breaker]`: when Redis is left alone, and when it is asked again.

use std::time::Duration;

use crate::config::declare::{settings, words};
use crate::config::section::Kind;
use crate::config::values::duration::{DurationRule, hours, ms};
use crate::config::values::number::Count;
use crate::config::values::text::Choice;

pub(crate) static BREAKER: Kind = Kind::one("breaker", &[Breaker::SETTINGS]);

words! {
    /// How the breaker is run; operators hold it by hand with the two others than `auto`.
    pub enum BreakerMode {
        /// By what Redis does.
        Auto = "auto",
        /// Held open: Redis is not used.
        ForcedOpen = "forced_open",
        /// Held closed: every request tries Redis.
        Disabled = "disabled",
    }
}

settings! {
    /// `[breaker]`: when Redis is left alone, and when it is asked again.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Breaker {
        /// auto: by what Redis does; forced_open: Redis is not used; disabled: every request tries it.
        pub mode: BreakerMode = "auto", Choice(BreakerMode::WORDS);
        /// Consecutive failures that open the breaker.
        /// 5 and 60 s are what the originals gave to pybreaker.
        pub fail_max: u32 = "5", Count(1, 1_000_000);
        /// With probe_interval = 0: how long it stays open before one request is the trial.
        pub reset_timeout: Duration = "60s", DurationRule::between(ms(1), hours(24));
        /// How often a thread of its own tries Redis while the breaker is open; 0: requests try it.
        /// Bounded by an hour: a breaker that opens must not stay open for a day by a slip.
        pub probe_interval: Duration = "1s", DurationRule::between(ms(1), hours(1)).or_zero();
        /// Lookups in flight for over half of [redis] timeout that open the breaker at once.
        /// Above what can be in flight it never acts; a note says so (`rules/`).
        pub stall_calls: usize = "4", Count(1, 1_000_000);
    }
}
