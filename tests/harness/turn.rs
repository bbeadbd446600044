//! Tests run side by side, but one that measures time must not be disturbed: it runs alone. Every
//! test that starts the app takes a shared turn without asking for it.

use std::cell::RefCell;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Who is running, and who waits to run alone.
struct Turns {
    shared: usize,
    is_taken: bool,
    waiting: usize,
}

static TURNS: Mutex<Turns> = Mutex::new(Turns {
    shared: 0,
    is_taken: false,
    waiting: 0,
});
static CHANGED: Condvar = Condvar::new();

/// A turn; ends when dropped, which is when the thread of its test ends.
enum Turn {
    Shared,
    Alone,
}

thread_local! {
    static MINE: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

/// From here to its end this test runs while no other one has an app.
pub fn alone() {
    MINE.with_borrow_mut(|mine| {
        // First the shared one ends: two tests that wait for each other would wait for ever.
        *mine = None;
        let mut turns = lock();
        turns.waiting += 1;
        let free = |turns: &mut Turns| turns.is_taken || turns.shared > 0;
        let mut turns = CHANGED
            .wait_while(turns, free)
            .unwrap_or_else(PoisonError::into_inner);
        turns.waiting -= 1;
        turns.is_taken = true;
        *mine = Some(Turn::Alone);
    });
}

/// A turn for a test that does not mind others; one that runs alone has its turn already.
pub fn share() {
    MINE.with_borrow_mut(|mine| {
        if mine.is_some() {
            return;
        }
        let busy = |turns: &mut Turns| turns.is_taken || turns.waiting > 0;
        let turns = CHANGED.wait_while(lock(), busy);
        turns.unwrap_or_else(PoisonError::into_inner).shared += 1;
        *mine = Some(Turn::Shared);
    });
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = lock();
        match self {
            Self::Shared => turns.shared -= 1,
            Self::Alone => turns.is_taken = false,
        }
        drop(turns);
        CHANGED.notify_all();
    }
}

fn lock() -> MutexGuard<'static, Turns> {
    TURNS.lock().unwrap_or_else(PoisonError::into_inner)
}
