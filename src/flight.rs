//! One fetch per key at a time. Lookups that join one that is under way hold no thread: the flight
//! keeps them, and whoever fetches answers them all. It knows nothing of sources, Redis or HTTP.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::Deadline;

/// What is looked up: a key of a route.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Index into the configured routes.
    pub route: usize,
    /// The decoded key, without any prefix.
    pub key: Arc<str>,
}

/// Who can be kept waiting by a flight.
pub trait Waiter {
    /// By when it must be answered.
    fn deadline(&self) -> Deadline;
}

/// A value that was just fetched.
#[derive(Debug, Clone)]
pub struct Landed {
    /// The value.
    pub value: Arc<str>,
    /// When the source gave it.
    pub fetched_at: Instant,
    /// Its life from then on.
    pub ttl: Duration,
}

/// The fetches under way, and those whose value is still on its way to Redis.
#[derive(Debug)]
pub struct Flights<W> {
    /// Guards the flights; held for nanoseconds, never over I/O or an answer.
    flights: Mutex<HashMap<Target, Flight<W>>>,
}

#[derive(Debug)]
enum Flight<W> {
    /// Being fetched for these. Their number is bounded by the number of connections.
    Fetching(Vec<W>),
    /// Fetched, and not yet written to Redis: who missed there in between is answered with it, so
    /// that an answer from the source is never followed by another one of the same moment.
    Landed(Landed),
}

/// What became of a lookup that came to the flights.
#[derive(Debug)]
pub enum Joined<W> {
    /// It is the first: somebody has to fetch, and then call [`Flights::land`] or [`Flights::fail`].
    Leads,
    /// It waits with the others.
    Waits,
    /// The value is here already.
    Has(W, Landed),
}

impl<W> Default for Flights<W> {
    fn default() -> Self {
        Self {
            flights: Mutex::default(),
        }
    }
}

impl<W: Waiter> Flights<W> {
    /// Takes `waiter` aboard the flight of `target`.
    pub fn join(&self, target: &Target, waiter: W) -> Joined<W> {
        match self.lock().entry(target.clone()) {
            Entry::Vacant(vacant) => {
                vacant.insert(Flight::Fetching(vec![waiter]));
                Joined::Leads
            }
            Entry::Occupied(mut occupied) => match occupied.get_mut() {
                Flight::Fetching(waiters) => {
                    waiters.push(waiter);
                    Joined::Waits
                }
                Flight::Landed(landed) => Joined::Has(waiter, landed.clone()),
            },
        }
    }

    /// By when the last of those who wait for `target` must be answered; `None` when nobody waits
    /// any more.
    #[must_use]
    pub fn last_deadline(&self, target: &Target) -> Option<Deadline> {
        match self.lock().get(target) {
            Some(Flight::Fetching(waiters)) => waiters.iter().map(Waiter::deadline).max(),
            _ => None,
        }
    }

    /// The fetch has brought `landed`; returns who waited for it. While `is_being_written`, later
    /// lookups get it too, until [`Self::written`].
    #[must_use]
    pub fn land(&self, target: &Target, landed: Landed, is_being_written: bool) -> Vec<W> {
        let mut flights = self.lock();
        let before = match is_being_written {
            true => flights.insert(target.clone(), Flight::Landed(landed)),
            false => flights.remove(target),
        };
        drop(flights);
        waiters(before)
    }

    /// The fetch brought nothing, or was not made; returns who waited for it.
    #[must_use]
    pub fn fail(&self, target: &Target) -> Vec<W> {
        let before = self.lock().remove(target);
        waiters(before)
    }

    /// The value of `target` has been written to Redis, or never will be.
    pub fn written(&self, target: &Target) {
        let mut flights = self.lock();
        if matches!(flights.get(target), Some(Flight::Landed(_))) {
            flights.remove(target);
        }
    }

    /// Takes out everyone whose deadline has passed; the fetches go on for the others.
    #[must_use]
    pub fn overdue(&self, now: Instant) -> Vec<W> {
        let mut overdue = Vec::new();
        for flight in self.lock().values_mut() {
            if let Flight::Fetching(waiters) = flight {
                overdue.extend(waiters.extract_if(.., |waiter| waiter.deadline().passed(now)));
            }
        }
        overdue
    }

    /// How many keys are being fetched or written.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Target, Flight<W>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn waiters<W>(flight: Option<Flight<W>>) -> Vec<W> {
    match flight {
        Some(Flight::Fetching(waiters)) => waiters,
        Some(Flight::Landed(_)) | None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[derive(Debug, PartialEq)]
    struct Client(u32, Deadline);

    impl Waiter for Client {
        fn deadline(&self) -> Deadline {
            self.1
        }
    }

    fn target(key: &str) -> Target {
        Target {
            route: 0,
            key: key.into(),
        }
    }

    fn landed(now: Instant) -> Landed {
        Landed {
            value: "v".into(),
            fetched_at: now,
            ttl: Duration::from_secs(1),
        }
    }

    fn client(name: u32, now: Instant, ms: u64) -> Client {
        Client(name, Deadline::after(now, Duration::from_millis(ms)))
    }

    #[test]
    fn the_first_leads_and_the_others_wait_for_it() {
        let now = clock::now();
        let flights = Flights::default();
        assert!(matches!(
            flights.join(&target("a"), client(1, now, 10)),
            Joined::Leads
        ));
        assert!(matches!(
            flights.join(&target("a"), client(2, now, 30)),
            Joined::Waits
        ));
        assert!(matches!(
            flights.join(&target("b"), client(3, now, 10)),
            Joined::Leads
        ));
        let last = Deadline::after(now, Duration::from_millis(30));
        assert_eq!(flights.last_deadline(&target("a")), Some(last));
        let answered = flights.land(&target("a"), landed(now), false);
        assert_eq!(answered.iter().map(|c| c.0).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(flights.count(), 1, "b is still being fetched");
    }

    #[test]
    fn who_comes_while_the_value_is_being_written_has_it_at_once() {
        let now = clock::now();
        let flights = Flights::default();
        let _ = flights.join(&target("a"), client(1, now, 10));
        let _ = flights.land(&target("a"), landed(now), true);
        assert!(matches!(
            flights.join(&target("a"), client(2, now, 10)),
            Joined::Has(..)
        ));
        flights.written(&target("a"));
        assert!(matches!(
            flights.join(&target("a"), client(3, now, 10)),
            Joined::Leads
        ));
        flights.written(&target("a"));
        assert_eq!(flights.count(), 1, "a fetch under way is not forgotten");
    }

    #[test]
    fn who_is_overdue_leaves_and_the_fetch_goes_on_for_the_others() {
        let now = clock::now();
        let flights = Flights::default();
        let _ = flights.join(&target("a"), client(1, now, 10));
        let _ = flights.join(&target("a"), client(2, now, 30));
        let overdue = flights.overdue(now + Duration::from_millis(20));
        assert_eq!(overdue.iter().map(|c| c.0).collect::<Vec<_>>(), [1]);
        assert_eq!(flights.fail(&target("a")).len(), 1);
        assert_eq!(flights.count(), 0);
    }
}
