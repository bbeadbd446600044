//! The accept loop: one thread that takes connections as long as there is room for them and hands
//! each to an event loop. No error of accept(2) ends it; when descriptors run out it pauses and asks the
//! event loops to give up an idle connection.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use log::warn;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::base::address::Address;
use crate::base::clock;
use crate::base::room::Room;
use crate::observe::logging::LogThrottle;
use crate::observe::metrics::Metrics;
use crate::server::mailbox::{Mailbox, Message};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;
/// When a silent peer is asked whether it is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// Between two looks for room when there is none.
const PAUSE: Duration = Duration::from_millis(20);

/// The socket that connections come from.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    /// Another process holds the socket too and stays when this one ends.
    is_shared: bool,
}

impl Listener {
    /// Binds and listens.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        // A restart must not wait for the old connections' TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        Self::prepare(socket, false)
    }

    /// Around a socket that systemd listens on and keeps.
    pub(crate) fn passed(socket: Socket) -> io::Result<Self> {
        Self::prepare(socket, true)
    }

    fn prepare(socket: Socket, is_shared: bool) -> io::Result<Self> {
        if socket.domain()? != Domain::UNIX {
            // Accepted sockets inherit these on Linux (docs/DEPENDENCIES.md).
            socket.set_tcp_nodelay(true)?;
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_AFTER))?;
        }
        // Again for a socket that is listened on: an older systemd gives it 128 places.
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, is_shared })
    }

    pub(crate) fn address(&self) -> io::Result<Address> {
        self.socket.local_addr().map(Address::new)
    }
}

/// The accept loop's thread.
pub(crate) struct Acceptor {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Acceptor {
    /// Starts a thread of this name that accepts from all of `listeners`; its connections go to the event
    /// loops of `mailboxes` in turn.
    ///
    /// # Errors
    /// When there is no thread or eventfd to be had.
    pub(crate) fn start(
        name: &str,
        listeners: Vec<Listener>,
        room: Arc<Room>,
        mailboxes: Vec<Arc<Mailbox>>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let stop = Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?);
        let accepting = Accepting {
            name: name.to_owned(),
            listeners,
            next_listener: 0,
            room,
            mailboxes,
            metrics,
            next_mailbox: 0,
            stop: Arc::clone(&stop),
            throttle: LogThrottle::default(),
        };
        let spawned = thread::Builder::new().name(name.to_owned());
        let thread = spawned.spawn(move || accepting.run())?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Takes what the kernel has accepted already, and then no more: the port is closed. A shared
    /// socket stays open, and what the kernel has accepted there waits for the next process.
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
    /// Of its thread: tells the doors apart in the log.
    name: String,
    /// At least one.
    listeners: Vec<Listener>,
    /// Looked at first next time, so that a busy one does not keep the others shut.
    next_listener: usize,
    room: Arc<Room>,
    mailboxes: Vec<Arc<Mailbox>>,
    metrics: Arc<Metrics>,
    next_mailbox: usize,
    stop: Arc<OwnedFd>,
    throttle: LogThrottle,
}

impl Accepting {
    fn run(mut self) {
        while !self.wait(None) {
            if !self.room.take() {
                if let Some(more) = self.throttle.say("room", clock::now()) {
                    let max = self.room.taken().1;
                    warn!(
                        "{}: all {max} places for connections are taken: idle ones are closed, new ones \
                         wait{more}",
                        self.name
                    );
                }
                self.evict();
                self.room.wait(PAUSE);
                continue;
            }
            self.accept();
        }
        self.listeners.retain(|listener| !listener.is_shared);
        while self.room.take() && self.accept() {}
    }

    /// Accepts one connection for which a place was taken in the room; whether there was one.
    fn accept(&mut self) -> bool {
        for _ in 0..self.listeners.len() {
            let listener = self.next_listener % self.listeners.len();
            self.next_listener = listener + 1;
            match self.listeners[listener].socket.accept() {
                Ok((socket, _)) => {
                    self.metrics.accepted.inc();
                    self.tell_next(Message::Accepted(socket.into()));
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
                    self.room.release();
                    self.pause(&error);
                    return false;
                }
            }
        }
        self.room.release();
        false
    }

    /// Out of descriptors or memory: makes some room and pauses.
    fn pause(&mut self, error: &io::Error) {
        if let Some(more) = self.throttle.say("accept", clock::now()) {
            warn!("{}: cannot accept connections: {error}{more}", self.name);
        }
        self.evict();
        self.wait(Some(PAUSE));
    }

    fn evict(&mut self) {
        self.metrics.short_of_room.inc();
        self.tell_next(Message::Evict);
    }

    fn tell_next(&mut self, message: Message) {
        self.next_mailbox = (self.next_mailbox + 1) % self.mailboxes.len();
        self.mailboxes[self.next_mailbox].post(message);
    }

    /// Waits for a connection, or with a limit just for that long; whether to stop.
    fn wait(&self, limit: Option<Duration>) -> bool {
        let stop = PollFd::new(&self.stop, PollFlags::IN);
        let incoming = self.listeners.iter();
        let incoming = incoming.map(|listener| PollFd::new(&listener.socket, PollFlags::IN));
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
