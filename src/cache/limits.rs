//! What Redis may cost, and how much to ask of it at once. One set of figures for all nodes: they
//! are about our sources and our values, not about any one server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::ewma::Usual;
use crate::config;

/// Redis is never found too slow within this time: a server that forks or a busy machine takes it.
const PATIENCE_MIN: Duration = Duration::from_millis(100);

/// The figures.
#[derive(Debug)]
pub struct Limits {
    /// Budget of one request for everything it does with Redis.
    pub timeout: Duration,
    /// Lookups without a reply that are a stall (`[breaker] stall_calls`).
    pub stall_calls: usize,
    /// In microseconds; see [`Self::patience`].
    patience_us: AtomicU64,
    /// How large values usually are.
    pub(crate) usual: Usual,
}

impl Limits {
    /// From the settings; nothing is learned yet.
    #[must_use]
    pub fn new(redis: &config::Redis, breaker: &config::Breaker) -> Self {
        Self {
            timeout: redis.timeout,
            stall_calls: breaker.stall_calls,
            patience_us: AtomicU64::new((redis.timeout / 2).as_micros() as u64),
            usual: Usual::default(),
        }
    }

    /// How long a lookup waits for Redis until that counts as a stall: half the budget, or less where
    /// the source would have been faster.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_micros(self.patience_us.load(Ordering::Relaxed))
    }

    /// From now on whoever waits longer than `limit` would have been better off without Redis.
    pub fn set_patience(&self, limit: Duration) {
        let patience = limit.max(PATIENCE_MIN).min(self.timeout / 2);
        let patience_us = patience.as_micros() as u64;
        self.patience_us.store(patience_us, Ordering::Relaxed);
    }

    /// How many keys to ask for at once, up to `max`.
    #[must_use]
    pub fn batch_max(&self, max: usize) -> usize {
        self.usual.batch_max(max)
    }
}
