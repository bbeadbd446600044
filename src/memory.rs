//! The last good answers, kept in this process and bounded in bytes, for the time when Redis or the
//! source does not answer. It keeps and gives back; whether a copy may be served is the lookup's to
//! decide. It must never give back another key's value, nor one older than the last it was given.

#[cfg(test)]
mod tests;

use std::hash::{Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Lifecycle, OptionsBuilder, Weighter};

use crate::config;

/// A value is kept up to this part of `max_bytes`; larger ones would push out all the others.
const LARGEST_PART: u64 = 8;
/// Each part of the cache has its own lock and its own share of the bytes, and refuses what is
/// heavier than 97 % of its share: with four, a value of an eighth always fits.
const SHARDS: usize = 4;
/// With more in Redis than fits here, one in so many hits on unknown keys is taken in: keys that are
/// asked for often get in soon, and the others do not push each other out at every hit (measured with
/// 100 MB of 10 KiB values: a third of the CPU of a hit).
const ADMIT_ONE_IN: u8 = 8;
/// The mean entry that the cache plans its ghosts with, in bytes: one for each four such entries.
const PLANNED_ENTRY: u64 = 1024;
const GHOST_PART: f64 = 0.25;
/// What an entry or a ghost (the memory of an evicted key) takes in the cache itself, in bytes: 88
/// in the slab, and a 5-byte slot in a table that is between 44 and 88 % full.
const SLOT: u64 = 88 + 9;

/// A value as it was when it was last known to be good.
#[derive(Debug, Clone)]
pub struct Remembered {
    /// The value, byte for byte.
    pub value: Arc<str>,
    /// When it was fetched, or seen in Redis.
    pub fetched_at: Instant,
    /// How long from then on it is fresh.
    pub ttl: Duration,
}

impl Remembered {
    /// How old it is at `now`; zero for a moment before it was fetched.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.fetched_at)
    }

    /// Whether it is still within its ttl at `now`.
    #[must_use]
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.age(now) < self.ttl
    }

    /// Whether it may be served at `now` when there is nothing better: up to `max_stale` past its
    /// ttl (`stale-if-error`, RFC 5861 section 4).
    #[must_use]
    pub fn is_servable_stale(&self, now: Instant, max_stale: Duration) -> bool {
        self.age(now) < self.ttl.saturating_add(max_stale)
    }
}

/// The copies of all routes. Shared by all threads; a call takes one short lock and never waits for
/// anything else.
pub struct Memory {
    /// None: switched off, nothing is kept.
    cache: Option<Copies>,
    limit: u64,
    evictions: Evictions,
}

type Copies = Cache<Key, Remembered, Weight, RandomState, Evictions>;

impl Memory {
    /// An empty memory of up to `max_bytes`, all overhead counted. Nothing is allocated in advance.
    ///
    /// Measured with glibc's malloc, growth of the resident set by a full memory of 64 MiB: 63 to
    /// 67 MiB, with values of 1 byte (407,000 of them), 100 bytes (255,000), 10 KiB (6,300), 200 kB
    /// or mixed ones in steady exchange. Where 32 threads write without a pause, each frees
    /// into the arenas of others: 99 MiB, and 75 with `MALLOC_ARENA_MAX=2`.
    #[must_use]
    pub fn new(config: &config::Memory) -> Self {
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
    pub fn recall(&self, route: usize, key: &str) -> Option<Remembered> {
        self.cache.as_ref()?.get(&KeyRef { route, name: key })
    }

    /// Keeps what a source has just given, in place of whatever was kept before. A value larger
    /// than an eighth of the limit is not kept, and the old copy is forgotten all the same.
    pub fn remember(&self, route: usize, key: &str, value: Arc<str>, ttl: Duration, now: Instant) {
        let Some(cache) = &self.cache else {
            return;
        };
        if value.len() as u64 > self.limit / LARGEST_PART {
            cache.remove(&KeyRef { route, name: key });
            return;
        }
        let name = key.into();
        let copy = Remembered {
            value,
            fetched_at: now,
            ttl,
        };
        cache.insert(Key { route, name }, copy);
    }

    /// Keeps what was seen in Redis. An equal copy that is still fresh is left as it is, so that a
    /// hit costs a look and no allocation: 50,000 of them come each second, at 42 ns for 100 bytes.
    /// Its age therefore counts from when this process first saw the value. A full memory takes in
    /// only some of the keys that it does not have.
    pub fn remember_hit(&self, route: usize, key: &str, value: &str, ttl: Duration, now: Instant) {
        let value = match self.recall(route, key) {
            Some(copy) if *copy.value == *value => {
                if copy.is_fresh(now) {
                    return;
                }
                copy.value
            }
            _ if self.cache.is_none() => return,
            None if self.is_full() && fastrand::u8(..ADMIT_ONE_IN) > 0 => return,
            _ => value.into(),
        };
        self.remember(route, key, value, ttl, now);
    }

    /// Whether something has to go for whatever comes.
    fn is_full(&self) -> bool {
        self.bytes() >= self.limit / 10 * 9
    }

    /// Forgets the copy of `key`, if there is one.
    pub fn forget(&self, route: usize, key: &str) {
        if let Some(cache) = &self.cache {
            cache.remove(&KeyRef { route, name: key });
        }
    }

    /// What is kept, in bytes, overhead counted; never more than [`limit`](Self::limit).
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.cache.as_ref().map_or(0, Cache::weight)
    }

