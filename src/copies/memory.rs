//! The last good answers, kept in this process and bounded in bytes, for the time when Redis or the
//! source does not answer. It keeps and gives back; whether a copy may be served is the policy's to
//! decide. It must never give back another key's value, nor one older than the last it was given.

mod store;

use std::time::{Duration, Instant};

use quick_cache::sync::{EntryAction, EntryResult};

use crate::config;
use crate::copies::cached_value::{CachedValue, Kept};

#[cfg(test)]
mod tests;

use store::{Copies, Evictions, Key, KeyRef, copies};

/// A value is kept up to this part of `max_bytes`; larger ones would push out all the others.
const LARGEST_PART: u64 = 8;
/// With more in Redis than fits here, one in so many hits on unknown keys is taken in: keys that are
/// asked for often get in soon, and the others do not push each other out at every hit (measured with
/// 100 MB of 10 KiB values: a third of the CPU of a hit).
const ADMIT_ONE_IN: u8 = 8;
/// A copy that is due is looked at within this part of its ttl; else another caller is told.
const LOOK_PART: u32 = 20;

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

    /// What is kept for `key`, whether it still holds or not.
    pub(crate) fn recall(&self, route: usize, key: &str) -> Option<Kept> {
        self.cache.as_ref()?.get(&KeyRef { route, name: key })
    }

    /// Keeps `copy` in place of whatever was kept before. A value larger than an eighth of the limit
    /// is not kept, and the old copy is forgotten all the same.
    pub(crate) fn remember(&self, route: usize, key: &str, copy: CachedValue) {
        if copy.value.len() as u64 > self.limit / LARGEST_PART {
            return self.forget(route, key);
        }
        self.keep(route, key, Kept::Value(copy));
    }

    /// Keeps a negative entry: there is no `key`, and until then nobody need ask again.
    pub(crate) fn remember_negative(&self, route: usize, key: &str, until: Instant) {
        self.keep(route, key, Kept::Negative { until });
    }

    /// Keeps what was seen in Redis. Whether Redis is to be asked for its ttl, which is said once.
    /// An equal copy that is still fresh is left as it is, so that a hit costs a look and no
    /// allocation: 50,000 of them come each second, at 42 ns for 100 bytes. A full memory takes in
    /// only some of the keys that it does not have. `ttl` is the longest that it may be fresh.
    pub(crate) fn remember_hit(
        &self,
        route: usize,
        key: &str,
        value: &str,
        ttl: Duration,
        now: Instant,
    ) -> bool {
        let value = match self.recall(route, key) {
            Some(Kept::Value(copy)) if *copy.value == *value => {
                if copy.is_fresh(now) {
                    return copy.is_due(now) && self.claim_refresh(route, key, now);
                }
                copy.value
            }
            _ if self.cache.is_none() => return false,
            None | Some(Kept::Negative { .. })
                if self.is_full() && fastrand::u8(..ADMIT_ONE_IN) > 0 =>
            {
                return false;
            }
            _ => value.into(),
        };
        let copy = CachedValue {
            value,
            fetched_at: now,
            ttl,
            is_ttl_known: false,
            due_at: Some(now + ttl / LOOK_PART),
            retry_at: None,
        };
        self.remember(route, key, copy);
        true
    }

    /// Whether the copy of `key` is due and nobody else looks after it: true once, and again only
    /// after a part of its ttl.
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
    pub(crate) fn bytes(&self) -> u64 {
        self.cache.as_ref().map_or(0, Copies::weight)
    }

    /// How many copies are kept.
    pub(crate) fn entries(&self) -> usize {
        self.cache.as_ref().map_or(0, Copies::len)
    }

    /// How many copies were dropped for want of room since the start; copies that were replaced or
    /// forgotten are not among them.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions.count()
    }

    /// `max_bytes`; 0 when the memory is switched off.
    pub(crate) fn limit(&self) -> u64 {
        self.cache.as_ref().map_or(0, |_| self.limit)
    }
}
