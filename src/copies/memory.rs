//! The last good answers, kept in this process and bounded in bytes, for the time when Redis or the
//! source does not answer. It keeps and gives back; whether a copy may be served is the lookup's to
//! decide. It must never give back another key's value, nor one older than the last it was given.

mod store;

use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::{EntryAction, EntryResult};

use crate::config;

#[cfg(test)]
mod tests;

use store::{Copies, Evictions, Key, KeyRef, copies};

/// A value is kept up to this part of `max_bytes`; larger ones would push out all the others.
const LARGEST_PART: u64 = 8;
/// With more in Redis than fits here, one in so many hits on unknown keys is taken in: keys that are
/// asked for often get in soon, and the others do not push each other out at every hit (measured with
/// 100 MB of 10 KiB values: a third of the CPU of a hit).
const ADMIT_ONE_IN: u8 = 8;
/// Who is told that a copy is due looks at it within this part of its life; then another is told.
const LOOK_PART: u32 = 20;

/// A value as it was when it was last known to be good.
#[derive(Debug, Clone)]
pub(crate) struct CachedValue {
    /// The value, byte for byte.
    pub value: Arc<str>,
    /// When it was fetched, or seen in Redis.
    pub fetched_at: Instant,
    /// How long from then on it is fresh.
    pub ttl: Duration,
    /// Whether `ttl` is its life in Redis too; else that may be shorter, and is to be looked at.
    pub is_life_known: bool,
    /// From when on it is due: to be looked at, and refreshed before its end. None: never.
    pub due_at: Option<Instant>,
    /// The source has failed for it and is not asked again before.
    pub retry_at: Option<Instant>,
}

impl CachedValue {
    /// What a source has given at `now`, to be refreshed after `refresh_after`.
    #[must_use]
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
            is_life_known: true,
            due_at: refresh_after.map(|after| now + after),
            retry_at: None,
        }
    }

    /// How old it is at `now`; zero for a moment before it was fetched.
    #[must_use]
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.fetched_at)
    }

    /// Whether it is still within its ttl at `now`.
    #[must_use]
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        self.age(now) < self.ttl
    }

    /// Whether it may be served at `now` when there is nothing better: up to `max_stale` past its
    /// ttl (`stale-if-error`, RFC 5861 section 4).
    #[must_use]
    pub(crate) fn is_servable_stale(&self, now: Instant, max_stale: Duration) -> bool {
        self.age(now) < self.ttl.saturating_add(max_stale)
    }

    /// Whether it is to be refreshed, or its life to be looked at.
    #[must_use]
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due_at.is_some_and(|at| now >= at)
    }

    /// Whether the source has failed for it a moment ago.
    #[must_use]
    pub(crate) fn waits_for_retry(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|at| now < at)
    }
}

/// What is kept for a key.
#[derive(Debug, Clone)]
enum Kept {
    Value(CachedValue),
    /// The source said that there is no such thing.
    Negative {
        until: Instant,
    },
}

/// The copies of all routes. Shared by all threads; a call takes one short lock and never waits for
/// anything else.
pub(crate) struct Memory {
    /// None: switched off, nothing is kept.
    cache: Option<Copies>,
    limit: u64,
    evictions: Evictions,
}

impl Memory {
    /// An empty memory of up to `max_bytes`, all overhead counted. Nothing is allocated in advance.
    ///
    /// Measured with glibc's malloc, growth of the resident set by a full memory of 64 MiB: 63 to
    /// 67 MiB, with values of 1 byte (407,000 of them), 100 bytes (255,000), 10 KiB (6,300), 200 kB
    /// or mixed ones in steady exchange. Where 32 threads write without a pause, each frees
    /// into the arenas of others: 99 MiB, and 75 with `MALLOC_ARENA_MAX=2`.
    #[must_use]
    pub(crate) fn new(config: &config::Memory) -> Self {
        let limit = config.max_bytes;
        let evictions = Evictions::default();
        let cache = config.enabled.then(|| copies(limit, &evictions)).flatten();
        Self {
            cache,
            limit,
            evictions,
        }
    }

    /// The copy of `key`, fresh or not.
    #[must_use]
    pub(crate) fn recall(&self, route: usize, key: &str) -> Option<CachedValue> {
        match self.cache.as_ref()?.get(&KeyRef { route, name: key })? {
            Kept::Value(copy) => Some(copy),
            Kept::Negative { .. } => None,
        }
    }

