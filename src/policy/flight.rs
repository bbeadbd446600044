//! One fetch for each key at a time. Lookups that join one that is under way hold no thread: the flight
//! keeps them, and whoever fetches answers them all. It knows nothing of sources, Redis or HTTP.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::clock::Deadline;

/// What is looked up: a key of a route.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    /// Index into the configured routes.
    pub route: usize,
    /// The decoded key, without any prefix.
    pub key: Arc<str>,
}

/// What can wait in a flight.
pub(crate) trait Waiter {
    /// By when it must be answered.
    fn deadline(&self) -> Deadline;

    /// Whether it has something to be answered with, and so waits for the soft time-out only.
    fn has_copy(&self) -> bool;
}

/// A value that was just fetched.
#[derive(Debug, Clone)]
pub(crate) struct FetchedValue {
    pub value: Arc<str>,
    /// When the source gave it.
    pub fetched_at: Instant,
    /// From then on.
    pub ttl: Duration,
}

impl FetchedValue {
    /// What is left of its ttl at `now`.
    pub(crate) fn ttl_left(&self, now: Instant) -> Duration {
        self.ttl
            .saturating_sub(now.saturating_duration_since(self.fetched_at))
    }
}

/// The fetches under way, and those whose value is still on its way to Redis.
#[derive(Debug)]
pub(crate) struct Flights<W> {
    /// Guards the flights; held for nanoseconds, never over I/O or an answer.
    flights: Mutex<HashMap<Target, Flight<W>>>,
}

#[derive(Debug)]
enum Flight<W> {
    /// Being fetched for these: none, where it is a refresh. Their number is bounded by the number of
    /// connections.
    Fetching {
        waiters: Vec<W>,
        /// When the first came.
        since: Instant,
    },
    /// Fetched, and on its way to Redis, or written there a moment ago: lookups that missed before the
    /// write was done are answered with it, so that an answer from the source is never followed by
    /// another one of the same moment.
    Fetched {
        value: FetchedValue,
        /// When Redis had it, or it was given up.
        written_at: Option<Instant>,
    },
}

/// What became of a lookup that came to the flights.
#[derive(Debug)]
pub(crate) enum Joined<W> {
    /// It is the first: somebody has to fetch, and then call [`Flights::complete`] or [`Flights::fail`].
    Leads,
    /// It waits with the others.
    Waits,
    /// The value is here already.
    Has(W, FetchedValue),
}

impl<W> Default for Flights<W> {
    fn default() -> Self {
        Self {
            flights: Mutex::default(),
        }
    }
}

impl<W: Waiter> Flights<W> {
    /// Takes `waiter` aboard the flight of `target` at `now`. `missed`: when it came, if Redis was
    /// asked since then and did not have the value; `None`: Redis was not asked.
    pub(crate) fn join(
        &self,
        target: &Target,
        waiter: W,
        missed: Option<Instant>,
        now: Instant,
    ) -> Joined<W> {
        let mut flights = self.lock();
        let fetching = |waiter| Flight::Fetching {
            waiters: vec![waiter],
            since: now,
        };
        let mut flight = match flights.entry(target.clone()) {
            Entry::Vacant(vacant) => {
                vacant.insert(fetching(waiter));
                return Joined::Leads;
            }
            Entry::Occupied(occupied) => occupied,
        };
        match flight.get_mut() {
            Flight::Fetching { waiters, .. } => {
                waiters.push(waiter);
                Joined::Waits
            }
            Flight::Fetched { value, written_at } => {
                let is_due_to_the_write = |missed| written_at.is_none_or(|at| missed <= at);
                if missed.is_some_and(is_due_to_the_write) {
                    return Joined::Has(waiter, value.clone());
                }
                flight.insert(fetching(waiter));
                Joined::Leads
            }
        }
    }

