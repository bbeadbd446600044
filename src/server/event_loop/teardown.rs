//! How the connections of a front end, and what an answer leaves to be done: the rest of it, lingering,
//! eviction, deadlines.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll;

use crate::server::connection::{Message, PendingWrite, Sent};
use crate::server::connections::{Phase, Slot};
use crate::server::event_loop::Loop;

/// Bytes of memory that answers may hold in one front while clients take them. Beyond it, who takes
/// nothing has to go.
const RESTS_USUAL_BYTES: usize = 32 * 1024 * 1024;
/// Beyond this, the slowest has to go in any case.
const RESTS_MAX_BYTES: usize = 128 * 1024 * 1024;
/// How long a client has taken nothing when it has to go for the sake of others.
const REST_STALLS_AFTER: Duration = Duration::from_millis(500);

impl Loop {
    /// Finishes what an answer has left to do, and goes on with the next request.
    pub(crate) fn finish(&mut self, token: u64, now: Instant) {
        let Some(slot) = self.slots.find(token) else {
            return;
        };
        if slot.phase == Phase::Lingering {
            return self.linger(token);
        }
        let connection = Arc::clone(&slot.connection);
        if !connection.has_rest() {
            slot.since = now;
            return self.serve(token, now);
        }
        let mut rest = connection.rest();
        if slot.phase != Phase::Writing {
            slot.phase = Phase::Writing;
            (slot.since, slot.rest_since) = (now, now);
            slot.rest_bytes = rest.bytes.len();
            self.rest_bytes += slot.rest_bytes;
        }
        let sent = match rest.is_broken {
            true => Sent::Broken,
            false => connection.send(&rest.bytes[rest.sent..]),
        };
        match sent {
            Sent::Broken => {
                drop(rest);
                self.close(token);
            }
            Sent::Some(count) => {
                rest.sent += count;
                if count > 0 {
                    slot.since = now;
                }
                drop(rest);
                self.bound_rests(now);
            }
            Sent::All => {
                let closes = rest.closes;
                drop(rest);
                self.rest_bytes -= std::mem::take(&mut slot.rest_bytes);
                slot.phase = Phase::Open;
                slot.since = now;
                if closes {
                    *connection.rest() = PendingWrite::default();
                    self.end(token, now);
                } else {
                    connection.finish();
                    self.serve(token, now);
                }
            }
        }
    }

    /// Bounds the memory of answers that clients do not take: who has taken nothing for the longest is
    /// cut off.
    pub(crate) fn bound_rests(&mut self, now: Instant) {
        while self.rest_bytes > RESTS_USUAL_BYTES {
            let writing = self
                .slots
                .iter()
                .filter(|slot| slot.phase == Phase::Writing);
            let stalled = |slot: &Slot| now.saturating_duration_since(slot.since);
            let Some(slowest) = writing.max_by_key(|slot| stalled(slot)) else {
                return;
            };
            if stalled(slowest) < REST_STALLS_AFTER && self.rest_bytes <= RESTS_MAX_BYTES {
                return;
            }
            self.close(slowest.connection.token());
        }
    }

    /// Ends a connection whose last answer has been sent. Where more may have come in than was
    /// read, it lingers: closing at once would reset the connection and take the answer with it.
    fn end(&mut self, token: u64, now: Instant) {
        let Some(slot) = self.slots.find(token) else {
            return;
        };
        let is_clean = !slot.has_unread && slot.buffer.is_empty() && !slot.is_readable;
        if is_clean
            || slot
                .connection
                .socket()
                .shutdown(std::net::Shutdown::Write)
                .is_err()
        {
            return self.close(token);
        }
        slot.phase = Phase::Lingering;
        slot.since = now;
        slot.buffer = Vec::new();
        slot.is_readable = true;
        self.linger(token);
    }

    /// Reads and forgets what a client goes on sending after its last answer.
    pub(crate) fn linger(&mut self, token: u64) {
        let Some(slot) = self.slots.find(token) else {
            return;
        };
        // Bounded, so that one client that sends without end does not hold the front.
        for _ in 0..64 {
            match slot.connection.receive(&mut self.received) {
                Ok(Some(0)) | Err(_) => return self.close(token),
                Ok(None) => {
                    slot.is_readable = false;
                    return;
                }
                Ok(Some(_)) => {}
            }
        }
        self.mailbox.post(Message::Answered(token));
    }

    pub(crate) fn close(&mut self, token: u64) {
        if let Some(slot) = self.slots.empty(token) {
            self.rest_bytes -= slot.rest_bytes;
            // The descriptor may live a little longer in an exchange: the connection does not.
            let socket = slot.connection.socket();
            let _ = epoll::delete(&self.epoll, socket);
            if Arc::strong_count(&slot.connection) > 1 {
                let _ = socket.shutdown(std::net::Shutdown::Both);
            }
            drop(slot);
            self.room.free();
        }
    }

    /// The connection that has been idle or in its head for the longest gives way to a new one.
    pub(crate) fn evict(&mut self, now: Instant) {
        loop {
            let idle = self.slots.iter().filter(|slot| slot.is_idle());
            let oldest = idle.max_by_key(|slot| slot.idle_for(&self.mailbox, now));
            let Some(token) = oldest.map(|slot| slot.connection.token()) else {
                return;
            };
            if self.close_if_idle(token, now) {
                return self.service.metrics().evicted.inc();
            }
        }
    }

    /// Closes a connection, unless it turns out to have a request that nobody had looked at yet;
    /// whether it has been closed.
    fn close_if_idle(&mut self, token: u64, now: Instant) -> bool {
        if let Some(slot) = self.slots.find(token)
            && slot.phase == Phase::Open
        {
            slot.is_readable = true;
            self.serve(token, now);
        }
        match self.slots.find(token) {
            Some(slot) if !slot.is_idle() => false,
            _ => {
                self.close(token);
                true
            }
        }
    }

    /// Ends the connections whose time is up.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.bound_rests(now);
        let is_over = |slot: &&Slot| slot.is_over(&self.limits, &self.mailbox, self.drains, now);
        let over = self.slots.iter().filter(is_over);
        let over: Vec<_> = over.map(|slot| slot.connection.token()).collect();
        for token in over {
            match self.slots.find(token) {
                Some(slot) if slot.is_idle() && slot.buffer.is_empty() => {
                    self.close_if_idle(token, now);
                }
                _ => self.close(token),
            }
        }
    }
}
