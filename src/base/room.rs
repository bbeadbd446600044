//! A bounded number of places, of which somebody takes one and gives it back: connections, for one.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many places are taken, and how many there are.
#[derive(Debug)]
pub(crate) struct Room {
    /// Guards the number of places that are taken.
    taken: Mutex<usize>,
    freed: Condvar,
    max: usize,
}

impl Room {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            taken: Mutex::new(0),
            freed: Condvar::new(),
            max,
        }
    }

    /// Takes a place; false: there is none.
    pub(crate) fn take(&self) -> bool {
        let mut taken = self.lock();
        let has_room = *taken < self.max;
        *taken += usize::from(has_room);
        has_room
    }

    /// Gives a place back.
    pub(crate) fn release(&self) {
        let mut taken = self.lock();
        *taken = taken.saturating_sub(1);
        drop(taken);
        self.freed.notify_one();
    }

    /// Places that are taken now, and places in all.
    pub(crate) fn taken(&self) -> (usize, usize) {
        (*self.lock(), self.max)
    }

    /// Waits until a place is free, `limit` at most.
    pub(crate) fn wait(&self, limit: Duration) {
        let taken = self.lock();
        if *taken >= self.max {
            let _ = self.freed.wait_timeout(taken, limit);
        }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
