//! One client connection: its socket, which is ours alone, and whose turn it is. At most one request
//! of a connection is in flight; whoever answers it sends at once what the socket takes and leaves what
//! is still to be written to the event loop. Nobody ever waits for a client.

use std::net::TcpStream;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::base::clock;
use crate::server::mailbox::{Mailbox, Message};

/// Nothing is in flight: the event loop may take the next request.
const IDLE: u8 = 0;
/// A request is in flight, and nothing more has come.
const IN_FLIGHT: u8 = 1;
/// A request is in flight, and the event loop wants to know when it is answered.
const IN_FLIGHT_AND_AWAITED: u8 = 2;
/// An answer was given that the event loop must finish: write what is pending, or close.
const TO_BE_FINISHED: u8 = 3;

/// A connection as those see it who answer its requests.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    token: u64,
    stage: AtomicU8,
    /// Of the event loop that has the connection.
    mailbox: Arc<Mailbox>,
    /// Guards what is left to be done for the last answer.
    pending: Mutex<PendingWrite>,
    /// Milliseconds since the mailbox was made at which the last answer was given.
    answered_at_ms: AtomicU64,
}

/// What an answer leaves to the event loop.
#[derive(Debug, Default)]
pub(crate) struct PendingWrite {
    /// The whole answer.
    pub bytes: Vec<u8>,
    /// How many of the bytes have been sent.
    pub sent: usize,
    /// The connection ends when all is sent.
    pub closes: bool,
    /// The client is gone.
    pub is_broken: bool,
}

/// What one attempt to send came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    All,
    /// This many bytes: the socket takes no more now.
    Some(usize),
    /// The client is gone.
    Broken,
}

impl Connection {
    /// Around `socket`, which need not be non-blocking; the event loop knows it by `token`.
    pub(crate) fn new(socket: TcpStream, token: u64, mailbox: Arc<Mailbox>) -> Self {
        Self {
            socket,
            token,
            stage: AtomicU8::new(IDLE),
            mailbox,
            pending: Mutex::default(),
            answered_at_ms: AtomicU64::new(0),
        }
    }

    pub(crate) fn token(&self) -> u64 {
        self.token
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether the event loop may take the next request. If not, it will be told when it may.
    pub(crate) fn claim_or_await(&self) -> bool {
        let told = self.stage.compare_exchange(
            IN_FLIGHT,
            IN_FLIGHT_AND_AWAITED,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        told == Err(IDLE)
    }

    /// Whether no request is in flight and nothing is left to be sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.stage.load(Ordering::Acquire) == IDLE
    }

    /// A request has been taken; `is_awaited`: the event loop has more to do when it is answered.
    pub(crate) fn begin_request(&self, is_awaited: bool) {
        let stage = match is_awaited {
            true => IN_FLIGHT_AND_AWAITED,
            false => IN_FLIGHT,
        };
        self.stage.store(stage, Ordering::Release);
    }

    /// Gives the answer to the request in flight: sends what the socket takes, and is done, or leaves a
    /// pending write to the event loop.
    pub(crate) fn answer(&self, bytes: Vec<u8>, closes: bool) {
        let now_ms = self.mailbox.elapsed_ms(clock::now());
        self.answered_at_ms.store(now_ms, Ordering::Relaxed);
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
            self.mailbox.post(Message::Answered(self.token));
        } else if self.stage.swap(IDLE, Ordering::AcqRel) == IN_FLIGHT_AND_AWAITED {
            self.mailbox.post(Message::Answered(self.token));
        }
    }

    /// What the last answer left to do. The event loop's, while [`Self::has_pending`].
    pub(crate) fn pending(&self) -> MutexGuard<'_, PendingWrite> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has_pending(&self) -> bool {
        self.stage.load(Ordering::Acquire) == TO_BE_FINISHED
    }

    /// All has been sent: the connection is free.
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
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Sent::Some(sent),
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
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// When the last answer was given, in milliseconds since the mailbox was made.
    pub(crate) fn answered_at_ms(&self) -> u64 {
        self.answered_at_ms.load(Ordering::Relaxed)
    }
}
