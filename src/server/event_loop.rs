//! The event loop: one thread that waits for many connections at once (`[server] fronts` is how many
//! loops there are). It looks at every head before tiny_http does, answers what needs no lookup, hands
//! batches of lookups to the policy, and keeps all deadlines of clients. It never waits for Redis, for a
//! source or for a client.

mod requests;
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
use crate::server::connections::{ConnectionState, Connections, Limits};
use crate::server::mailbox::{Mailbox, Message};
use crate::server::service::{Exchange, Service};
use crate::server::tiny::TinyHttp;

/// Between two looks at what time does, while lookups are under way.
const TICK: Duration = Duration::from_millis(10);
/// Between two looks at the deadlines of all connections.
const SWEEP: Duration = Duration::from_millis(250);
/// Events taken at once.
const EVENTS_MAX: usize = 512;
/// Bytes received at once.
const RECEIVE_BYTES: usize = 16 * 1024;
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
                    self.service.metrics.panics.inc();
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

    /// Reads the mail; false: the loop is to end now.
    fn read_mail(&mut self, now: Instant) -> bool {
        for message in self.mailbox.take_all() {
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
            return self.room.release();
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
