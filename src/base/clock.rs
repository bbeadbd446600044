//! The only place that asks the system what time it is. All other code is passed a moment or a
//! [`Deadline`], so that it can be tested without waiting.

use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

/// Now, on the monotonic clock: what time-outs, ages and states are measured with.
pub(crate) fn now() -> Instant {
    #[cfg(test)]
    if let Some(now) = virtual_time::now() {
        return now;
    }
    Instant::now()
}

/// Now, on the wall clock: what people and headers are shown.
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// A moment of the wall clock in UTC, to the millisecond, as in `2026-11-23T22:48:22.794Z`.
#[must_use]
pub(crate) fn rfc3339(wall: SystemTime) -> String {
    // A clock of year 10000 is no reason to be silent.
    let time = Timestamp::try_from(wall).unwrap_or(Timestamp::MAX);
    format!("{time:.3}")
}

/// The moment by which something must be over. One is made for each request and handed down;
/// every step takes the smaller of its own limit and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(from: Instant, limit: Duration) -> Self {
        Self(from + limit)
    }

    /// The time left at `now`; zero when the deadline has passed.
    pub(crate) fn left(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    pub(crate) fn passed(self, now: Instant) -> bool {
        now >= self.0
    }

    /// The earlier of this deadline and the one `limit` after `from`.
    pub(crate) fn within(self, from: Instant, limit: Duration) -> Self {
        self.min(Self::after(from, limit))
    }
}

/// A clock that stands still unless a test moves it, for all that runs on the thread of the test.
#[cfg(test)]
pub(crate) mod virtual_time {
    use std::cell::Cell;
    use std::time::{Duration, Instant};

    thread_local! {
        static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
    }

    pub(super) fn now() -> Option<Instant> {
        NOW.get()
    }

    /// From now on time stands still.
    pub(crate) fn stop() {
        NOW.set(Some(Instant::now()));
    }

    /// Time goes on by `by`; [`stop`] must have been called.
    pub(crate) fn advance(by: Duration) {
        NOW.set(NOW.get().map(|now| now + by));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_clock_moves_when_it_is_told_to() {
        virtual_time::stop();
        let start = now();
        assert_eq!(now(), start);
        virtual_time::advance(Duration::from_secs(3600));
        assert_eq!(now(), start + Duration::from_secs(3600));
    }

    #[test]
    fn a_step_gets_the_smaller_of_its_limit_and_what_is_left() {
        let start = now();
        let request = Deadline::after(start, Duration::from_secs(10));
        let step = request.within(start, Duration::from_secs(3));
        assert_eq!(step.left(start), Duration::from_secs(3));
        let late = start + Duration::from_secs(9);
        let step = request.within(late, Duration::from_secs(3));
        assert_eq!(step.left(late), Duration::from_secs(1));
        assert!(step.passed(start + Duration::from_secs(10)));
        assert_eq!(step.left(start + Duration::from_secs(11)), Duration::ZERO);
    }
}
