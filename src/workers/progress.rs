//! What the threads are at: since when each has been busy, and how much all have done. It tells a
//! thread that is stuck from one that has nothing to do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Since when each thread has been at what it does.
#[derive(Debug)]
pub(crate) struct Progress {
    born: Instant,
    names: Box<[String]>,
    /// Milliseconds since `born` at which the work began, plus one; 0: at rest.
    busy_since: Box<[AtomicU64]>,
    /// Pieces of work that all threads together have finished.
    finished: AtomicU64,
}

impl Progress {
    pub(super) fn new(names: Box<[String]>, now: Instant) -> Self {
        Self {
            born: now,
            busy_since: names.iter().map(|_| AtomicU64::new(0)).collect(),
            names,
            finished: AtomicU64::new(0),
        }
    }

    pub(super) fn name(&self, thread: usize) -> &str {
        &self.names[thread]
    }

    pub(super) fn begin(&self, thread: usize, now: Instant) {
        self.busy_since[thread].store(self.elapsed_ms(now), Ordering::Relaxed);
    }

    pub(super) fn end(&self, thread: usize) {
        self.busy_since[thread].store(0, Ordering::Relaxed);
        self.finished.fetch_add(1, Ordering::Relaxed);
    }

    /// How many pieces of work the threads have finished so far.
    pub(crate) fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }

    /// The thread that has been busy the longest, and how long. Nobody is busy: no time at all.
    pub(crate) fn longest(&self, now: Instant) -> (&str, Duration) {
        let since = self.busy_since.iter().map(|at| at.load(Ordering::Relaxed));
        let busy = self.names.iter().zip(since).filter(|&(_, at)| at > 0);
        let longest = busy.min_by_key(|&(_, at)| at);
        longest.map_or(("", Duration::ZERO), |(name, at)| {
            let busy_ms = self.elapsed_ms(now).saturating_sub(at);
            (name, Duration::from_millis(busy_ms))
        })
    }

    fn elapsed_ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.born).as_millis() as u64 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    #[test]
    fn the_thread_that_is_busy_the_longest_is_named() {
        let born = clock::now();
        let at = |ms| born + Duration::from_millis(ms);
        let progress = Progress::new(["a", "b"].map(str::to_owned).into(), born);
        assert_eq!(progress.longest(at(9)), ("", Duration::ZERO));
        progress.begin(1, at(0));
        progress.begin(0, at(5));
        assert_eq!(progress.longest(at(9)), ("b", Duration::from_millis(9)));
        progress.end(1);
        assert_eq!(progress.longest(at(9)), ("a", Duration::from_millis(4)));
        assert_eq!(progress.finished(), 1);
    }
}