    /// Begins a flight for which nobody waits; false when there is one already, or has just been.
    #[must_use]
    pub(crate) fn lead(&self, target: &Target, now: Instant) -> bool {
        match self.lock().entry(target.clone()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                let waiters = Vec::new();
                vacant.insert(Flight::Fetching {
                    waiters,
                    since: now,
                });
                true
            }
        }
    }

    /// By when the last of those who wait for `target` must be answered; `None` when nobody waits
    /// any more.
    pub(crate) fn last_deadline(&self, target: &Target) -> Option<Deadline> {
        match self.lock().get(target) {
            Some(Flight::Fetching { waiters, .. }) => waiters.iter().map(Waiter::deadline).max(),
            _ => None,
        }
    }

    /// The fetch has brought `value`; returns what waited for it. With `is_being_written`, lookups that
    /// miss it in Redis until [`Self::written`] get it too.
    #[must_use]
    pub(crate) fn complete(
        &self,
        target: &Target,
        value: FetchedValue,
        is_being_written: bool,
    ) -> Vec<W> {
        let mut flights = self.lock();
        let before = match is_being_written {
            true => {
                let written_at = None;
                flights.insert(target.clone(), Flight::Fetched { value, written_at })
            }
            false => flights.remove(target),
        };
        drop(flights);
        waiters(before)
    }

    /// The fetch brought nothing, or was not made; returns what waited for it.
    #[must_use]
    pub(crate) fn fail(&self, target: &Target) -> Vec<W> {
        let before = self.lock().remove(target);
        waiters(before)
    }

    /// At `now` the value of `target` was in Redis, or given up. It is kept for lookups that missed
    /// it there before, until [`Self::forget_written`].
    pub(crate) fn written(&self, target: &Target, now: Instant) {
        if let Some(Flight::Fetched { written_at, .. }) = self.lock().get_mut(target) {
            *written_at = Some(now);
        }
    }

    /// Forgets the values that were written before `limit`: no lookup that missed them before is left.
    pub(crate) fn forget_written(&self, limit: Instant) {
        self.lock().retain(|_, flight| match flight {
            Flight::Fetched { written_at, .. } => written_at.is_none_or(|at| at >= limit),
            Flight::Fetching { .. } => true,
        });
    }

    /// Takes out every waiter whose deadline has passed, and those with a copy that have waited for the
    /// `soft_timeout` of the flight; the fetches go on for the others, or for nobody.
    #[must_use]
    pub(crate) fn overdue(
        &self,
        now: Instant,
        soft_timeout: impl Fn(&Target) -> Duration,
    ) -> Vec<W> {
        let mut overdue = Vec::new();
        for (target, flight) in self.lock().iter_mut() {
            if let Flight::Fetching { waiters, since } = flight {
                let soft_is_over = now.saturating_duration_since(*since) >= soft_timeout(target);
                overdue.extend(waiters.extract_if(.., |waiter| {
                    waiter.deadline().passed(now) || soft_is_over && waiter.has_copy()
                }));
            }
        }
        overdue
    }

    /// How many keys are being fetched or written.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Target, Flight<W>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn waiters<W>(flight: Option<Flight<W>>) -> Vec<W> {
    match flight {
        Some(Flight::Fetching { waiters, .. }) => waiters,
        Some(Flight::Fetched { .. }) | None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    #[derive(Debug, PartialEq)]
    struct Client(u32, Deadline, bool);

    impl Waiter for Client {
        fn deadline(&self) -> Deadline {
            self.1
        }

        fn has_copy(&self) -> bool {
            self.2
        }
    }

    fn target(key: &str) -> Target {
        Target {
            route: 0,
            key: key.into(),
        }
    }

    fn fetched(now: Instant) -> FetchedValue {
        FetchedValue {
            value: "v".into(),
            fetched_at: now,
            ttl: Duration::from_secs(1),
        }
    }

    fn client(name: u32, now: Instant, ms: u64) -> Client {
        Client(name, Deadline::after(now, Duration::from_millis(ms)), false)
    }

    #[test]
    fn the_first_leads_and_the_others_wait_for_it() {
        let now = clock::now();
        let flights = Flights::default();
        assert!(matches!(
            flights.join(&target("a"), client(1, now, 10), None, now),
            Joined::Leads
        ));
        assert!(matches!(
            flights.join(&target("a"), client(2, now, 30), None, now),
            Joined::Waits
        ));
        assert!(matches!(
            flights.join(&target("b"), client(3, now, 10), None, now),
            Joined::Leads
        ));
        let last = Deadline::after(now, Duration::from_millis(30));
        assert_eq!(flights.last_deadline(&target("a")), Some(last));
        let answered = flights.complete(&target("a"), fetched(now), false);
        assert_eq!(answered.iter().map(|c| c.0).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(flights.count(), 1, "b is still being fetched");
    }

    #[test]
    fn who_missed_before_the_write_was_done_has_the_value_at_once() {
        let now = clock::now();
        let at = |ms| now + Duration::from_millis(ms);
        let flights = Flights::default();
        let join = |missed| flights.join(&target("a"), client(1, now, 10), missed, now);
        let _ = join(None);
        let _ = flights.complete(&target("a"), fetched(now), true);
        assert!(
            matches!(join(Some(at(5))), Joined::Has(..)),
            "the write is under way"
        );
        flights.written(&target("a"), at(10));
        assert!(
            matches!(join(Some(at(9))), Joined::Has(..)),
            "it had come before"
        );
        flights.forget_written(at(10));
        assert_eq!(flights.count(), 1);
        assert!(
            matches!(join(Some(at(11))), Joined::Leads),
            "redis has lost it since"
        );
        flights.written(&target("a"), at(12));
        flights.forget_written(at(1000));
        assert_eq!(flights.count(), 1, "a fetch under way is not forgotten");
    }

    #[test]
    fn who_has_not_asked_redis_does_not_get_what_is_on_its_way_there() {
        let now = clock::now();
        let flights = Flights::default();
        let join = || flights.join(&target("a"), client(1, now, 10), None, now);
        let _ = join();
        let _ = flights.complete(&target("a"), fetched(now), true);
        assert!(matches!(join(), Joined::Leads));
        flights.written(&target("a"), now);
        flights.forget_written(now + Duration::from_secs(1));
        assert_eq!(flights.count(), 1);
    }

    #[test]
    fn who_is_overdue_leaves_and_the_fetch_goes_on_for_the_others() {
        let now = clock::now();
        let flights = Flights::default();
        let _ = flights.join(&target("a"), client(1, now, 10), None, now);
        let _ = flights.join(&target("a"), client(2, now, 30), None, now);
        let overdue = flights.overdue(now + Duration::from_millis(20), |_| Duration::MAX);
        assert_eq!(overdue.iter().map(|c| c.0).collect::<Vec<_>>(), [1]);
        assert_eq!(flights.fail(&target("a")).len(), 1);
        assert_eq!(flights.count(), 0);
    }

    #[test]
    fn who_has_a_copy_waits_for_the_soft_time_out_of_the_flight_and_no_longer() {
        let now = clock::now();
        let at = |ms| now + Duration::from_millis(ms);
        let flights = Flights::default();
        let with_copy = |name| Client(name, Deadline::after(now, Duration::from_secs(9)), true);
        let soft = |_: &Target| Duration::from_millis(100);
        let _ = flights.join(&target("a"), client(1, now, 9000), None, now);
        let _ = flights.join(&target("a"), with_copy(2), None, at(50));
        assert_eq!(flights.overdue(at(99), soft), []);
        let overdue = flights.overdue(at(100), soft);
        assert_eq!(overdue.iter().map(|c| c.0).collect::<Vec<_>>(), [2]);
        let _ = flights.join(&target("a"), with_copy(3), None, at(200));
        let overdue = flights.overdue(at(200), soft);
        assert_eq!(
            overdue.iter().map(|c| c.0).collect::<Vec<_>>(),
            [3],
            "the flight is late as it is"
        );
        assert_eq!(flights.fail(&target("a")).len(), 1);
    }

    #[test]
    fn a_refresh_is_a_flight_without_passengers_that_others_may_join() {
        let now = clock::now();
        let flights = Flights::default();
        assert!(flights.lead(&target("a"), now));
        assert!(!flights.lead(&target("a"), now), "there is one already");
        assert_eq!(flights.last_deadline(&target("a")), None);
        let joined = flights.join(&target("a"), client(1, now, 10), None, now);
        assert!(matches!(joined, Joined::Waits));
        assert_eq!(flights.complete(&target("a"), fetched(now), true).len(), 1);
        assert!(!flights.lead(&target("a"), now), "it has just been fetched");
    }
}
