//! The only place that asks the system what time it is. Everything else is handed a moment or a
//! [`Deadline`], so that what depends on time can be tested without waiting.

use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

/// Now, on the monotonic clock: what time-outs, ages and states are measured with.
#[must_use]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Now, on the wall clock: what people and headers are shown.
#[must_use]
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
    /// The deadline that lies `limit` after `from`.
    #[must_use]
    pub(crate) fn after(from: Instant, limit: Duration) -> Self {
        Self(from + limit)
    }

    /// What is left of it at `now`; zero when it has passed.
    #[must_use]
    pub(crate) fn left(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    /// Whether it has passed at `now`.
    #[must_use]
    pub(crate) fn passed(self, now: Instant) -> bool {
        now >= self.0
    }

    /// The earlier of this deadline and the one `limit` after `from`.
    #[must_use]
    pub(crate) fn within(self, from: Instant, limit: Duration) -> Self {
        self.min(Self::after(from, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
