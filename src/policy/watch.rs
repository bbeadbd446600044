//! What time does: whoever waits too long goes on without what was waited for, and what nears its end is
//! fetched anew before it is missed.

use std::time::{Duration, Instant};

use crate::base::clock::{self, Deadline};
use crate::cache::port::{Cache, Told};
use crate::cache::ttl::KeyTtl;
use crate::config::Route;
use crate::copies::cached_value::CachedValue;
use crate::policy::decide::Refusal;
use crate::policy::flight::Target;
use crate::policy::{Fill, Policy, Read};

/// By how much longer than expected a key must live to have been written anew: Redis counts a ttl in
/// seconds.
const TTL_MARGIN: Duration = Duration::from_millis(1500);

impl<C: Cache> Policy<C> {
    /// Whether there is anything that [`Self::watch`] would have to look at soon.
    pub(crate) fn is_under_way(&self) -> bool {
        !self.reads.is_empty() || self.flights.count() > 0 || self.cache.is_calling()
    }

    /// Looked at every few milliseconds while there is anything under way: lookups that have waited too
    /// long for a reader to be answered in time go on without Redis, those that have waited too long for
    /// a filler or a fetch go on without the source, and a Redis that stalls is given up.
    pub(crate) fn watch(&self, now: Instant) {
        self.watch_reads(now);
        let limit = self.queue_timeout;
        let is_late = |_, fill: &Fill| now.saturating_duration_since(fill.queued_at) >= limit;
        for (_, fill) in self.fills.take_where(is_late) {
            self.fail(&fill.target, Refusal::Shed, now);
        }
        let soft_timeout = |target: &Target| self.source_of(target).soft_timeout;
        let overdue = self.flights.overdue(now, soft_timeout);
        self.settle_all_without_source(overdue, Refusal::Unavailable, now);
        if let Some(limit) = now.checked_sub(self.cache.limits().timeout * 2) {
            self.flights.forget_written(limit);
        }
    }

    fn watch_reads(&self, now: Instant) {
        let lanes = self.cache.lanes(now);
        // Where the server of a lane is gone another one is asked, if there is still time for it.
        let usual = self.cache.limits().patience() / 2;
        let is_late = |number, read: &Read| {
            let lane = lanes.iter().find(|lane| lane.number == number);
            let limit = lane.map_or(usual, |lane| lane.patience);
            read.waits_since(now).is_some_and(|waited| waited >= limit)
        };
        let mut lost = self.reads.take_where(is_late);
        let count = |reads: &[(usize, Read)], number| {
            reads.iter().filter(|(lane, _)| *lane == number).count()
        };
        self.cache.watch(|number| count(&lost, number), now);
        let lanes = self.cache.lanes(now);
        let is_in_vain = |number, read: &Read| {
            let mut unusable = lanes.iter().filter(|lane| !lane.is_usable);
            read.waits_since(now).is_some() && unusable.any(|lane| lane.number == number)
        };
        lost.extend(self.reads.take_where(is_in_vain));
        for lane in lanes {
            match count(&lost, lane.number) {
                0 => {}
                bypassed => self.cache.count_bypassed(lane.number, bypassed),
            }
        }
        for (_, read) in lost {
            if let Read::Ask(lookup) = read {
                self.settle(lookup, Told::unusable(now));
            }
        }
    }

    /// Step 9, on the upkeep thread: asks Redis how long it will have these keys. What nears its end is
    /// fetched anew, and what somebody has written anew is left alone.
    pub(crate) fn refresh_due(&self, caller: usize, batch: &[Target]) {
        let keys: Vec<_> = batch.iter().map(|target| self.full_key(target)).collect();
        let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
        let deadline = Deadline::after(clock::now(), self.cache.limits().timeout);
        let ttls = self.cache.ttls(caller, &keys, deadline);
        let now = clock::now();
        for (target, ttl) in batch.iter().zip(ttls) {
            let Some(ttl) = ttl else { continue };
            let route = &self.routes[target.route];
            let learn = |copy: &mut CachedValue| learn_ttl(copy, ttl, route, now);
            let nears_end = self.memory.change(target.route, &target.key, learn);
            if nears_end.unwrap_or(false) {
                self.refresh(target, now);
            }
        }
    }
}

/// What Redis says of the ttl of a key changes what is known of its copy. Whether it nears its end and is
/// to be refreshed.
fn learn_ttl(copy: &mut CachedValue, ttl: KeyTtl, route: &Route, now: Instant) -> bool {
    let refreshes = !route.refresh_at.is_whole();
    let left = match ttl {
        KeyTtl::Left(left) => left,
        KeyTtl::Endless => {
            copy.is_ttl_known = true;
            copy.due_at = None;
            return false;
        }
        // That cannot be known: our own count holds.
        KeyTtl::Unknown if !copy.is_ttl_known => {
            copy.due_at = None;
            return false;
        }
        KeyTtl::Unknown => return refreshes,
        KeyTtl::Gone => return false,
    };
    let expected = copy.ttl.saturating_sub(copy.age(now));
    if copy.is_ttl_known && left <= expected + TTL_MARGIN {
        return refreshes;
    }
    // First seen, or written anew: it lives for what is left, for all that can be known.
    copy.fetched_at = now;
    copy.ttl = left.min(route.ttl);
    copy.is_ttl_known = true;
    copy.due_at = refreshes.then(|| now + route.refresh_at.of(copy.ttl));
    false
}
