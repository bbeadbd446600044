//! The policy's steps behind the answers, which no client waits for: what was fetched is written to
//! Redis, now or when it is back, and what Redis holds is refreshed before its end.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use log::info;

use crate::base::clock::{self, Deadline};
use crate::cache::ttl::KeyTtl;
use crate::cache::write::Entry;
use crate::copies::memory::CachedValue;
use crate::policy::Policy;
use crate::policy::flight::{FetchedValue, Target};

/// Values that are written to a Redis that is back, in one go.
const RECOVER_BATCH_MAX: usize = 64;
/// Bytes of them: what Redis takes in a few milliseconds, in which it serves nobody else.
const RECOVER_BATCH_BYTES: u64 = 256 * 1024;
/// Between two such batches, at least.
const RECOVER_PACE: Duration = Duration::from_millis(10);
/// The same, where what waits was not taken.
const RECOVER_REST: Duration = Duration::from_millis(100);
/// How long after Redis is back a copy stands in for what it has lost. What is not asked for by then
/// is asked of the source again, a little at a time.
const STANDS_IN_FOR: Duration = Duration::from_secs(60);
/// By how much longer than expected a key must live to have been written anew: Redis counts lives in
/// seconds.
const LIFE_MARGIN: Duration = Duration::from_millis(1500);

/// A value that waits to be written to Redis.
#[derive(Debug)]
pub(crate) struct WriteBack {
    target: Target,
    landed: FetchedValue,
}

impl Policy {
    /// Step 7: what has landed goes to the writer, or waits for a Redis that takes writes.
    pub(crate) fn write_back(&self, target: Target, landed: FetchedValue, writes: bool) {
        let write = WriteBack { target, landed };
        let refused = match writes {
            true => {
                self.recovery.forget(&write.target);
                self.writes.put(vec![write])
            }
            false => vec![write],
        };
        self.postpone(refused);
    }

    /// Step 7a, on the writer: what was fetched goes to Redis, with what is left of its life.
    pub(crate) fn write(&self, writer: usize, batch: &mut Vec<WriteBack>) {
        let now = clock::now();
        let keys: Vec<_> = batch
            .iter()
            .map(|write| self.full_key(&write.target))
            .collect();
        let landed = batch.iter().map(|write| &write.landed);
        let entries = entries(&keys, landed, now);
        let deadline = Deadline::after(now, self.cache.limits().timeout);
        let written = self.cache.write(writer, &entries, deadline);
        let has_refused = places(&written.refused, batch.len());
        drop(entries);
        drop(keys);
        self.metrics.redis.written.inc_by(written.taken as u64);
        // Neither taken nor to be tried again: not ours to write.
        let dropped = batch.len() - written.refused.len() - written.taken;
        self.metrics.redis.not_written.inc_by(dropped as u64);
        let now = clock::now();
        for (write, was_refused) in batch.drain(..).zip(has_refused) {
            match was_refused {
                true => self.postpone([write]),
                false => self.flights.written(&write.target, now),
            }
        }
    }

    /// Step 7b: not written now, but when Redis is back.
    fn postpone(&self, writes: impl IntoIterator<Item = WriteBack>) {
        let now = clock::now();
        for WriteBack { target, landed } in writes {
            self.flights.written(&target, now);
            self.keep(target, landed);
        }
    }

    fn keep(&self, target: Target, landed: FetchedValue) {
        let dropped = self.recovery.put(target, landed) as u64;
        self.metrics.redis.not_written.inc_by(dropped);
        self.metrics.redis.recovery_dropped.inc_by(dropped);
    }

    /// Whether `copy` is of the time before Redis was last lost, so that a miss there is Redis's loss
    /// and not the end of the value.
    pub(crate) fn was_lost_by_redis(
        &self,
        target: &Target,
        copy: &CachedValue,
        now: Instant,
    ) -> bool {
        let is_within = |back: Instant| {
            copy.fetched_at < back && now.saturating_duration_since(back) < STANDS_IN_FOR
        };
        let back_since = || self.cache.back_since(|| self.slot_of(target));
        copy.is_fresh(now) && back_since().is_some_and(is_within)
    }

    /// What Redis has lost goes back there.
    pub(crate) fn keep_for_redis(&self, target: &Target, copy: &CachedValue) {
        let landed = FetchedValue {
            value: copy.value.clone(),
            fetched_at: copy.fetched_at,
            ttl: copy.ttl,
        };
        self.keep(target.clone(), landed);
    }

    /// Step 8, on the upkeep thread: looks after the lives of `batch`, and writes to a Redis that is
    /// back what it has missed, a little at a time. Returns how long to rest.
    pub(crate) fn upkeep(&self, caller: usize, batch: &mut Vec<Target>) -> Duration {
        if !batch.is_empty() {
            self.look_at_lives(caller, batch);
            batch.clear();
        }
        let now = clock::now();
        let pace = match self.can_recover() && self.recover(caller, now) {
            true => RECOVER_PACE,
            false => RECOVER_REST,
        };
        // At rest three times as long as at work: clients come first.
        let took = clock::now().saturating_duration_since(now);
        (took * 3).max(pace)
    }

