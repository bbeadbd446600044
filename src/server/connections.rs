//! The connections of one event loop, found by token. A token holds an index and how often that index
//! has been used, so that an event for a connection that has ended never meets the one that came after it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::server::connection::Connection;
use crate::server::mailbox::Mailbox;

/// How long a connection lingers after its last answer.
const LINGER: Duration = Duration::from_secs(3);
/// How long a connection has to be idle to be closed when the process ends: a busy client gets one
/// more answer, which tells it to go.
const DRAIN_IDLE: Duration = Duration::from_millis(250);
/// The slowest a client may take a long answer, beyond the write time-out: a modem's rate.
const WRITE_MIN_BYTES_PER_S: usize = 8 * 1024;

/// Limits of every connection; see [`crate::config::Server`].
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub head_max_bytes: usize,
    pub head_timeout: Duration,
    /// Between requests.
    pub idle_timeout: Duration,
    /// For a client to take some of an answer.
    pub write_timeout: Duration,
}

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// In use.
    Open,
    /// Part of an answer waits for the client to take it.
    Writing,
    /// Its last answer has been sent; it ends when the client does, or soon.
    Lingering,
}

/// A connection as its event loop sees it.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    /// What is shared with whoever answers.
    pub connection: Arc<Connection>,
    /// Received and not taken: the beginning of a head, or pipelined requests.
    pub buffer: Vec<u8>,
    /// Whether more may be there to be received.
    pub is_readable: bool,
    /// The client has closed its side, or the connection has failed.
    pub has_ended: bool,
    pub phase: Phase,
    /// More may come in after its last request that nobody reads: a body, or what was refused.
    pub has_unread: bool,
    /// When the head, the request or the lingering began; of a pending write, when the client last took
    /// some of it.
    pub since: Instant,
    /// When the pending write began.
    pub pending_since: Instant,
    /// Bytes of memory that the pending write takes.
    pub pending_bytes: usize,
}

impl ConnectionState {
    pub(crate) fn new(connection: Arc<Connection>, now: Instant) -> Self {
        Self {
            connection,
            buffer: Vec::new(),
            is_readable: true,
            has_ended: false,
            phase: Phase::Open,
            has_unread: false,
            since: now,
            pending_since: now,
            pending_bytes: 0,
        }
    }

    /// Whether nothing would be lost with it: no request in flight, no answer to be sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.phase == Phase::Lingering || self.connection.is_idle()
    }

    /// How long it has been idle or in its head.
    pub(crate) fn idle_for(&self, mailbox: &Mailbox, now: Instant) -> Duration {
        let since = now.saturating_duration_since(self.since);
        if !self.buffer.is_empty() {
            return since;
        }
        let answered_at_ms = self.connection.answered_at_ms();
        let answered_ms = mailbox.elapsed_ms(now).saturating_sub(answered_at_ms);
        since.min(Duration::from_millis(answered_ms))
    }

    /// Whether its time is up.
    pub(crate) fn is_over(
        &self,
        limits: &Limits,
        mailbox: &Mailbox,
        drains: bool,
        now: Instant,
    ) -> bool {
        let since = now.saturating_duration_since(self.since);
        match self.phase {
            Phase::Lingering => since >= LINGER,
            Phase::Writing => {
                let slowest_s = (self.pending_bytes / WRITE_MIN_BYTES_PER_S) as u64;
                let all = now.saturating_duration_since(self.pending_since);
                since >= limits.write_timeout
                    || all >= limits.write_timeout + Duration::from_secs(slowest_s)
            }
            _ if !self.connection.is_idle() => false,
            _ if !self.buffer.is_empty() => since >= limits.head_timeout,
            _ if drains => self.idle_for(mailbox, now) >= DRAIN_IDLE,
            _ => self.idle_for(mailbox, now) >= limits.idle_timeout,
        }
    }
}

/// All connections of one event loop.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    /// By index: how often the index has been used, and the connection that has it now.
    states: Vec<(u32, Option<ConnectionState>)>,
    /// Indices without a connection.
    free: Vec<u32>,
    count: usize,
}

impl Connections {
    /// The token that the next connection gets.
    pub(crate) fn next_token(&mut self) -> u64 {
        let index = match self.free.last() {
            Some(&index) => index,
            None => {
                let index = u32::try_from(self.states.len()).unwrap_or(u32::MAX);
                self.states.push((0, None));
                self.free.push(index);
                index
            }
        };
        let (uses, _) = self.states[index as usize];
        u64::from(uses) << 32 | u64::from(index)
    }

    /// Puts a connection in; `token` from [`Self::next_token`].
    pub(crate) fn insert(&mut self, token: u64, state: ConnectionState) {
        let index = token as u32;
        if self.free.last() == Some(&index) {
            self.free.pop();
        }
        if let Some((_, empty)) = self.states.get_mut(index as usize) {
            *empty = Some(state);
            self.count += 1;
        }
    }

    /// The connection of a token, if it has not ended.
    pub(crate) fn find(&mut self, token: u64) -> Option<&mut ConnectionState> {
        match self.states.get_mut(token as u32 as usize) {
            Some((uses, state)) if u64::from(*uses) == token >> 32 => state.as_mut(),
            _ => None,
        }
    }

    /// Takes a connection out.
    pub(crate) fn remove(&mut self, token: u64) -> Option<ConnectionState> {
        self.find(token)?;
        let index = token as u32;
        let (uses, state) = self.states.get_mut(index as usize)?;
        *uses = uses.wrapping_add(1) % (u32::MAX - 1);
        self.free.push(index);
        self.count -= 1;
        state.take()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &ConnectionState> {
        self.states.iter().filter_map(|(_, state)| state.as_ref())
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut ConnectionState> {
        let states = self.states.iter_mut();
        states.filter_map(|(_, state)| state.as_mut())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }
}
