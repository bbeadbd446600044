//! The policy's steps behind the answers, which no client waits for: what was fetched is written to
//! Redis, now or when it is back.

use std::borrow::Cow;
use std::time::Duration;

use log::info;

use crate::base::clock::{self, Deadline};
use crate::cache::port::Cache;
use crate::cache::write::{Entry, Written};
use crate::copies::cached_value::CachedValue;
use crate::policy::flight::{FetchedValue, Target};
use crate::policy::{Policy, WriteBack};

/// Values that are written to a Redis that is back, in one go.
const RECOVER_BATCH_MAX: usize = 64;
/// Bytes of them: what Redis takes in a few milliseconds, in which it serves nobody else.
const RECOVER_BATCH_BYTES: u64 = 256 * 1024;
/// Between two such batches, at least.
const RECOVER_PACE: Duration = Duration::from_millis(10);
/// The same, where what waits was not taken.
const RECOVER_REST: Duration = Duration::from_millis(100);

/// What became of values that were sent to Redis.
struct Sent {
    taken: usize,
    /// Worth trying later.
    refused: Vec<WriteBack>,
    /// Taken, or not ours to write.
    settled: Vec<WriteBack>,
}

impl<C: Cache> Policy<C> {
    /// Step 7: what was fetched goes to the writer, or waits for a Redis that takes writes.
    pub(super) fn write_back(&self, target: Target, fetched: FetchedValue, takes_writes: bool) {
        let write = WriteBack { target, fetched };
        let refused = match takes_writes {
            true => {
                self.recovery.forget(&write.target);
                self.writes.put([(0, write)])
            }
            false => vec![write],
        };
        self.postpone(refused);
    }

    /// Step 7a, on the writer: what was fetched goes to Redis, with what is left of its ttl.
    pub(crate) fn write(&self, writer: usize, batch: &mut Vec<WriteBack>) {
        let sent = self.send(std::mem::take(batch), |entries, deadline| {
            self.cache.write(writer, entries, deadline)
        });
        let dropped = sent.settled.len() - sent.taken;
        self.metrics.redis.not_written.inc_by(dropped as u64);
        let now = clock::now();
        for write in sent.settled {
            self.flights.written(&write.target, now);
        }
        self.postpone(sent.refused);
    }

    /// Step 7b: not written now, but when Redis is back.
    fn postpone(&self, writes: Vec<WriteBack>) {
        for write in writes {
            self.flights.written(&write.target, clock::now());
            self.keep(write);
        }
    }

    fn keep(&self, write: WriteBack) {
        let dropped = self.recovery.put(write) as u64;
        self.metrics.redis.not_written.inc_by(dropped);
        self.metrics.redis.recovery_dropped.inc_by(dropped);
    }

    /// What Redis has lost goes back there.
    pub(super) fn keep_for_redis(&self, target: &Target, copy: &CachedValue) {
        let target = target.clone();
        let fetched = FetchedValue {
            value: copy.value.clone(),
            fetched_at: copy.fetched_at,
            ttl: copy.ttl,
        };
        self.keep(WriteBack { target, fetched });
    }

    /// Step 8, on the upkeep thread: a Redis that is back is sent what it has missed, a little at a time.
    /// Returns how long to rest.
    pub(crate) fn recover(&self, caller: usize) -> Duration {
        let now = clock::now();
        let pace = match self.can_recover() && self.recover_some(caller) {
            true => RECOVER_PACE,
            false => RECOVER_REST,
        };
        // At rest three times as long as at work: clients come first.
        let took = clock::now().saturating_duration_since(now);
        (took * 3).max(pace)
    }

    /// Whether something waits that Redis would take. What was just fetched goes first.
    pub(crate) fn can_recover(&self) -> bool {
        !self.recovery.is_empty()
            && self.writes.is_empty()
            && self.cache.takes_any_writes(clock::now())
    }

    /// Step 8a: the last chance of what waits, as long as Redis takes it.
    pub(crate) fn recover_at_the_end(&self, caller: usize) {
        let takes_writes = || self.cache.takes_any_writes(clock::now());
        while !self.recovery.is_empty() && takes_writes() && self.recover_some(caller) {}
    }

    /// Step 8b: what waited longest goes to Redis, unless somebody has written a younger value there.
    /// Whether there was anything, and Redis went along.
    fn recover_some(&self, caller: usize) -> bool {
        let now = clock::now();
        let is_writable = |target: &Target| self.cache.takes_writes(&self.full_key(target), now);
        let (batch, expired) =
            self.recovery
                .take(RECOVER_BATCH_MAX, RECOVER_BATCH_BYTES, now, is_writable);
        self.metrics.redis.recovery_dropped.inc_by(expired as u64);
        if batch.is_empty() {
            return false;
        }
        let sent = self.send(batch, |entries, deadline| {
            self.cache.write_unless_younger(caller, entries, deadline)
        });
        self.metrics.redis.recovered.inc_by(sent.taken as u64);
        let went_along = sent.refused.is_empty();
        for write in sent.refused {
            self.keep(write);
        }
        went_along
    }

    fn send(
        &self,
        batch: Vec<WriteBack>,
        write: impl FnOnce(&[Entry<'_>], Deadline) -> Written,
    ) -> Sent {
        let now = clock::now();
        let keys: Vec<Cow<'_, str>> = batch.iter().map(|w| self.full_key(&w.target)).collect();
        let entries: Vec<_> = batch
            .iter()
            .zip(&keys)
            .map(|(write, key)| Entry {
                key,
                value: &write.fetched.value,
                // EX takes whole seconds: the few milliseconds it waited here do not cost one.
                ttl: write.fetched.ttl_left(now) + Duration::from_millis(500),
            })
            .collect();
        let written = write(&entries, Deadline::after(now, self.cache.limits().timeout));
        drop(entries);
        drop(keys);
        self.metrics.redis.written.inc_by(written.taken as u64);
        let mut is_refused = vec![false; batch.len()];
        for at in written.refused {
            is_refused[at] = true;
        }
        let mut is_refused = is_refused.into_iter();
        let (refused, settled) = batch
            .into_iter()
            .partition(|_| is_refused.next() == Some(true));
        Sent {
            taken: written.taken,
            refused,
            settled,
        }
    }

    /// Step 8c: the reports of outages that are over, one line each.
    pub(crate) fn report_outages(&self) {
        let outages = &self.metrics.outages;
        if !outages.has_unsettled() {
            return;
        }
        let is_recovered = self.recovery.is_empty();
        let settled = outages.settle(clock::now(), is_recovered, self.metrics.tally());
        for outage in settled {
            info!("{outage}");
        }
    }
}
