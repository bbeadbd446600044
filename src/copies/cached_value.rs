//! What is kept of a key, and what can be said of it at a given moment. Plain data: what is done with it
//! is the policy's to decide.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// A value as it was when it was last known to be good.
#[derive(Debug, Clone)]
pub(crate) struct CachedValue {
    /// The value, byte for byte.
    pub value: Arc<str>,
    /// When it was fetched, or seen in Redis.
    pub fetched_at: Instant,
    /// How long from then on it is fresh.
    pub ttl: Duration,
    /// Whether `ttl` is its ttl in Redis too; else that may be shorter, and Redis is to be asked for it.
    pub is_ttl_known: bool,
    /// From when on it is due: Redis is asked for its ttl, and it is refreshed before its end. None: never.
    pub due_at: Option<Instant>,
    /// The source has failed for it and is not asked again before.
    pub retry_at: Option<Instant>,
}

impl CachedValue {
    /// What a source has given at `now`, to be refreshed after `refresh_after`.
    pub(crate) fn fetched(
        value: Arc<str>,
        ttl: Duration,
        refresh_after: Option<Duration>,
        now: Instant,
    ) -> Self {
        Self {
            value,
            fetched_at: now,
            ttl,
            is_ttl_known: true,
            due_at: refresh_after.map(|after| now + after),
            retry_at: None,
        }
    }

    /// How old it is at `now`; zero for a moment before it was fetched.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.fetched_at)
    }

    /// Whether it is still within its ttl at `now`.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        self.age(now) < self.ttl
    }

    /// Whether it may be served at `now` when there is nothing better: up to `max_stale` past its
    /// ttl (`stale-if-error`, RFC 5861 section 4).
    pub(crate) fn is_servable_stale(&self, now: Instant, max_stale: Duration) -> bool {
        self.age(now) < self.ttl.saturating_add(max_stale)
    }

    /// Whether it is to be refreshed, or Redis to be asked for its ttl.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due_at.is_some_and(|at| now >= at)
    }

    /// Whether the source has failed for it a moment ago.
    pub(crate) fn waits_for_retry(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|at| now < at)
    }
}

/// What is kept for a key.
#[derive(Debug, Clone)]
pub(crate) enum Kept {
    Value(CachedValue),
    /// The source said that there is no such thing; that holds until then.
    Negative {
        until: Instant,
    },
}
