//! The policy's steps with the source: one fetch for each key, and what becomes of the lookups that wait
//! for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::clock::{self, Deadline};
use crate::cache::port::Cache;
use crate::copies::cached_value::CachedValue;
use crate::policy::decide::Refusal;
use crate::policy::flight::{FetchedValue, Joined, Target};
use crate::policy::{Answer, Copied, Fill, GuardedSource, Policy, Waiting};
use crate::source::Fetched;

/// How much longer than the source Redis may take, before it is no help any more.
const SLOWER_THAN_SOURCE: Duration = Duration::from_millis(50);

impl<C: Cache> Policy<C> {
    /// Step 4: one fetch for each key. The first to come puts it in the queue, the others wait for it and
    /// hold no thread. `missed`: when the lookup came, if Redis has said since that it does
    /// not have the key.
    pub(super) fn join(&self, waiting: Waiting, missed: Option<Instant>, now: Instant) {
        let target = waiting.lookup.target.clone();
        match self.flights.join(&target, waiting, missed, now) {
            Joined::Waits => self.metrics.route(target.route).joined.inc(),
            Joined::Has(Waiting { lookup, .. }, fetched) => {
                let copied = Copied {
                    value: &fetched.value,
                    age: now.saturating_duration_since(fetched.fetched_at),
                    ttl: fetched.ttl,
                    shows_age: self.routes[target.route].age_header,
                };
                self.answer(lookup, &Answer::Memory(copied), now);
            }
            Joined::Leads => self.queue_fetch(target, missed.is_none(), now),
        }
    }

    /// Step 4a: a fetch that nobody waits for, of a key that nears its end. It is made only where the
    /// source has room to spare, and otherwise left to the lookup that misses the key.
    pub(super) fn refresh(&self, target: &Target, now: Instant) {
        let lane = self.routes[target.route].source;
        let has_room = self.fills.has_room_to_spare(lane) && !self.source_of(target).refuses(now);
        if has_room && self.flights.lead(target, now) {
            self.metrics.route(target.route).refreshes.inc();
            self.queue_fetch(target.clone(), false, now);
        }
    }

    fn queue_fetch(&self, target: Target, is_extra: bool, now: Instant) {
        let lane = self.routes[target.route].source;
        let fill = Fill {
            target,
            queued_at: now,
            is_extra,
        };
        for refused in self.fills.put([(lane, fill)]) {
            self.fail(&refused.target, Refusal::Shed, now);
        }
    }

    /// Step 5, on a filler: asks the source, and answers every lookup that waits for it.
    pub(crate) fn fetch(&self, fill: Fill) {
        let now = clock::now();
        let target = fill.target;
        if now.saturating_duration_since(fill.queued_at) >= self.queue_timeout {
            return self.fail(&target, Refusal::Shed, now);
        }
        let source = self.source_of(&target);
        let Some(permit) = source.permit(now) else {
            return self.fail(&target, Refusal::Unavailable, now);
        };
        let deadline = self.flights.last_deadline(&target);
        let deadline = deadline.unwrap_or_else(|| Deadline::after(now, source.timeout));
        self.metrics.fetches(fill.is_extra);
        let fetched = source.fetch(permit, &target.key, deadline);
        let now = clock::now();
        let limits = self.cache.limits();
        if fetched.is_ok() {
            limits.set_patience(self.slowest_source() + SLOWER_THAN_SOURCE);
        } else if source.refuses(now) {
            // Redis is worth waiting for.
            limits.set_patience(limits.timeout);
        }
        match fetched {
            Ok(Fetched::Value(value)) => self.complete(&target, value.into(), now),
            Ok(Fetched::NoSuchThing) => self.complete_without_value(&target, now),
            // Said and counted already.
            Err(_) => self.source_failed(&target, now),
        }
    }

    /// Step 5a: the source has it. To memory, to the clients, and then to Redis.
    fn complete(&self, target: &Target, value: Arc<str>, now: Instant) {
        let route = &self.routes[target.route];
        let ttl = jittered(route.ttl, route.ttl_jitter.of(route.ttl));
        let refresh_after = (!route.refresh_at.is_whole()).then(|| route.refresh_at.of(ttl));
        let copy = CachedValue::fetched(Arc::clone(&value), ttl, refresh_after, now);
        self.memory.remember(target.route, &target.key, copy);
        let fetched = FetchedValue {
            value,
            fetched_at: now,
            ttl,
        };
        let takes_writes = self.cache.takes_writes(&self.full_key(target), now);
        let waiting = self.flights.complete(target, fetched.clone(), takes_writes);
        for (place, Waiting { lookup, .. }) in waiting.into_iter().enumerate() {
            let (value, joined) = (&*fetched.value, place > 0);
            // A large answer takes long to build, and later ones wait for it: each has its own time.
            self.answer(lookup, &Answer::Primary { value, joined }, clock::now());
        }
        self.write_back(target.clone(), fetched, takes_writes);
    }

    /// Step 5b: the source says that there is no such thing.
    fn complete_without_value(&self, target: &Target, now: Instant) {
        let Target { route, key } = target;
        match self.routes[*route].negative_ttl {
            Duration::ZERO => self.memory.forget(*route, key),
            ttl => self.memory.remember_negative(*route, key, now + ttl),
        }
        for Waiting { lookup, .. } in self.flights.fail(target) {
            self.answer(lookup, &Answer::NoSuchThing, now);
        }
    }

    /// Step 5c: the source failed. A key that has a copy is left alone for a while.
    fn source_failed(&self, target: &Target, now: Instant) {
        let retry_at = now + self.routes[target.route].stale_retry;
        self.memory.change(target.route, &target.key, |copy| {
            copy.retry_at = Some(retry_at);
            copy.due_at = copy.due_at.map(|_| retry_at);
        });
        self.fail(target, Refusal::Unavailable, now);
    }

    /// A filler broke off: lookups that wait for its fetch are not left behind.
    pub(crate) fn abandon(&self, target: &Target) {
        self.fail(target, Refusal::Unavailable, clock::now());
    }

    /// The fetch is not made, or brought nothing: lookups that wait for it go on without the source.
    pub(super) fn fail(&self, target: &Target, refusal: Refusal, now: Instant) {
        self.settle_all_without_source(self.flights.fail(target), refusal, now);
    }

    /// What the slowest of the sources usually takes; zero before any was asked.
    fn slowest_source(&self) -> Duration {
        let usual = self.sources.iter().map(GuardedSource::usual);
        usual.max().unwrap_or_default()
    }
}

/// `ttl`, longer or shorter by up to `by`; never below the second that Redis counts in.
fn jittered(ttl: Duration, by: Duration) -> Duration {
    let longest = ttl + by;
    let jittered = longest.saturating_sub(by.mul_f64(2.0 * fastrand::f64()));
    jittered.max(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_longer_or_shorter_by_the_jitter_and_no_more() {
        let minute = Duration::from_secs(60);
        let lives = (0..1000).map(|_| jittered(minute, minute / 10));
        let (min, max) = lives.fold((minute, minute), |(min, max), life| {
            (min.min(life), max.max(life))
        });
        let within = minute / 10 * 9..=minute / 10 * 11;
        assert!(within.contains(&min) && within.contains(&max));
        assert!(max - min > minute / 10, "{min:?} to {max:?}");
        assert_eq!(jittered(minute, Duration::ZERO), minute);
    }
}
