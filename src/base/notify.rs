//! A wake-up call for a thread that has its own pace: another thread that meets something for it to look
//! at says so and goes on at once.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// However often it is called before the thread waits, the thread wakes once.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    /// Guards what the thread has to hear; held for nanoseconds.
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_notified: bool,
    is_closed: bool,
}

impl Notify {
    /// There is something to look at.
    pub(crate) fn notify(&self) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.is_notified, true) {
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Waits to be notified, up to `limit`, but for `rest` in any case; false: it is closed.
    #[must_use]
    pub(crate) fn wait(&self, rest: Duration, limit: Duration) -> bool {
        let rests = |state: &mut State| !state.is_closed;
        let waited = self.changed.wait_timeout_while(self.lock(), rest, rests);
        let state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let waits = |state: &mut State| !state.is_closed && !state.is_notified;
        let limit = limit.saturating_sub(rest);
        let waited = self.changed.wait_timeout_while(state, limit, waits);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.is_notified = false;
        !state.is_closed
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// From now on no thread waits.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that ends when this is dropped, as long as it waits for nothing but its [`Notify`].
pub(crate) struct NotifiedThread {
    notify: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl NotifiedThread {
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn spawn(
        name: &str,
        notify: Arc<Notify>,
        run: impl FnOnce(&Notify) + Send + 'static,
    ) -> io::Result<Self> {
        let its = Arc::clone(&notify);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&its))?;
        Ok(Self {
            notify,
            thread: Some(thread),
        })
    }
}

impl Drop for NotifiedThread {
    fn drop(&mut self) {
        self.notify.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_calls_wake_once_and_the_close_at_once() {
        let notify = Notify::default();
        let minute = Duration::from_secs(60);
        (0..3).for_each(|_| notify.notify());
        assert!(notify.wait(Duration::ZERO, minute), "notified before");
        assert!(notify.wait(Duration::ZERO, Duration::ZERO), "nothing more");
        notify.close();
        assert!(!notify.wait(minute, minute));
    }

    #[test]
    fn a_thread_ends_with_its_owner() {
        let minute = Duration::from_secs(60);
        let run = move |notify: &Notify| while notify.wait(minute, minute) {};
        let thread = NotifiedThread::spawn("test", Arc::default(), run);
        drop(thread.expect("a thread"));
    }
}
