//! Counted and said, never decides: metrics, outages, outcomes, the log.

mod log_sink;
pub mod logging;
pub(crate) mod metrics;
pub(crate) mod outage;
pub(crate) mod outcome;
