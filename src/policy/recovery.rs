//! What was fetched while Redis could not be written to, kept until it can: the newest value of each
//! key, bounded in bytes. It keeps and gives back; when to write is not decided here.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::policy::answer::WriteBack;
use crate::policy::flight::{FetchedValue, Target};

/// What an entry takes beside its key and value, in bytes: two maps' entries, two counters of each
/// `Arc`, and what the allocator adds.
const OVERHEAD_BYTES: u64 = 256;
/// Values that are looked at in one go for those that are wanted.
const LOOKED_AT_MAX: usize = 1024;
/// Redis counts a ttl in seconds: with less left of it nothing is written.
const SHORTEST_TTL: Duration = Duration::from_secs(1);

/// The values that wait.
#[derive(Debug)]
pub(crate) struct Recovery {
    /// Guards the values; held for microseconds, never over I/O.
    waiting: Mutex<Waiting>,
    max_bytes: u64,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: HashMap<Target, (u64, FetchedValue)>,
    /// In the order in which they came.
    order: BTreeMap<u64, Target>,
    next: u64,
    bytes: u64,
}

impl Recovery {
    /// For at most `max_bytes` of keys, values and overhead; for nothing at all with 0.
    pub(crate) fn new(max_bytes: u64) -> Self {
        Self {
            waiting: Mutex::default(),
            max_bytes,
        }
    }

    /// Keeps a value, unless there is a newer one of the same key. Returns how many values were dropped
    /// for want of room, oldest first; the new one may be among them.
    pub(crate) fn put(&self, write: WriteBack) -> usize {
        let WriteBack { target, fetched } = write;
        let mut waiting = self.lock();
        let known = waiting.entries.get(&target);
        if known.is_some_and(|(_, known)| known.fetched_at > fetched.fetched_at) {
            return 0;
        }
        waiting.remove(&target);
        waiting.push(target, fetched);
        let mut dropped = 0;
        while waiting.bytes > self.max_bytes && waiting.pop().is_some() {
            dropped += 1;
        }
        dropped
    }

    /// Takes the oldest values out of those that are `wanted`, up to `count_max` of them and `bytes_max`
    /// bytes, but at least one. Those whose ttl is over by `now` are left out, and their number is
    /// returned too. What is not wanted goes to the end; not all of it is looked at in one go.
    #[must_use]
    pub(crate) fn take(
        &self,
        count_max: usize,
        bytes_max: u64,
        now: Instant,
        wanted: impl Fn(&Target) -> bool,
    ) -> (Vec<WriteBack>, usize) {
        let mut waiting = self.lock();
        let (mut batch, mut expired, mut taken_bytes) = (Vec::new(), 0, 0);
        for _ in 0..waiting.entries.len().min(LOOKED_AT_MAX) {
            if batch.len() >= count_max || (!batch.is_empty() && taken_bytes >= bytes_max) {
                break;
            }
            let Some((target, fetched)) = waiting.pop() else {
                break;
            };
            if fetched.ttl_left(now) < SHORTEST_TTL {
                expired += 1;
                continue;
            }
            if !wanted(&target) {
                waiting.push(target, fetched);
                continue;
            }
            taken_bytes += bytes(&target, &fetched);
            batch.push(WriteBack { target, fetched });
        }
        (batch, expired)
    }

    /// Forgets the value of `target`: a newer one is on its way.
    pub(crate) fn forget(&self, target: &Target) {
        self.lock().remove(target);
    }

