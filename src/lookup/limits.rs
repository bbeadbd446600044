//! What the policy computes from the configuration: plain arithmetic.

use std::time::Duration;

use crate::config::Config;

/// `ttl`, longer or shorter by up to `by`; never below the second that Redis counts in.
pub(super) fn jittered(ttl: Duration, by: Duration) -> Duration {
    let longest = ttl + by;
    let jittered = longest.saturating_sub(by.mul_f64(2.0 * fastrand::f64()));
    jittered.max(Duration::from_secs(1))
}

/// How many fillers each source may hold: its own `max_concurrent`, and never so many that another
/// source would find none.
pub(super) fn lane_limits(config: &Config) -> Vec<usize> {
    let workers = config.server.workers;
    let others = config.sources.len().saturating_sub(1);
    let share = workers.saturating_sub(others.min(workers / 2)).max(1);
    let limits = config.sources.iter();
    limits
        .map(|source| source.max_concurrent().map_or(share, |max| max.min(share)))
        .collect()
}
