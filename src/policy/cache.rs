//! Redis as the policy sees it: keys that are there, are not there, or cannot be asked for. It knows no
//! servers, slots or redirects, so that a test can stand in for Redis.

use std::time::Instant;

use crate::base::clock::Deadline;
use crate::cache::RedisCache;
use crate::cache::limits::Limits;
use crate::cache::lookup::{Lane, Question, Told};
use crate::cache::ttl::KeyTtl;
use crate::cache::write::{Entry, Written};

/// A cache that may be gone at any moment. Keys are whole, prefix included. `caller` is the number of
/// the thread that calls.
pub(crate) trait Cache: Send + Sync + 'static {
    /// What it may cost, and how much is asked of it at once.
    fn limits(&self) -> &Limits;

    /// Tells of each question in which lane it is to wait for a reader; none: it is not worth asking.
    /// Lanes are numbered from 1.
    fn choose_lanes<Q: Question>(
        &self,
        questions: impl Iterator<Item = Q>,
        now: Instant,
        told: impl FnMut(Q, Option<usize>),
    );

    /// All lanes that there are.
    fn lanes(&self, now: Instant) -> Vec<Lane>;

    /// Looks at the calls in flight, and gives up what stalls; of each lane so many questions have waited
    /// for too `late`.
    fn watch(&self, late: impl Fn(usize) -> usize, now: Instant);

    /// So many questions of a lane were answered without it.
    fn count_bypassed(&self, lane: usize, count: usize);

    /// Whether a call is in flight.
    fn is_calling(&self) -> bool;

    /// Asks for the keys of a batch, and tells what is said of each as soon as that is known.
    fn read<Q: Question>(
        &self,
        caller: usize,
        questions: impl Iterator<Item = Q>,
        told: impl FnMut(Q, Told<'_>),
    );

    /// Since when the server that holds `key` is of use again, if it was ever lost.
    fn back_since(&self, key: &str) -> Option<Instant>;

    /// Whether a write of `key` would be tried now.
    fn takes_writes(&self, key: &str, now: Instant) -> bool;

    /// Whether there is any key of which a write would be tried now.
    fn takes_any_writes(&self, now: Instant) -> bool;

    fn write(&self, caller: usize, entries: &[Entry<'_>], deadline: Deadline) -> Written;

    /// Writes those entries that would live longer than what is there: what lives longer was written
    /// later.
    fn write_unless_younger(
        &self,
        caller: usize,
        entries: &[Entry<'_>],
        deadline: Deadline,
    ) -> Written;

    /// How long each key will be there; none: that was not to be had.
    fn ttls(&self, caller: usize, keys: &[&str], deadline: Deadline) -> Vec<Option<KeyTtl>>;
}

impl Cache for RedisCache {
    fn limits(&self) -> &Limits {
        self.limits()
    }

    fn choose_lanes<Q: Question>(
        &self,
        questions: impl Iterator<Item = Q>,
        now: Instant,
        told: impl FnMut(Q, Option<usize>),
    ) {
        self.choose_lanes(questions, now, told);
    }

    fn lanes(&self, now: Instant) -> Vec<Lane> {
        self.lanes(now)
    }

    fn watch(&self, late: impl Fn(usize) -> usize, now: Instant) {
        self.watch(late, now);
    }

    fn count_bypassed(&self, lane: usize, count: usize) {
        self.count_bypassed(lane, count);
    }

    fn is_calling(&self) -> bool {
        self.is_calling()
    }

    fn read<Q: Question>(
        &self,
        caller: usize,
        questions: impl Iterator<Item = Q>,
        told: impl FnMut(Q, Told<'_>),
    ) {
        self.read(caller, questions, told);
    }

    fn back_since(&self, key: &str) -> Option<Instant> {
        self.back_since(key)
    }

    fn takes_writes(&self, key: &str, now: Instant) -> bool {
        self.takes_writes(key, now)
    }

    fn takes_any_writes(&self, now: Instant) -> bool {
        self.takes_any_writes(now)
    }

    fn write(&self, caller: usize, entries: &[Entry<'_>], deadline: Deadline) -> Written {
        self.write(caller, entries, deadline)
    }

    fn write_unless_younger(
        &self,
        caller: usize,
        entries: &[Entry<'_>],
        deadline: Deadline,
    ) -> Written {
        self.write_unless_younger(caller, entries, deadline)
    }

    fn ttls(&self, caller: usize, keys: &[&str], deadline: Deadline) -> Vec<Option<KeyTtl>> {
        self.lives(caller, keys, deadline)
    }
}
