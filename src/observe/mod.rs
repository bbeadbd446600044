//! Counted and said, never decides: metrics, outages, outcomes, the log.

pub mod logging;
pub mod metrics;
pub mod outage;
pub mod outcome;
