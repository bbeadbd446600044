//! One client connection: its socket, which is ours alone, and whose turn it is. At most one request
//! of a connection is in flight; who answers it sends at once what the socket takes and leaves the
//! rest to the front. Nobody ever waits for a client.

use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::event::EventfdFlags;
use rustix::net::{RecvFlags, SendFlags};

use crate::base::clock;

/// Nothing is in flight: the front may take the next request.
const IDLE: u8 = 0;
/// A request is in flight, and nothing more has come.
const IN_FLIGHT: u8 = 1;
/// A request is in flight, and the front wants to know when it is answered.
const IN_FLIGHT_AND_AWAITED: u8 = 2;
/// An answer was given that the front must finish: send the rest, or close.
const TO_BE_FINISHED: u8 = 3;

/// A connection as those who answer see it.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    /// The front's name for it.
    token: u64,
    stage: AtomicU8,
    front: Arc<Mailbox>,
    /// Guards what is left to be done for the last answer.
    pending: Mutex<PendingWrite>,
    /// Milliseconds since the mailbox was made at which the last answer was exchanges.
    answered_at: AtomicU64,
}

/// What an answer leaves to the front.
#[derive(Debug, Default)]
pub(crate) struct PendingWrite {
    /// Not sent yet.
    pub bytes: Vec<u8>,
    /// How much of it has been sent meanwhile.
    pub sent: usize,
    /// The connection ends when all is sent.
    pub closes: bool,
    /// The client is gone.
    pub is_broken: bool,
}

/// What one attempt to send came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// All of it.
    All,
    /// This many bytes: the socket takes no more now.
    Some(usize),
    /// The client is gone.
    Broken,
}

impl Connection {
    /// Around `socket`, which need not be non-blocking.
    #[must_use]
    pub(crate) fn new(socket: TcpStream, token: u64, front: Arc<Mailbox>) -> Self {
        Self {
            socket,
            token,
            stage: AtomicU8::new(IDLE),
            front,
            pending: Mutex::default(),
            answered_at: AtomicU64::new(0),
        }
    }

    /// The front's name for it.
    #[must_use]
    pub(crate) fn token(&self) -> u64 {
        self.token
    }

    /// Whether the front may take the next request. If not, it will be told when it may.
    #[must_use]
    pub(crate) fn claim_or_await(&self) -> bool {
        let told = self.stage.compare_exchange(
            IN_FLIGHT,
            IN_FLIGHT_AND_AWAITED,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        matches!(told, Err(IDLE))
    }

    /// Whether no request is in flight and nothing is left to be sent.
    #[must_use]
    pub(crate) fn is_idle(&self) -> bool {
        self.stage.load(Ordering::Acquire) == IDLE
    }

    /// A request has been taken from it; `is_awaited`: the front has more to do when it is answered.
    pub(crate) fn begin_request(&self, is_awaited: bool) {
        let stage = if is_awaited {
            IN_FLIGHT_AND_AWAITED
        } else {
            IN_FLIGHT
        };
        self.stage.store(stage, Ordering::Release);
    }

    /// Gives the answer to the request in flight: sends what the socket takes, and is done, or
    /// leaves the rest to the front.
    pub(crate) fn answer(&self, bytes: Vec<u8>, closes: bool) {
        self.answered_at
            .store(self.front.elapsed_ms(clock::now()), Ordering::Relaxed);
        let (sent, is_broken) = match self.send(&bytes) {
            Sent::All => (bytes.len(), false),
            Sent::Some(count) => (count, false),
            Sent::Broken => (bytes.len(), true),
        };
        if sent < bytes.len() || closes || is_broken {
            *self.pending() = PendingWrite {
                bytes,
                sent,
                closes,
                is_broken,
            };
            self.stage.store(TO_BE_FINISHED, Ordering::Release);
            self.front.post(Message::Answered(self.token));
        } else if self.stage.swap(IDLE, Ordering::AcqRel) == IN_FLIGHT_AND_AWAITED {
            self.front.post(Message::Answered(self.token));
        }
    }

    /// What the last answer left to do. The front's, while [`Self::is_idle`] does not hold.
    pub(crate) fn pending(&self) -> MutexGuard<'_, PendingWrite> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a rest to be finished.
    #[must_use]
    pub(crate) fn has_pending(&self) -> bool {
        self.stage.load(Ordering::Acquire) == TO_BE_FINISHED
    }

    /// The rest has been sent: the connection is free.
    pub(crate) fn clear_pending(&self) {
        *self.pending() = PendingWrite::default();
        self.stage.store(IDLE, Ordering::Release);
    }

    /// Sends what the socket takes now.
    pub(crate) fn send(&self, bytes: &[u8]) -> Sent {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let mut sent = 0;
        while sent < bytes.len() {
            match rustix::net::send(&self.socket, &bytes[sent..], flags) {
                Ok(count) => sent += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Sent::Some(sent),
                Err(_) => return Sent::Broken,
            }
        }
        Sent::All
    }

    /// Receives what is there, without waiting: `None` when nothing is.
    ///
    /// # Errors
    /// The connection has failed.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> rustix::io::Result<Option<usize>> {
        loop {
            match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((count, _)) => return Ok(Some(count)),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// When the last answer was given, in milliseconds since the front's mailbox was made.
    #[must_use]
    pub(crate) fn answered_at_ms(&self) -> u64 {
        self.answered_at.load(Ordering::Relaxed)
    }

    /// Its socket.
    #[must_use]
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }
}

/// What the front is told by other threads.
#[derive(Debug)]
pub(crate) enum Message {
    /// A new connection, by the accept loop.
    Accepted(TcpStream),
    /// The request in flight on this connection was answered, and there is more to do for it.
    Answered(u64),
    /// All connections are taken: the connection that has been idle the longest gives way.
    Evict,
    /// Finish what is in flight, keep nothing alive, and end.
    Drain,
    /// End now.
    Stop,
}

/// The front's mailbox, and the bell that wakes it.
#[derive(Debug)]
pub(crate) struct Mailbox {
    born: Instant,
    /// Guards the messages.
    messages: Mutex<Vec<Message>>,
    wakeup: OwnedFd,
    /// Whether the bell has been rung since the front last emptied the box.
    is_woken: AtomicBool,
}

impl Mailbox {
    /// An empty one.
    ///
    /// # Errors
    /// When the system has no eventfd for the bell.
    pub(crate) fn new() -> std::io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self {
            born: clock::now(),
            messages: Mutex::default(),
            wakeup: rustix::event::eventfd(0, flags)?,
            is_woken: AtomicBool::new(false),
        })
    }

    /// Leaves a message and wakes the front.
    pub(crate) fn post(&self, message: Message) {
        self.lock().push(message);
        if !self.is_woken.swap(true, Ordering::SeqCst) {
            // It can only fail when the counter is full: after 2^64 rings.
            let _ = rustix::io::write(&self.wakeup, &1_u64.to_ne_bytes());
        }
    }

    /// Takes all messages.
    pub(crate) fn empty(&self) -> Vec<Message> {
        // The bell is watched for edges and never read: reading it could swallow a ring in between.
        self.is_woken.store(false, Ordering::SeqCst);
        std::mem::take(&mut *self.lock())
    }

    /// To be waited for.
    #[must_use]
    pub(crate) fn wakeup(&self) -> impl AsFd + '_ {
        &self.wakeup
    }

    /// Milliseconds since it was made.
    #[must_use]
    pub(crate) fn elapsed_ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.born).as_millis() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Message>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