    /// Whether something waits that Redis would take. What was just fetched goes first.
    #[must_use]
    pub(crate) fn can_recover(&self) -> bool {
        !self.recovery.is_empty()
            && self.writes.is_empty()
            && self.cache.takes_any_writes(clock::now())
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

    /// Step 8a: the last chance of what waits, as long as Redis takes it.
    pub(crate) fn recover_at_the_end(&self, caller: usize) {
        let takes_writes = || self.cache.takes_any_writes(clock::now());
        while !self.recovery.is_empty() && takes_writes() && self.recover(caller, clock::now()) {}
    }

    /// Step 8b: what waited longest goes to Redis, unless somebody has written a younger value there.
    /// Whether there was anything, and Redis went along.
    fn recover(&self, caller: usize, now: Instant) -> bool {
        let is_writable = |target: &Target| self.cache.takes_writes(|| self.slot_of(target), now);
        let (batch, expired) =
            self.recovery
                .take(RECOVER_BATCH_MAX, RECOVER_BATCH_BYTES, now, is_writable);
        self.metrics.redis.recovery_dropped.inc_by(expired as u64);
        if batch.is_empty() {
            return false;
        }
        let keys: Vec<_> = batch
            .iter()
            .map(|(target, _)| self.full_key(target))
            .collect();
        let entries = entries(&keys, batch.iter().map(|(_, landed)| landed), now);
        let deadline = Deadline::after(now, self.cache.limits().timeout);
        let written = self.cache.write_unless_younger(caller, &entries, deadline);
        let has_refused = places(&written.refused, batch.len());
        drop(entries);
        drop(keys);
        self.metrics.redis.written.inc_by(written.taken as u64);
        self.metrics.redis.recovered.inc_by(written.taken as u64);
        for ((target, landed), was_refused) in batch.into_iter().zip(has_refused) {
            if was_refused {
                self.keep(target, landed);
            }
        }
        written.refused.is_empty()
    }

    /// Step 9: how long Redis will keep these keys. One whose life nears its end is refreshed; one
    /// that somebody has written anew is left alone.
    fn look_at_lives(&self, caller: usize, batch: &[Target]) {
        let keys: Vec<_> = batch.iter().map(|target| self.full_key(target)).collect();
        let deadline = Deadline::after(clock::now(), self.cache.limits().timeout);
        let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
        let lives = self.cache.ttls(caller, &keys, deadline);
        for (target, life) in batch.iter().zip(lives) {
            let Some(life) = life else { continue };
            let look = |copy: &mut CachedValue| self.is_at_its_end(target, copy, life);
            let changed = self.memory.change(target.route, &target.key, look);
            if changed.unwrap_or(false) {
                self.refresh(target);
            }
        }
    }

    /// Whether `copy`, of which Redis says that it has `life`, is to be refreshed; when it is to be
    /// looked at again.
    fn is_at_its_end(&self, target: &Target, copy: &mut CachedValue, life: KeyTtl) -> bool {
        let now = clock::now();
        let route = &self.routes[target.route];
        let expected = copy.ttl.saturating_sub(copy.age(now));
        let left = match life {
            KeyTtl::Left(left) => left,
            // It will never end there, or that cannot be known: then our own count holds.
            KeyTtl::Endless | KeyTtl::Unknown if !copy.is_life_known => {
                copy.is_life_known = life == KeyTtl::Endless;
                copy.due_at = None;
                return false;
            }
            KeyTtl::Endless => {
                copy.due_at = None;
                return false;
            }
            KeyTtl::Unknown => return !route.refresh_at.is_whole(),
            KeyTtl::Gone => return false,
        };
        if copy.is_life_known && left <= expected + LIFE_MARGIN {
            return !route.refresh_at.is_whole();
        }
        // First seen, or written anew: its life is what is left of it, for all that can be known.
        copy.fetched_at = now;
        copy.ttl = left.min(route.ttl);
        copy.is_life_known = true;
        copy.due_at = (!route.refresh_at.is_whole()).then(|| now + route.refresh_at.of(copy.ttl));
        false
    }
}

/// For each of `count` places, whether it is among `places`.
fn places(places: &[usize], count: usize) -> Vec<bool> {
    let mut is_among = vec![false; count];
    places.iter().for_each(|&place| is_among[place] = true);
    is_among
}

/// What is to be written at `now`, with what is left of each life.
fn entries<'a>(
    keys: &'a [Cow<'_, str>],
    landed: impl Iterator<Item = &'a FetchedValue>,
    now: Instant,
) -> Vec<Entry<'a>> {
    let entry = |(key, landed): (&'a Cow<'_, str>, &'a FetchedValue)| Entry {
        key,
        value: &landed.value,
        // EX takes whole seconds: the few milliseconds it waited here do not cost one.
        ttl: landed.life_left(now) + Duration::from_millis(500),
    };
    keys.iter().zip(landed).map(entry).collect()
}

/// `ttl`, longer or shorter by up to `by`; never below the second that Redis counts in.
pub(crate) fn jittered(ttl: Duration, by: Duration) -> Duration {
    let longest = ttl + by;
    let jittered = longest.saturating_sub(by.mul_f64(2.0 * fastrand::f64()));
    jittered.max(Duration::from_secs(1))
}
