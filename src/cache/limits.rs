//! What Redis may cost, and how much to ask of it at once. One set of figures for all nodes: they
//! are about our sources and our values, not about any one server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config;

/// Bytes of values that are asked for at once, as far as can be foreseen.
const BATCH_BYTES: u64 = 2 * 1024 * 1024;
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
    /// Bytes of the values that were read last, later ones counting more; see [`Self::batch_max`].
    usual_bytes: AtomicU64,
}

impl Limits {
    /// From the settings; nothing is learned yet.
    #[must_use]
    pub fn new(redis: &config::Redis, breaker: &config::Breaker) -> Self {
        Self {
            timeout: redis.timeout,
            stall_calls: breaker.stall_calls,
            patience_us: AtomicU64::new((redis.timeout / 2).as_micros() as u64),
            usual_bytes: AtomicU64::new(0),
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

    /// How many keys to ask for at once, up to `max`: fewer where values are large, so that a batch
    /// costs neither memory nor the time of everybody in it.
    #[must_use]
    pub fn batch_max(&self, max: usize) -> usize {
        let usual = self.usual_bytes.load(Ordering::Relaxed).max(1);
        let affordable = usize::try_from(BATCH_BYTES / usual).unwrap_or(max);
        affordable.clamp(1, max)
    }

    /// `count` values of `bytes` in all were read.
    pub fn learn_size(&self, count: usize, bytes: usize) {
        let Some(mean) = bytes.checked_div(count) else {
            return;
        };
        let mean = mean as u64;
        let usual = self.usual_bytes.load(Ordering::Relaxed);
        // Two readers may overwrite each other here: either figure will do.
        let learned = if mean > usual {
            mean
        } else {
            (usual * 7 + mean) / 8
        };
        self.usual_bytes.store(learned, Ordering::Relaxed);
    }

    /// A reply to `keys` keys was too large: the next ones are asked for in smaller batches.
    pub fn learn_too_large(&self, keys: usize) {
        let each = BATCH_BYTES / keys.max(1) as u64;
        self.usual_bytes.fetch_max(each * 2, Ordering::Relaxed);
    }
}