    /// How many values wait, and their bytes.
    pub(crate) fn len(&self) -> (usize, u64) {
        let waiting = self.lock();
        (waiting.entries.len(), waiting.bytes)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().entries.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn push(&mut self, target: Target, fetched: FetchedValue) {
        self.bytes += bytes(&target, &fetched);
        let number = self.next;
        self.next += 1;
        self.order.insert(number, target.clone());
        self.entries.insert(target, (number, fetched));
    }

    fn pop(&mut self) -> Option<(Target, FetchedValue)> {
        let (_, target) = self.order.pop_first()?;
        let (_, fetched) = self.entries.remove(&target)?;
        self.bytes -= bytes(&target, &fetched);
        Some((target, fetched))
    }

    fn remove(&mut self, target: &Target) {
        if let Some((number, fetched)) = self.entries.remove(target) {
            self.order.remove(&number);
            self.bytes -= bytes(target, &fetched);
        }
    }
}

fn bytes(target: &Target, fetched: &FetchedValue) -> u64 {
    (target.key.len() + fetched.value.len()) as u64 + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    const MINUTE: Duration = Duration::from_secs(60);

    fn target(key: &str) -> Target {
        Target {
            route: 0,
            key: key.into(),
        }
    }

    fn write(key: &str, value: &str, fetched_at: Instant) -> WriteBack {
        WriteBack {
            target: target(key),
            fetched: FetchedValue {
                value: value.into(),
                fetched_at,
                ttl: MINUTE,
            },
        }
    }

    fn all(_: &Target) -> bool {
        true
    }

    fn values(batch: &(Vec<WriteBack>, usize)) -> Vec<&str> {
        batch.0.iter().map(|write| &*write.fetched.value).collect()
    }

    #[test]
    fn the_newest_of_each_key_comes_back_in_the_order_of_coming() {
        let now = clock::now();
        let recovery = Recovery::new(1 << 20);
        recovery.put(write("a", "a1", now));
        recovery.put(write("b", "b1", now));
        recovery.put(write("a", "a2", now + MINUTE / 10));
        recovery.put(write("a", "older", now));
        recovery.put(write("c", "c1", now));
        recovery.forget(&target("c"));
        assert_eq!(recovery.len().0, 2);
        assert_eq!(values(&recovery.take(1, u64::MAX, now, all)), ["b1"]);
        assert_eq!(values(&recovery.take(9, u64::MAX, now, all)), ["a2"]);
        assert_eq!(recovery.len(), (0, 0));
        assert!(recovery.is_empty());
    }

    #[test]
    fn its_bytes_are_bounded_and_the_oldest_go_first() {
        let now = clock::now();
        let recovery = Recovery::new(3 * (OVERHEAD_BYTES + 3));
        let puts = (0..5).map(|n| recovery.put(write(&n.to_string(), "vv", now)));
        assert_eq!(puts.collect::<Vec<_>>(), [0, 0, 0, 1, 1]);
        let large = write("x", &"v".repeat(5000), now);
        assert_eq!(recovery.put(large), 4, "too large by itself");
        assert!(recovery.is_empty());
        assert_eq!(Recovery::new(0).put(write("a", "", now)), 1);
    }

    #[test]
    fn a_batch_is_bounded_in_bytes_and_leaves_out_what_has_expired() {
        let now = clock::now();
        let recovery = Recovery::new(1 << 20);
        recovery.put(write("old", "old", now));
        let later = now + MINUTE;
        let large = "v".repeat(1000);
        (0..3).for_each(|n| {
            recovery.put(write(&n.to_string(), &large, later));
        });
        let batch = recovery.take(9, 1500, later, all);
        assert_eq!((batch.0.len(), batch.1), (2, 1));
    }

    #[test]
    fn what_is_not_wanted_waits_on_and_stands_in_nobodys_way() {
        let now = clock::now();
        let recovery = Recovery::new(1 << 20);
        for key in ["a1", "b1", "a2", "b2"] {
            recovery.put(write(key, key, now));
        }
        let is_b = |target: &Target| target.key.starts_with('b');
        assert_eq!(values(&recovery.take(9, u64::MAX, now, is_b)), ["b1", "b2"]);
        assert!(recovery.take(9, u64::MAX, now, is_b).0.is_empty());
        assert_eq!(values(&recovery.take(9, u64::MAX, now, all)), ["a1", "a2"]);
        assert_eq!(recovery.len(), (0, 0));
    }
}
