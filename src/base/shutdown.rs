//! Whether somebody has asked for the end, and whether that is to wait for a drain.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Shared between who asks and who waits for it.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Guards how far things are.
    phase: Mutex<Phase>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// Nothing is served yet.
    #[default]
    Starting,
    Serving,
    Draining,
}

/// What has to follow when the end is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Whoever [waits](Shutdown::wait) drains.
    First,
    /// Nothing has been served: the end is now.
    BeforeStart,
    /// Who asks twice does not want to wait: the end is now.
    Again,
}

impl Shutdown {
    /// From now on there is something to drain.
    pub fn begin_to_serve(&self) {
        *self.lock() = Phase::Serving;
    }

    /// Asks for the end.
    #[must_use]
    pub fn ask(&self) -> Asked {
        let mut phase = self.lock();
        let asked = match *phase {
            Phase::Starting => Asked::BeforeStart,
            Phase::Serving => Asked::First,
            Phase::Draining => Asked::Again,
        };
        if *phase == Phase::Serving {
            *phase = Phase::Draining;
            self.0.changed.notify_all();
        }
        asked
    }

    /// Waits until somebody asks.
    pub fn wait(&self) {
        let phase = self.lock();
        let draining = |phase: &mut Phase| *phase != Phase::Draining;
        drop(self.0.changed.wait_while(phase, draining));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Phase> {
        self.0.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_before_the_start_or_twice_does_not_wait_for_a_drain() {
        let shutdown = Shutdown::default();
        assert_eq!(shutdown.ask(), Asked::BeforeStart);
        shutdown.begin_to_serve();
        assert_eq!(shutdown.ask(), Asked::First);
        shutdown.wait();
        assert_eq!(shutdown.ask(), Asked::Again);
    }
}
