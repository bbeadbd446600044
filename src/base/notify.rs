//! The notify of the topology thread: whoever meets a sign that a node is not what it was rings it, and
//! goes on at once.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Rung any number of times, it wakes the thread once.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    /// Guards what was heard; held for nanoseconds.
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    was_rung: bool,
    is_closed: bool,
}

impl Notify {
    /// There is something to look at.
    pub(crate) fn notify(&self) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.was_rung, true) {
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Waits to be rung, up to `limit`, but for `rest` in any case; false: it is over.
    pub(crate) fn wait(&self, rest: Duration, limit: Duration) -> bool {
        if !self.pause(rest) {
            return false;
        }
        let waits = |state: &mut State| !state.is_closed && !state.was_rung;
        let waited =
            self.changed
                .wait_timeout_while(self.lock(), limit.saturating_sub(rest), waits);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.was_rung = false;
        !state.is_closed
    }

    /// Lets `rest` pass; false: it is over.
    fn pause(&self, rest: Duration) -> bool {
        let goes_on = |state: &mut State| !state.is_closed;
        let waited = self.changed.wait_timeout_while(self.lock(), rest, goes_on);
        !waited.unwrap_or_else(PoisonError::into_inner).0.is_closed
    }

    /// Whether whoever waits may go home.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Whoever waits goes home.
    pub(crate) fn end(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rings_are_heard_once_and_the_end_at_once() {
        let notify = Notify::default();
        let minute = Duration::from_secs(60);
        (0..3).for_each(|_| notify.notify());
        assert!(notify.wait(Duration::ZERO, minute), "rung before");
        assert!(notify.wait(Duration::ZERO, Duration::ZERO), "nothing more");
        notify.end();
        assert!(!notify.wait(minute, minute));
    }
}
