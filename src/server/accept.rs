//! The accept loop: one thread that takes connections as long as there is room for them and hands
//! each to a front. No error of accept(2) ends it; running out of descriptors makes it rest and
//! asks the fronts to give up an idle connection.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use log::warn;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::base::address::Address;
use crate::base::clock;
use crate::observe::logging::LogThrottle;
use crate::observe::metrics::Metrics;
use crate::server::connection::{Mailbox, Message};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;
/// When a silent peer is asked whether it is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// Between two looks for room when there is none.
const REST: Duration = Duration::from_millis(20);

/// Where the connections come from.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    /// Another process holds the socket too and stays when this one ends.
    is_shared: bool,
}

impl Listener {
    /// Binds and listens.
    ///
    /// # Errors
    /// What bind(2) or listen(2) says.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        // A restart must not wait for the old connections' TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        Self::prepare(socket, false)
    }

    /// Around a socket that systemd listens on and keeps.
    ///
    /// # Errors
    /// What setsockopt(2) or listen(2) says.
    pub(crate) fn passed(socket: Socket) -> io::Result<Self> {
        Self::prepare(socket, true)
    }

    fn prepare(socket: Socket, is_shared: bool) -> io::Result<Self> {
        if socket.domain()? != Domain::UNIX {
            // Accepted sockets inherit these on Linux (FACTS).
            socket.set_tcp_nodelay(true)?;
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_AFTER))?;
        }
        // Again for a socket that is listened on: an older systemd gives it 128 places.
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, is_shared })
    }

    /// Where it is.
    ///
    /// # Errors
    /// What getsockname(2) says.
    pub(crate) fn address(&self) -> io::Result<Address> {
        self.socket.local_addr().map(Address::new)
    }
}

/// How many connections there are, and how many there may be.
#[derive(Debug)]
pub(crate) struct Room {
    /// Guards the number of open connections.
    taken: Mutex<usize>,
    freed: Condvar,
    max: usize,
}

impl Room {
    /// For `max` connections.
    #[must_use]
    pub(crate) fn new(max: usize) -> Self {
        Self {
            taken: Mutex::new(0),
            freed: Condvar::new(),
            max,
        }
    }

    /// A connection has ended.
    pub(crate) fn free(&self) {
        let mut taken = self.lock();
        *taken = taken.saturating_sub(1);
        drop(taken);
        self.freed.notify_one();
    }

    /// Open connections now, and at most.
    #[must_use]
    pub(crate) fn taken(&self) -> (usize, usize) {
        (*self.lock(), self.max)
    }

    fn take(&self) -> bool {
        let mut taken = self.lock();
        let has_room = *taken < self.max;
        *taken += usize::from(has_room);
        has_room
    }

    /// Waits, not for long, until a connection has ended.
    fn wait(&self) {
        let taken = self.lock();
        if *taken >= self.max {
            let _ = self.freed.wait_timeout(taken, REST);
        }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The accept loop's thread.
pub(crate) struct Acceptor {
    stop: Arc<std::os::fd::OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Acceptor {
    /// Starts a thread of this name that accepts from `doors` for `fronts`.
    ///
    /// # Errors
    /// When there is no thread or eventfd to be had.
    pub(crate) fn start(
        name: &str,
        doors: Vec<Listener>,
        room: Arc<Room>,
        fronts: Vec<Arc<Mailbox>>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let stop = Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?);
        let accepting = Accepting {
            name: name.to_owned(),
            doors,
            next_door: 0,
            room,
            fronts,
            metrics,
            next_front: 0,
            stop: Arc::clone(&stop),
            said: LogThrottle::default(),
        };
        let spawned = thread::Builder::new().name(name.to_owned());
        let thread = spawned.spawn(move || accepting.run())?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Takes what the kernel has accepted already, and then no more: the port is closed. A shared
    /// door stays open, and what the kernel has accepted there waits for the next process.
    pub(crate) fn stop(&mut self) {
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Accepting {
    /// Of its thread: which doors they are.
    name: String,
    /// At least one.
    doors: Vec<Listener>,
    /// Looked at first next time, so that a busy one does not keep the others shut.
    next_door: usize,
    room: Arc<Room>,
    fronts: Vec<Arc<Mailbox>>,
    metrics: Arc<Metrics>,
    next_front: usize,
    stop: Arc<std::os::fd::OwnedFd>,
    said: LogThrottle,
}

impl Accepting {
    fn run(mut self) {
        while !self.wait(None) {
            if !self.room.take() {
                if let Some(more) = self.said.say("room", clock::now()) {
                    let max = self.room.taken().1;
                    warn!(
                        "{}: all {max} places for connections are taken: idle ones are closed, new ones \
                         wait{more}",
                        self.name
                    );
                }
                self.evict();
                self.room.wait();
                continue;
            }
            self.accept();
        }
        self.doors.retain(|door| !door.is_shared);
        while self.room.take() && self.accept() {}
    }

    /// Accepts one connection into the place that was taken for it; whether there was one.
    fn accept(&mut self) -> bool {
        for _ in 0..self.doors.len() {
            let door = self.next_door % self.doors.len();
            self.next_door = door + 1;
            match self.doors[door].socket.accept() {
                Ok((socket, _)) => {
                    self.metrics.accepted.inc();
                    self.next_front = (self.next_front + 1) % self.fronts.len();
                    self.fronts[self.next_front].post(Message::Accepted(socket.into()));
                    return true;
                }
                // Gone before it was taken, or nothing there: neither is worth a word.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock
                            | io::ErrorKind::ConnectionAborted
                            | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    self.room.free();
                    self.rest(&error);
                    return false;
                }
            }
        }
        self.room.free();
        false
    }

    /// Out of descriptors or memory: makes some room and rests.
    fn rest(&mut self, error: &io::Error) {
        if let Some(more) = self.said.say("accept", clock::now()) {
            warn!("{}: cannot accept connections: {error}{more}", self.name);
        }
        self.evict();
        self.wait(Some(REST));
    }

    fn evict(&mut self) {
        self.metrics.short_of_room.inc();
        self.next_front = (self.next_front + 1) % self.fronts.len();
        self.fronts[self.next_front].post(Message::Evict);
    }

    /// Waits for a connection, or with a limit just for that long; whether to stop.
    fn wait(&self, limit: Option<Duration>) -> bool {
        let stop = PollFd::new(&self.stop, PollFlags::IN);
        let incoming = self.doors.iter();
        let incoming = incoming.map(|door| PollFd::new(&door.socket, PollFlags::IN));
        let mut all: Vec<_> = std::iter::once(stop).chain(incoming).collect();
        let timeout = limit.map(|limit| Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(limit.subsec_nanos()),
        });
        let polled = match limit {
            None => rustix::event::poll(&mut all, None),
            Some(_) => rustix::event::poll(&mut all[..1], timeout.as_ref()),
        };
        // Interrupted: the caller comes back.
        polled.is_ok() && all[0].revents().contains(PollFlags::IN)
    }
}
