//! How the requests of connections are taken: received, their heads looked at here and read by tiny_http,
//! answered or handed to the policy.

use std::time::Instant;

use rustix::event::epoll;

use crate::server::connections::Phase;
use crate::server::event_loop::LoopState;
use crate::server::head::{self, Head, Refusal, Verdict};
use crate::server::response::Framing;
use crate::server::service::{Exchange, Work};
use crate::server::tiny::NotTaken;
use crate::workers::probe_job;

/// Bytes of heads given to tiny_http at once, well below what its stream holds.
const GIVEN_MAX_BYTES: usize = 32 * 1024;
/// Bytes of buffer that a connection keeps between requests.
const BUFFER_KEPT_BYTES: usize = 1024;

impl LoopState {
    pub(super) fn on_event(&mut self, token: u64, flags: epoll::EventFlags, now: Instant) {
        let Some(state) = self.connections.find(token) else {
            return;
        };
        let ended = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        state.has_ended |= flags.intersects(ended);
        state.is_readable |= state.has_ended || flags.contains(epoll::EventFlags::IN);
        if flags.contains(epoll::EventFlags::OUT) && state.connection.has_pending() {
            self.finish(token, now);
        } else {
            self.serve(token, now);
        }
    }

    /// Takes the next request of a connection, if it is free and one is there.
    pub(super) fn serve(&mut self, token: u64, now: Instant) {
        loop {
            let Some(state) = self.connections.find(token) else {
                return;
            };
            if state.phase == Phase::Lingering {
                return self.linger(token);
            }
            if !state.connection.claim_or_await() {
                return;
            }
            if !state.buffer.is_empty() {
                let buffer = std::mem::take(&mut state.buffer);
                if self.take_head(token, buffer, now) {
                    return;
                }
            }
            let Some(state) = self.connections.find(token) else {
                return;
            };
            if !state.is_readable {
                return;
            }
            match state.connection.receive(&mut self.received) {
                Ok(None) => {
                    state.is_readable = false;
                    return;
                }
                Ok(Some(0)) | Err(_) => return self.close(token),
                Ok(Some(count)) => {
                    // Edge-triggered: less than asked for means that nothing is left. The end of
                    // the stream shows only in one more call.
                    state.is_readable = count == self.received.len() || state.has_ended;
                    if state.buffer.is_empty() {
                        state.since = now;
                    }
                    state.buffer.extend_from_slice(&self.received[..count]);
                }
            }
        }
    }

    /// Looks at the bytes of a free connection. Gives a whole head to tiny_http, answers one that is
    /// refused, and keeps the beginning of one; whether the connection is busy now.
    fn take_head(&mut self, token: u64, mut buffer: Vec<u8>, now: Instant) -> bool {
        let Some(state) = self.connections.find(token) else {
            return true;
        };
        match head::inspect(&buffer, self.limits.head_max_bytes) {
            Verdict::Partial => {
                state.buffer = buffer;
                return false;
            }
            Verdict::Refused(refusal) => {
                state.has_unread = true;
                state.connection.begin_request(true);
                let framing = Framing::default();
                Exchange::begin(&state.connection, &self.service, framing).refuse(refusal);
            }
            Verdict::Whole(head) => {
                state.has_unread |= head.has_body;
                let framing = framing(&head);
                let exchange = Exchange::begin(&state.connection, &self.service, framing);
                self.tiny_http.give(&head);
                self.exchanges.push(exchange);
                let taken = head.bytes;
                buffer.drain(..taken);
                let has_more = !buffer.is_empty() || state.is_readable;
                state.connection.begin_request(has_more);
                // An idle connection keeps no more than a usual head takes.
                buffer.shrink_to(BUFFER_KEPT_BYTES);
                state.buffer = buffer;
                state.since = now;
                if self.tiny_http.given_bytes() >= GIVEN_MAX_BYTES {
                    self.take_requests(now);
                }
            }
        }
        true
    }

    /// Takes the requests of all heads that were given to tiny_http; answers them or collects their
    /// lookups.
    pub(super) fn take_requests(&mut self, now: Instant) {
        for exchange in self.exchanges.drain(..) {
            match self.tiny_http.take() {
                Ok(request) => match exchange.handle(&request, now) {
                    Some(Work::LookUp(lookup)) => self.lookups.push(lookup),
                    Some(Work::SelfCheck(job)) => probe_job::send(&self.policy, job),
                    None => {}
                },
                Err(NotTaken::Refused) => exchange.refuse(Refusal::Malformed),
                // Dropped without an answer, it answers 503.
                Err(NotTaken::Unavailable) => {}
            }
        }
    }

    pub(super) fn submit(&mut self) {
        if !self.lookups.is_empty() {
            self.is_busy = true;
            self.policy.submit(std::mem::take(&mut self.lookups));
        }
    }
}

/// How the answer to a head stands on its connection. Whoever sends a body gets an answer and then the
/// end: the body is never read.
fn framing(head: &Head<'_>) -> Framing {
    Framing {
        is_head: head.method == "HEAD",
        closes: !head.keeps_alive || head.has_body,
        is_http_1_0: head.is_http_1_0,
    }
}
