//! The event loop: one thread that waits for many connections at once (`[server] fronts` is how many
//! loops there are). It looks at every head before tiny_http does, answers what needs no lookup, hands
//! batches of lookups to the policy, and keeps all deadlines of clients. It never waits for Redis, for a
//! source or for a client.

mod teardown;

use std::io;
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use log::error;
use rustix::event::epoll;

use crate::base::clock;
use crate::base::room::Room;
use crate::policy::{Lookup, Policy};
use crate::server::connection::Connection;
use crate::server::connections::{ConnectionState, Connections, Limits, Phase};
use crate::server::head::{self, Head, Refusal, Verdict};
use crate::server::mailbox::{Mailbox, Message};
use crate::server::response::Framing;
use crate::server::service::{Exchange, Service, Work};
use crate::server::tiny::{NotTaken, TinyHttp};
use crate::workers::probe_job;

/// Between two looks at what time does, while lookups are under way.
const TICK: Duration = Duration::from_millis(10);
/// Between two looks at the deadlines of all connections.
const SWEEP: Duration = Duration::from_millis(250);
/// Events taken at once.
const EVENTS_MAX: usize = 512;
/// Bytes of heads given to tiny_http at once, well below what its stream holds.
const GIVEN_MAX_BYTES: usize = 32 * 1024;
/// Bytes received at once.
const RECEIVE_BYTES: usize = 16 * 1024;
/// Bytes of buffer that a connection keeps between requests.
const BUFFER_KEPT_BYTES: usize = 1024;
/// Token of the mailbox; connections never have it.
const MAILBOX: u64 = u64::MAX;

/// The thread of an event loop, which ends when this is dropped.
pub(crate) struct EventLoop {
    mailbox: Arc<Mailbox>,
    thread: Option<JoinHandle<()>>,
}

impl EventLoop {
    /// Starts one whose thread has this name.
    ///
    /// # Errors
    /// When the system lacks descriptors or threads.
    pub(crate) fn start(
        name: String,
        limits: Limits,
        service: Arc<Service>,
        policy: Arc<Policy>,
        room: Arc<Room>,
    ) -> io::Result<Self> {
        let mailbox = Arc::new(Mailbox::new()?);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(MAILBOX);
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, mailbox.wakeup(), data, edge)?;
        let now = clock::now();
        let state = LoopState {
            epoll,
            mailbox: Arc::clone(&mailbox),
            tiny_http: TinyHttp::open()?,
            limits,
            service,
            policy,
            room,
            connections: Connections::default(),
            pending_bytes: 0,
            received: vec![0; RECEIVE_BYTES],
            exchanges: Vec::new(),
            lookups: Vec::new(),
            watched_at: now,
            swept_at: now,
            is_busy: false,
            drains: false,
        };
        let thread = thread::Builder::new().name(name);
        Ok(Self {
            mailbox,
            thread: Some(thread.spawn(move || state.run())?),
        })
    }

    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        self.mailbox.post(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread of an event loop owns.
struct LoopState {
    epoll: rustix::fd::OwnedFd,
    mailbox: Arc<Mailbox>,
    tiny_http: TinyHttp,
    limits: Limits,
    service: Arc<Service>,
    policy: Arc<Policy>,
    room: Arc<Room>,
    connections: Connections,
    /// Bytes of memory that the pending writes of all connections take.
    pending_bytes: usize,
    received: Vec<u8>,
    /// The exchanges whose heads have been given to tiny_http, in their order.
    exchanges: Vec<Exchange>,
    /// For the policy, collected over one turn of the loop.
    lookups: Vec<Lookup>,
    watched_at: Instant,
    swept_at: Instant,
    /// Whether lookups were under way when time was last looked at, or have been handed over since.
    is_busy: bool,
    drains: bool,
}

impl LoopState {
    fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            let turn = AssertUnwindSafe(|| self.turn(&mut events));
            match catch_unwind(turn) {
                Ok(true) => {}
                Ok(false) => return,
                // Whoever was being served gets 503 because the exchange is dropped; the heads that
                // tiny_http still has go with its stream.
                Err(_) => {
                    self.service.metrics().panics.inc();
                    self.exchanges.clear();
                    self.tiny_http = TinyHttp::default();
                    self.revisit_all();
                }
            }
        }
    }

    /// One turn of the main loop; false: the loop has ended.
    fn turn(&mut self, events: &mut Vec<epoll::Event>) -> bool {
        events.clear();
        let limit = match self.is_busy || self.drains {
            true => TICK,
            false => SWEEP,
        };
        let limit = rustix::event::Timespec {
            tv_sec: limit.as_secs() as i64,
            tv_nsec: i64::from(limit.subsec_nanos()),
        };
        let buffer = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.epoll, buffer, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                error!("a front has ended: epoll: {errno}");
                return false;
            }
        }
        let now = clock::now();
        for event in events.iter() {
            if event.data.u64() != MAILBOX {
                self.on_event(event.data.u64(), event.flags, now);
            }
        }
        if !self.read_mail(now) {
            return false;
        }
        self.take_requests(now);
        self.submit();
        self.watch_time(now);
        !(self.drains && self.connections.is_empty())
    }

    /// After a turn that broke off: events come once, so every connection is looked at for what the
    /// turn did not come to.
    fn revisit_all(&mut self) {
        for state in self.connections.iter_mut() {
            state.is_readable = true;
            let token = state.connection.token();
            self.mailbox.post(Message::Answered(token));
        }
    }

    fn on_event(&mut self, token: u64, flags: epoll::EventFlags, now: Instant) {
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
    fn serve(&mut self, token: u64, now: Instant) {
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
    fn take_requests(&mut self, now: Instant) {
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

    fn submit(&mut self) {
        if !self.lookups.is_empty() {
            self.is_busy = true;
            self.policy.submit(std::mem::take(&mut self.lookups));
        }
    }

    /// Reads the mail; false: the loop is to end now.
    fn read_mail(&mut self, now: Instant) -> bool {
        for message in self.mailbox.empty() {
            match message {
                Message::Accepted(socket) => self.open(socket, now),
                Message::Answered(token) => self.finish(token, now),
                Message::Evict => self.evict(now),
                Message::Drain => self.drains = true,
                Message::Stop => return false,
            }
        }
        true
    }

    fn open(&mut self, socket: TcpStream, now: Instant) {
        let token = self.connections.next_token();
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        let data = epoll::EventData::new_u64(token);
        if epoll::add(&self.epoll, &socket, data, flags).is_err() {
            return self.room.free();
        }
        let connection = Connection::new(socket, token, Arc::clone(&self.mailbox));
        let state = ConnectionState::new(Arc::new(connection), now);
        self.connections.insert(token, state);
        self.serve(token, now);
    }

    fn watch_time(&mut self, now: Instant) {
        if now.saturating_duration_since(self.watched_at) >= TICK {
            self.watched_at = now;
            self.policy.watch(now);
            self.is_busy = self.policy.is_under_way();
        }
        let shortest = self.limits.head_timeout.min(self.limits.idle_timeout);
        let pause = SWEEP.min(shortest / 4);
        if self.drains || now.saturating_duration_since(self.swept_at) >= pause {
            self.swept_at = now;
            self.sweep(now);
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
