//! `[health]`: what the health endpoints make of a Redis that is down.

use crate::config::declare::{settings, words};
use crate::config::section::Kind;
use crate::config::values::text::Choice;

pub(crate) static HEALTH: Kind = Kind::one("health", &[Health::SETTINGS]);

words! {
    /// See [`Health::redis`].
    pub enum RedisHealth {
        /// `"status":"degraded"`, still 200.
        Report = "report",
        /// 503 from `/healthz` and `/readyz`.
        Fail = "fail",
    }
}

settings! {
    /// `[health]`: what the health endpoints make of a Redis that is down.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Health {
        /// While Redis is down: report says degraded with 200; fail answers 503 (/healthz, /readyz).
        pub redis: RedisHealth = "report", Choice(RedisHealth::WORDS);
    }
}
