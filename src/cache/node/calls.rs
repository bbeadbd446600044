//! The calls that are in flight to Redis: how long each has been, how many lookups wait for it, and
//! its socket, so that a stall is seen before the time-outs and a lost call is ended from outside.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cache::wire::connection::Socket;

/// Bytes of a reply that count as progress, over the time after which a call would stall: some 256 KiB/s
/// with the usual budget.
const PROGRESS_BYTES: u64 = 64 * 1024;

/// The calls in flight, one place for each thread that makes them.
#[derive(Debug)]
pub(crate) struct Calls {
    /// Each guards one call; held for nanoseconds by its caller and by the watch.
    places: Box<[Mutex<Option<Call>>]>,
}

#[derive(Debug)]
struct Call {
    /// Since when lookups have waited for it, or when it was last seen to make progress.
    since: Instant,
    /// What its socket had received by then.
    received_bytes: u64,
    /// Requests that wait for it; 0: nobody does, and it may take its time.
    lookups: usize,
    socket: Option<Arc<Socket>>,
    given_up: bool,
}

impl Call {
    /// Whether it has made no progress for `limit`. A large reply that is coming in is progress; a
    /// trickle is not.
    fn stalls(&mut self, limit: Duration, now: Instant) -> bool {
        if self.lookups == 0 || now.saturating_duration_since(self.since) < limit {
            return false;
        }
        let received_bytes = self
            .socket
            .as_ref()
            .map_or(0, |socket| socket.received_bytes());
        if received_bytes < self.received_bytes + PROGRESS_BYTES {
            return true;
        }
        (self.since, self.received_bytes) = (now, received_bytes);
        false
    }

    /// Its thread meets a closed connection at once.
    fn give_up(&mut self) {
        self.given_up = true;
        if let Some(socket) = &self.socket {
            socket.shut_down();
        }
    }
}

impl Calls {
    /// Places for callers `0..callers`.
    #[must_use]
    pub(crate) fn new(callers: usize) -> Self {
        Self {
            places: (0..callers).map(|_| Mutex::new(None)).collect(),
        }
    }

    /// Caller `caller` begins a call that `lookups` requests have waited for `since`; it ends with the
    /// guard.
    pub(crate) fn begin(&self, caller: usize, lookups: usize, since: Instant) -> InFlight<'_> {
        let place = &self.places[caller];
        *lock(place) = Some(Call {
            since,
            received_bytes: 0,
            lookups,
            socket: None,
            given_up: false,
        });
        InFlight { place }
    }

    /// Whether a call is in flight.
    #[must_use]
    pub(crate) fn is_any(&self) -> bool {
        self.places.iter().any(|place| lock(place).is_some())
    }

    /// Lookups that wait for a call which has made no progress for `limit`.
    #[must_use]
    pub(crate) fn stalled(&self, limit: Duration, now: Instant) -> usize {
        let places = self.places.iter();
        places
            .filter_map(|place| {
                let mut call = lock(place);
                let call = call.as_mut()?;
                call.stalls(limit, now).then_some(call.lookups)
            })
            .sum()
    }

    /// Ends every call in flight.
    pub(crate) fn give_up_all(&self) {
        for place in &self.places {
            if let Some(call) = lock(place).as_mut() {
                call.give_up();
            }
        }
    }

    /// Ends the calls that have made no progress for `limit` while lookups wait for them.
    pub(crate) fn give_up_stalled(&self, limit: Duration, now: Instant) {
        for place in &self.places {
            if let Some(call) = lock(place).as_mut().filter(|call| !call.given_up)
                && call.stalls(limit, now)
            {
                call.give_up();
            }
        }
    }
}

/// A call in flight; over when dropped.
#[derive(Debug)]
pub(crate) struct InFlight<'a> {
    place: &'a Mutex<Option<Call>>,
}

impl InFlight<'_> {
    /// The call has this socket now. Whether to go on with it: the call may have been given up.
    #[must_use]
    pub(crate) fn attach_socket(&self, socket: &Arc<Socket>) -> bool {
        let mut place = lock(self.place);
        let Some(call) = place.as_mut() else {
            return false;
        };
        call.received_bytes = socket.received_bytes();
        call.socket = Some(Arc::clone(socket));
        !call.given_up
    }

    /// Whether it was ended from outside.
    #[must_use]
    pub(crate) fn was_given_up(&self) -> bool {
        lock(self.place).as_ref().is_some_and(|call| call.given_up)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        *lock(self.place) = None;
    }
}

fn lock(place: &Mutex<Option<Call>>) -> MutexGuard<'_, Option<Call>> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    #[test]
    fn lookups_of_calls_over_the_limit_are_counted_and_ended_calls_are_not() {
        let now = clock::now();
        let calls = Calls::new(3);
        let first = calls.begin(0, 5, now);
        let _second = calls.begin(1, 7, now + Duration::from_millis(200));
        let later = now + Duration::from_millis(250);
        let limit = Duration::from_millis(250);
        assert_eq!(calls.stalled(limit, later), 5);
        drop(first);
        assert_eq!(calls.stalled(limit, later), 0);
    }

    #[test]
    fn a_call_that_was_given_up_ends_as_soon_as_it_has_a_socket() {
        let now = clock::now();
        let calls = Calls::new(1);
        let call = calls.begin(0, 1, now);
        assert!(!call.was_given_up());
        calls.give_up_all();
        assert!(call.was_given_up());
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
        assert!(!call.attach_socket(&Arc::new(Socket::from(ours))));
    }

    #[test]
    fn a_call_that_stalls_is_given_up_and_one_that_no_lookup_waits_for_is_not() {
        let now = clock::now();
        let limit = Duration::from_millis(100);
        let calls = Calls::new(3);
        let stalled = calls.begin(0, 1, now);
        let quick = calls.begin(1, 1, now + limit / 2);
        let upkeep = calls.begin(2, 0, now);
        calls.give_up_stalled(limit, now + limit);
        let given_up = [&stalled, &quick, &upkeep].map(InFlight::was_given_up);
        assert_eq!(given_up, [true, false, false]);
        assert_eq!(calls.stalled(limit, now + limit), 1);
    }
}
