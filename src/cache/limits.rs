//! What Redis may cost, and how much to ask of it at once. One set of figures for all nodes: they
//! are about our sources and our values, not about any one server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::ewma::Ewma;
use crate::config;

/// Redis is never found too slow within this time: a server that forks or a busy machine takes it.
const PATIENCE_MIN: Duration = Duration::from_millis(100);

/// Bytes of values that are asked for at once, as far as can be foreseen.
const BATCH_BYTES: u64 = 2 * 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Limits {
    /// Budget of one request for everything it does with Redis.
    pub timeout: Duration,
    /// Lookups without a reply that are a stall (`[breaker] stall_calls`).
    pub stall_calls: usize,
    /// In microseconds; see [`Self::patience`].
    patience_us: AtomicU64,
    /// Of one value.
    value_bytes: Ewma,
}

impl Limits {
    /// From the settings; nothing is learned yet.
    pub(crate) fn new(redis: &config::Redis, breaker: &config::Breaker) -> Self {
        Self {
            timeout: redis.timeout,
            stall_calls: breaker.stall_calls,
            patience_us: AtomicU64::new((redis.timeout / 2).as_micros() as u64),
            value_bytes: Ewma::default(),
        }
    }

    /// How long a lookup waits for Redis until that counts as a stall: half the budget, or less where
    /// the source would have been faster.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_micros(self.patience_us.load(Ordering::Relaxed))
    }

    /// From now on a lookup that waits longer than `limit` would have been answered sooner without Redis.
    pub(crate) fn set_patience(&self, limit: Duration) {
        let patience = limit.max(PATIENCE_MIN).min(self.timeout / 2);
        let patience_us = patience.as_micros() as u64;
        self.patience_us.store(patience_us, Ordering::Relaxed);
    }

    /// How many keys to ask for at once, up to `max`: fewer where values are large, so that a batch
    /// costs neither memory nor the time of everybody in it.
    pub(crate) fn batch_max(&self, max: usize) -> usize {
        let affordable = BATCH_BYTES / self.value_bytes.value().max(1);
        let affordable = usize::try_from(affordable).unwrap_or(max);
        affordable.clamp(1, max)
    }

    /// `count` values of `bytes` in all were read.
    pub(crate) fn learn_sizes(&self, count: usize, bytes: usize) {
        if let Some(mean) = bytes.checked_div(count) {
            self.value_bytes.learn_peak(mean as u64);
        }
    }

    /// A batch was more than can be taken: from now on one key at a time, until values are found small.
    pub(crate) fn learn_too_large(&self) {
        self.value_bytes.raise_to(BATCH_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NO_ENVIRONMENT;

    #[test]
    fn batches_shrink_at_once_where_values_are_large_and_grow_again_little_by_little() {
        let config = config::parse("", "test.ini", NO_ENVIRONMENT).expect("a configuration");
        let limits = Limits::new(&config.config.redis, &config.config.breaker);
        limits.learn_sizes(1, 100);
        assert_eq!(limits.batch_max(64), 64);
        limits.learn_sizes(1, 1024 * 1024);
        assert_eq!(limits.batch_max(64), 2);
        limits.learn_too_large();
        assert_eq!(limits.batch_max(64), 1);
        let mut reads = 0;
        while limits.batch_max(64) < 64 {
            limits.learn_sizes(1, 100);
            reads += 1;
        }
        assert!((10..50).contains(&reads), "{reads}");
    }
}