    /// How many copies are kept.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.cache.as_ref().map_or(0, Cache::len)
    }

    /// How many copies were dropped for want of room since the start; copies that were replaced or
    /// forgotten are not among them.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions.0.load(Ordering::Relaxed)
    }

    /// `max_bytes`; 0 when the memory is switched off.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.cache.as_ref().map_or(0, |_| self.limit)
    }
}

/// The cache for `limit` bytes, less what its ghosts may take: they have no weight of their own.
fn copies(limit: u64, evictions: &Evictions) -> Option<Copies> {
    let planned = limit / PLANNED_ENTRY;
    let ghosts = (planned as f64 * GHOST_PART) as u64;
    // The cache rounds each share up; rounded down here, the shares never exceed the limit.
    let shards = SHARDS as u64;
    let capacity = limit.saturating_sub(ghosts * SLOT) / shards * shards;
    let options = OptionsBuilder::new()
        .shards(SHARDS)
        .estimated_items_capacity(usize::try_from(planned).unwrap_or(usize::MAX))
        .ghost_allocation(GHOST_PART)
        .weight_capacity(capacity)
        .build()
        .ok()?;
    // The standard hasher: keys come from outside, and only SipHash is made for that.
    let hasher = RandomState::new();
    Some(Cache::with_options(
        options,
        Weight,
        hasher,
        evictions.clone(),
    ))
}

/// What a copy is kept under.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    route: usize,
    name: Box<str>,
}

/// A [`Key`] to look up with, without allocating one; hashes the same.
#[derive(Hash)]
struct KeyRef<'a> {
    route: usize,
    name: &'a str,
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.route == key.route && *self.name == *key.name
    }
}

/// What a copy weighs: the memory it takes, in bytes.
#[derive(Clone)]
struct Weight;

impl Weighter<Key, Remembered> for Weight {
    fn weight(&self, key: &Key, copy: &Remembered) -> u64 {
        // An `Arc` has two counters before its value.
        SLOT + allocation(key.name.len()) + allocation(copy.value.len() + 16)
    }
}

/// What `size` bytes from the allocator take: glibc's malloc puts 8 before each, rounds to 16, at
/// least 32, and gives large ones whole pages of their own.
fn allocation(size: usize) -> u64 {
    const OWN_PAGES: u64 = 128 * 1024;
    let size = size as u64 + 8;
    if size < OWN_PAGES {
        size.next_multiple_of(16).max(32)
    } else {
        (size + 8).next_multiple_of(4096)
    }
}

/// Counts what is dropped for want of room.
#[derive(Clone, Default)]
struct Evictions(Arc<AtomicU64>);

impl Lifecycle<Key, Remembered> for Evictions {
    /// What an insertion pushed out, to be freed after the lock is given back. Mostly one or two;
    /// the rest is freed at once.
    type RequestState = [Option<(Key, Remembered)>; 2];

    fn before_evict(&self, _: &mut Self::RequestState, _: &Key, _: &mut Remembered) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn on_evict(&self, state: &mut Self::RequestState, key: Key, copy: Remembered) {
        if let Some(free) = state.iter_mut().find(|place| place.is_none()) {
            *free = Some((key, copy));
        }
    }
}
