//! How the memory keeps its copies: a concurrent cache that counts its bytes honestly. Nothing here
//! knows what a copy may be used for.

use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Lifecycle, OptionsBuilder, Weighter};

use crate::copies::cached_value::Kept;

/// Each part of the cache has its own lock and its own share of the bytes, and refuses what is
/// heavier than 97 % of its share: with four, a value of an eighth always fits.
const SHARDS: usize = 4;
/// The mean entry that the cache plans its ghosts with, in bytes: one for each four such entries.
const PLANNED_ENTRY: u64 = 1024;
const GHOST_PART: f64 = 0.25;
/// What an entry or a ghost (the memory of an evicted key) takes in the cache itself, in bytes: key,
/// copy and 16 more in the slab, and a 5-byte slot in a table that is between 44 and 88 % full.
pub(crate) const SLOT: u64 = (size_of::<Key>() + size_of::<Kept>() + 16 + 9) as u64;

/// The cache itself.
pub(crate) type Copies = Cache<Key, Kept, Weight, RandomState, Evictions>;

/// The cache for `limit` bytes, less what its ghosts may take: they have no weight of their own.
pub(crate) fn copies(limit: u64, evictions: &Evictions) -> Option<Copies> {
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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) route: usize,
    pub(crate) name: Box<str>,
}

/// A [`Key`] to look up with, without allocating one; hashes the same.
#[derive(Hash)]
pub(crate) struct KeyRef<'a> {
    pub(crate) route: usize,
    pub(crate) name: &'a str,
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.route == key.route && *self.name == *key.name
    }
}

/// What a copy weighs: the memory it takes, in bytes.
#[derive(Clone)]
pub(crate) struct Weight;

impl Weighter<Key, Kept> for Weight {
    fn weight(&self, key: &Key, kept: &Kept) -> u64 {
        let value = match kept {
            // An `Arc` has two counters before its value.
            Kept::Value(copy) => allocation(copy.value.len() + 16),
            Kept::Negative { .. } => 0,
        };
        SLOT + allocation(key.name.len()) + value
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
pub(crate) struct Evictions(Arc<AtomicU64>);

impl Evictions {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Lifecycle<Key, Kept> for Evictions {
    /// What an insertion pushed out, to be freed after the lock is given back. Mostly one or two;
    /// the rest is freed at once.
    type RequestState = [Option<(Key, Kept)>; 2];

    fn before_evict(&self, _: &mut Self::RequestState, _: &Key, _: &mut Kept) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn on_evict(&self, state: &mut Self::RequestState, key: Key, kept: Kept) {
        if let Some(free) = state.iter_mut().find(|place| place.is_none()) {
            *free = Some((key, kept));
        }
    }
}
