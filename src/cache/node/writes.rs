//! Whether a node takes writes. One that refuses them serves reads all the same: writes rest for a moment,
//! and it is said once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{info, warn};

use crate::cache::wire::fault::Fault;

/// How long writes rest after one was refused.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Writes {
    /// Guards the state of being refused; held for nanoseconds.
    refused: Mutex<Option<Refused>>,
}

#[derive(Debug)]
struct Refused {
    since: Instant,
    paused_until: Instant,
    /// Values that were tried.
    count: u64,
}

impl Writes {
    /// Whether the last one was refused.
    pub(crate) fn are_refused(&self) -> bool {
        self.lock().is_some()
    }

    /// Whether they rest.
    pub(crate) fn are_paused(&self, now: Instant) -> bool {
        matches!(&*self.lock(), Some(refused) if now < refused.paused_until)
    }

    /// The server at `address` has refused `count` values because of `fault`.
    pub(crate) fn pause(&self, address: &str, fault: &Fault, count: usize, now: Instant) {
        let mut state = self.lock();
        let is_news = state.is_none();
        let refused = state.get_or_insert(Refused {
            since: now,
            paused_until: now,
            count: 0,
        });
        refused.paused_until = now + PAUSE;
        refused.count += count as u64;
        if is_news {
            warn!(
                "redis at {address} takes no writes: {fault}; hits are served from it all the same"
            );
        }
    }

    /// The server has taken some.
    pub(crate) fn resume(&self, now: Instant) {
        if let Some(refused) = self.lock().take() {
            info!(
                "redis takes writes again after {:.1} s, in which {} were tried and refused; what waited \
                 for it is written now",
                now.saturating_duration_since(refused.since).as_secs_f64(),
                refused.count,
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
