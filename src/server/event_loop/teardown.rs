//! How the connections of an event loop end, and what an answer leaves to be done: the pending write,
//! lingering, eviction, deadlines.

use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll;

use crate::server::connection::{PendingWrite, Sent};
use crate::server::connections::{ConnectionState, Phase};
use crate::server::event_loop::LoopState;
use crate::server::mailbox::Message;

/// Bytes of memory that answers may hold in one event loop while clients take them. Beyond it, a client
/// that takes nothing has to go.
const PENDING_USUAL_BYTES: usize = 32 * 1024 * 1024;
/// Beyond this, the slowest client has to go in any case.
const PENDING_MAX_BYTES: usize = 128 * 1024 * 1024;
/// A client that has taken nothing for this long has to go for the sake of others.
const PENDING_STALLS_AFTER: Duration = Duration::from_millis(500);

impl LoopState {
    /// Finishes what an answer has left to do, and goes on with the next request.
    pub(super) fn finish(&mut self, token: u64, now: Instant) {
        let Some(state) = self.connections.find(token) else {
            return;
        };
        if state.phase == Phase::Lingering {
            return self.linger(token);
        }
        let connection = Arc::clone(&state.connection);
        if !connection.has_pending() {
            state.since = now;
            return self.serve(token, now);
        }
        let mut pending = connection.pending();
        if state.phase != Phase::Writing {
            state.phase = Phase::Writing;
            (state.since, state.pending_since) = (now, now);
            state.pending_bytes = pending.bytes.len();
            self.pending_bytes += state.pending_bytes;
        }
        let sent = match pending.is_broken {
            true => Sent::Broken,
            false => connection.send(&pending.bytes[pending.sent..]),
        };
        match sent {
            Sent::Broken => {
                drop(pending);
                self.close(token);
            }
            Sent::Some(count) => {
                pending.sent += count;
                if count > 0 {
                    state.since = now;
                }
                drop(pending);
                self.bound_pending(now);
            }
            Sent::All => {
                let closes = pending.closes;
                drop(pending);
                self.pending_bytes -= std::mem::take(&mut state.pending_bytes);
                state.phase = Phase::Open;
                state.since = now;
                if closes {
                    *connection.pending() = PendingWrite::default();
                    self.end(token, now);
                } else {
                    connection.clear_pending();
                    self.serve(token, now);
                }
            }
        }
    }

    /// Bounds the memory of answers that clients do not take: the client that has taken nothing for the
    /// longest is cut off.
    pub(super) fn bound_pending(&mut self, now: Instant) {
        while self.pending_bytes > PENDING_USUAL_BYTES {
            let writing = self
                .connections
                .iter()
                .filter(|state| state.phase == Phase::Writing);
            let stalled = |state: &ConnectionState| now.saturating_duration_since(state.since);
            let Some(slowest) = writing.max_by_key(|state| stalled(state)) else {
                return;
            };
            if stalled(slowest) < PENDING_STALLS_AFTER && self.pending_bytes <= PENDING_MAX_BYTES {
                return;
            }
            self.close(slowest.connection.token());
        }
    }

    /// Ends a connection whose last answer has been sent. Where more may have come in than was
    /// read, it lingers: closing at once would reset the connection and take the answer with it.
    fn end(&mut self, token: u64, now: Instant) {
        let Some(state) = self.connections.find(token) else {
            return;
        };
        let is_clean = !state.has_unread && state.buffer.is_empty() && !state.is_readable;
        let socket = state.connection.socket();
        if is_clean || socket.shutdown(Shutdown::Write).is_err() {
            return self.close(token);
        }
        state.phase = Phase::Lingering;
        state.since = now;
        state.buffer = Vec::new();
        state.is_readable = true;
        self.linger(token);
    }

    /// Reads and forgets what a client goes on sending after its last answer.
    pub(super) fn linger(&mut self, token: u64) {
        let Some(state) = self.connections.find(token) else {
            return;
        };
        // Bounded, so that one client that sends without end does not hold the loop.
        for _ in 0..64 {
            match state.connection.receive(&mut self.received) {
                Ok(Some(0)) | Err(_) => return self.close(token),
                Ok(None) => {
                    state.is_readable = false;
                    return;
                }
                Ok(Some(_)) => {}
            }
        }
        self.mailbox.post(Message::Answered(token));
    }

    pub(super) fn close(&mut self, token: u64) {
        if let Some(state) = self.connections.remove(token) {
            self.pending_bytes -= state.pending_bytes;
            // The descriptor may live a little longer in an exchange: the connection does not.
            let socket = state.connection.socket();
            let _ = epoll::delete(&self.epoll, socket);
            if Arc::strong_count(&state.connection) > 1 {
                let _ = socket.shutdown(Shutdown::Both);
            }
            drop(state);
            self.room.release();
        }
    }

    /// The connection that has been idle or in its head for the longest gives way to a new one.
    pub(super) fn evict(&mut self, now: Instant) {
        loop {
            let idle = self.connections.iter().filter(|state| state.is_idle());
            let oldest = idle.max_by_key(|state| state.idle_for(&self.mailbox, now));
            let Some(token) = oldest.map(|state| state.connection.token()) else {
                return;
            };
            if self.close_if_idle(token, now) {
                return self.service.metrics.evicted.inc();
            }
        }
    }

    /// Closes a connection, unless it turns out to have a request that nobody had looked at yet;
    /// whether it has been closed.
    fn close_if_idle(&mut self, token: u64, now: Instant) -> bool {
        if let Some(state) = self.connections.find(token)
            && state.phase == Phase::Open
        {
            state.is_readable = true;
            self.serve(token, now);
        }
        match self.connections.find(token) {
            Some(state) if !state.is_idle() => false,
            _ => {
                self.close(token);
                true
            }
        }
    }

    /// Ends the connections whose time is up.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.bound_pending(now);
        let is_over =
            |state: &&ConnectionState| state.is_over(&self.limits, &self.mailbox, self.drains, now);
        let over = self.connections.iter().filter(is_over);
        let over: Vec<_> = over.map(|state| state.connection.token()).collect();
        for token in over {
            match self.connections.find(token) {
                Some(state) if state.is_idle() && state.buffer.is_empty() => {
                    self.close_if_idle(token, now);
                }
                _ => self.close(token),
            }
        }
    }
}
