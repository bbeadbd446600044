//! Counted and said, never decides: metrics, outages, outcomes, the log.

pub mod logging;
pub(crate) mod metrics;
pub(crate) mod outage;
pub(crate) mod outcome;