    /// Whether the source said, for so long that it holds at `now`, that there is no `key`.
    #[must_use]
    pub(crate) fn has_negative(&self, route: usize, key: &str, now: Instant) -> bool {
        let kept = self.cache.as_ref();
        let kept = kept.and_then(|cache| cache.get(&KeyRef { route, name: key }));
        matches!(kept, Some(Kept::Negative { until }) if now < until)
    }

    /// Keeps `copy` in place of whatever was kept before. A value larger than an eighth of the limit
    /// is not kept, and the old copy is forgotten all the same.
    pub(crate) fn remember(&self, route: usize, key: &str, copy: CachedValue) {
        if copy.value.len() as u64 > self.limit / LARGEST_PART {
            return self.forget(route, key);
        }
        self.keep(route, key, Kept::Value(copy));
    }

    /// Keeps `until` then that there is no `key`.
    pub(crate) fn remember_negative(&self, route: usize, key: &str, until: Instant) {
        self.keep(route, key, Kept::Negative { until });
    }

    /// Keeps what was seen in Redis; whether its life there is to be looked at, which is said once.
    /// An equal copy that is still fresh is left as it is, so that a hit costs a look and no
    /// allocation: 50,000 of them come each second, at 42 ns for 100 bytes. A full memory takes in
    /// only some of the keys that it does not have. `ttl` is the longest that it may live.
    pub(crate) fn remember_hit(
        &self,
        route: usize,
        key: &str,
        value: &str,
        ttl: Duration,
        now: Instant,
    ) -> bool {
        let value = match self.recall(route, key) {
            Some(copy) if *copy.value == *value => {
                if copy.is_fresh(now) {
                    return copy.is_due(now) && self.claim_refresh(route, key, now);
                }
                copy.value
            }
            _ if self.cache.is_none() => return false,
            None if self.is_full() && fastrand::u8(..ADMIT_ONE_IN) > 0 => return false,
            _ => value.into(),
        };
        let copy = CachedValue {
            value,
            fetched_at: now,
            ttl,
            is_life_known: false,
            due_at: Some(now + ttl / LOOK_PART),
            retry_at: None,
        };
        self.remember(route, key, copy);
        true
    }

    /// Whether the copy of `key` is due and nobody else looks after it: true once, and again only
    /// after a part of its life.
    #[must_use]
    pub(crate) fn claim_refresh(&self, route: usize, key: &str, now: Instant) -> bool {
        let look = |copy: &mut CachedValue| {
            let is_due = copy.is_due(now);
            if is_due {
                copy.due_at = Some(now + (copy.ttl / LOOK_PART).max(Duration::from_millis(500)));
            }
            is_due
        };
        self.change(route, key, look).unwrap_or(false)
    }

    /// Changes the copy of `key` in its place, if there is one; what `change` returns. A lock is
    /// held meanwhile: it must be quick.
    pub(crate) fn change<T>(
        &self,
        route: usize,
        key: &str,
        change: impl FnOnce(&mut CachedValue) -> T,
    ) -> Option<T> {
        let cache = self.cache.as_ref()?;
        let name = key.into();
        let changed = cache.entry(&Key { route, name }, Some(Duration::ZERO), |_, kept| {
            EntryAction::Retain(match kept {
                Kept::Value(copy) => Some(change(copy)),
                Kept::Negative { .. } => None,
            })
        });
        match changed {
            EntryResult::Retained(changed) => changed,
            _ => None,
        }
    }

    fn keep(&self, route: usize, key: &str, kept: Kept) {
        if let Some(cache) = &self.cache {
            let name = key.into();
            cache.insert(Key { route, name }, kept);
        }
    }

    /// Whether something has to go for whatever comes.
    fn is_full(&self) -> bool {
        self.bytes() >= self.limit / 10 * 9
    }

    /// Forgets the copy of `key`, if there is one.
    pub(crate) fn forget(&self, route: usize, key: &str) {
        if let Some(cache) = &self.cache {
            cache.remove(&KeyRef { route, name: key });
        }
    }

    /// What is kept, in bytes, overhead counted; never more than [`limit`](Self::limit).
    #[must_use]
    pub(crate) fn bytes(&self) -> u64 {
        self.cache.as_ref().map_or(0, Copies::weight)
    }

    /// How many copies are kept.
    #[must_use]
    pub(crate) fn entries(&self) -> usize {
        self.cache.as_ref().map_or(0, Copies::len)
    }

    /// How many copies were dropped for want of room since the start; copies that were replaced or
    /// forgotten are not among them.
    #[must_use]
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions.count()
    }

    /// `max_bytes`; 0 when the memory is switched off.
    #[must_use]
    pub(crate) fn limit(&self) -> u64 {
        self.cache.as_ref().map_or(0, |_| self.limit)
    }
}
