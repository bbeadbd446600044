//! The calls that are in flight to Redis: how long each has been, how many lookups wait for it, and
//! its socket, so that a stall is seen before the time-outs and a lost call is ended from outside.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cache::wire::socket::Socket;

/// Bytes of a reply that count as progress, over the time after which a call would stall: some 256 KiB/s
/// with the usual budget.
const PROGRESS_BYTES: u64 = 64 * 1024;

/// The calls in flight: one at most of each thread that makes them.
#[derive(Debug)]
pub(crate) struct Calls {
    /// Each guards the call of one caller; held for nanoseconds by that caller and by the watch.
    by_caller: Box<[Mutex<Option<Call>>]>,
}

#[derive(Debug)]
struct Call {
    /// Since when lookups have waited for it, or when it was last seen to make progress.
    since: Instant,
    /// What its socket had received by then.
    received_bytes: u64,
    /// Requests that wait for it; where there are none it may take its time.
    lookups: usize,
    socket: Option<Arc<Socket>>,
    given_up: bool,
}

impl Call {
    /// Looks whether it has made no progress for `limit`. A large reply that is coming in is progress, and
    /// `limit` counts from now again; a trickle is not.
    fn check_stalled(&mut self, limit: Duration, now: Instant) -> bool {
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
    /// For callers `0..callers`.
    pub(crate) fn new(callers: usize) -> Self {
        Self {
            by_caller: (0..callers).map(|_| Mutex::new(None)).collect(),
        }
    }

    /// Caller `caller` begins a call that `lookups` requests have waited for `since`; it ends with the
    /// guard.
    pub(crate) fn begin(&self, caller: usize, lookups: usize, since: Instant) -> InFlight<'_> {
        let call = &self.by_caller[caller];
        *lock(call) = Some(Call {
            since,
            received_bytes: 0,
            lookups,
            socket: None,
            given_up: false,
        });
        InFlight { call }
    }

    /// Whether a call is in flight.
    pub(crate) fn is_any(&self) -> bool {
        self.by_caller.iter().any(|call| lock(call).is_some())
    }

    /// Looks how many lookups wait for a call that has made no progress for `limit`.
    #[must_use]
    pub(crate) fn check_stalled(&self, limit: Duration, now: Instant) -> usize {
        let lookups = self.by_caller.iter().filter_map(|call| {
            let mut call = lock(call);
            let call = call.as_mut()?;
            call.check_stalled(limit, now).then_some(call.lookups)
        });
        lookups.sum()
    }

    /// Ends every call in flight.
    pub(crate) fn give_up_all(&self) {
        for call in &self.by_caller {
            if let Some(call) = lock(call).as_mut() {
                call.give_up();
            }
        }
    }

    /// Ends the calls that have made no progress for `limit` while lookups wait for them.
    pub(crate) fn give_up_stalled(&self, limit: Duration, now: Instant) {
        for call in &self.by_caller {
            if let Some(call) = lock(call).as_mut().filter(|call| !call.given_up)
                && call.check_stalled(limit, now)
            {
                call.give_up();
            }
        }
    }
}

/// A call in flight; over when dropped.
#[derive(Debug)]
pub(crate) struct InFlight<'a> {
    call: &'a Mutex<Option<Call>>,
}

impl InFlight<'_> {
    /// The call has this socket now. Whether to go on with it: the call may have been given up.
    #[must_use]
    pub(crate) fn attach_socket(&self, socket: &Arc<Socket>) -> bool {
        let mut call = lock(self.call);
        let Some(call) = call.as_mut() else {
            return false;
        };
        call.received_bytes = socket.received_bytes();
        call.socket = Some(Arc::clone(socket));
        !call.given_up
    }

    /// Whether it was ended from outside.
    pub(crate) fn was_given_up(&self) -> bool {
        lock(self.call).as_ref().is_some_and(|call| call.given_up)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        *lock(self.call) = None;
    }
}

fn lock(call: &Mutex<Option<Call>>) -> MutexGuard<'_, Option<Call>> {
    call.lock().unwrap_or_else(PoisonError::into_inner)
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
        assert_eq!(calls.check_stalled(limit, later), 5);
        drop(first);
        assert_eq!(calls.check_stalled(limit, later), 0);
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
        assert!(!call.attach_socket(&Arc::new(Socket::new(ours))));
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
        assert_eq!(calls.check_stalled(limit, now + limit), 1);
    }
}
