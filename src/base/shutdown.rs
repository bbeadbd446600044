//! Signals: the first SIGTERM or SIGINT asks for the end, the second does not wait for it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use log::warn;

/// Whether somebody has asked for the end.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Guards how often it was asked for.
    asked: Mutex<u32>,
    changed: Condvar,
}

impl Shutdown {
    /// Listens to SIGINT, SIGTERM and SIGHUP from now on. `end_now` is called by the second one.
    ///
    /// # Errors
    /// When the signals are taken already or there is no thread to be had.
    pub fn on_signals(end_now: impl Fn() + Send + 'static) -> Result<Self, ctrlc::Error> {
        let shutdown = Self::default();
        let asked = shutdown.clone();
        ctrlc::set_handler(move || {
            if asked.ask() > 1 {
                warn!("second signal: ending at once");
                end_now();
            }
        })?;
        Ok(shutdown)
    }

    /// Asks for the end; how often that has been done.
    pub fn ask(&self) -> u32 {
        let mut asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        *asked += 1;
        self.0.changed.notify_all();
        *asked
    }

    /// Waits until somebody asks.
    pub fn wait(&self) {
        let asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.changed.wait_while(asked, |asked| *asked == 0);
        drop(waited);
    }
}
