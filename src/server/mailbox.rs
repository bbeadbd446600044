//! How other threads reach an event loop: messages, and an eventfd that wakes it.

use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::event::EventfdFlags;

use crate::base::clock;

/// What an event loop is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// A new connection, by the accept loop.
    Accepted(TcpStream),
    /// The request in flight on the connection with this token was answered, and there is more to do.
    Answered(u64),
    /// There is no room: the connection that has been idle the longest gives way.
    Evict,
    /// Finish what is in flight, keep nothing alive, and end.
    Drain,
    /// End now.
    Stop,
}

/// The messages of one event loop.
#[derive(Debug)]
pub(crate) struct Mailbox {
    created_at: Instant,
    /// Guards the messages.
    messages: Mutex<Vec<Message>>,
    /// Watched for edges and never read: reading it could swallow a wake-up in between.
    wakeup: OwnedFd,
    /// Whether the loop has been woken since it last emptied the box.
    is_woken: AtomicBool,
}

impl Mailbox {
    /// # Errors
    /// When the system has no eventfd.
    pub(crate) fn new() -> std::io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self {
            created_at: clock::now(),
            messages: Mutex::default(),
            wakeup: rustix::event::eventfd(0, flags)?,
            is_woken: AtomicBool::new(false),
        })
    }

    /// Leaves a message and wakes the loop.
    pub(crate) fn post(&self, message: Message) {
        self.lock().push(message);
        if !self.is_woken.swap(true, Ordering::SeqCst) {
            // It can only fail when the counter is full: after 2^64 wake-ups.
            let _ = rustix::io::write(&self.wakeup, &1_u64.to_ne_bytes());
        }
    }

    /// Takes all messages.
    pub(crate) fn take_all(&self) -> Vec<Message> {
        self.is_woken.store(false, Ordering::SeqCst);
        std::mem::take(&mut *self.lock())
    }

    /// To be waited for, edge-triggered.
    pub(crate) fn wakeup(&self) -> impl AsFd + '_ {
        &self.wakeup
    }

    /// Milliseconds since it was made, by which connections note when they were answered.
    pub(crate) fn elapsed_ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.created_at).as_millis() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Message>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
