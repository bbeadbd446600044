//! The socket under a connection to Redis: resolved and connected, written and read by a deadline, and
//! ended from outside. Knows bytes, no protocol.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, SockAddr, Type};

use crate::base::clock::{self, Deadline};
use crate::base::resolver::{HostResolver, ResolveError};
use crate::cache::wire::fault::{Fault, Step, StepLimit};

/// Where to connect to.
#[derive(Debug)]
pub(crate) enum Endpoint {
    /// A host name or address, resolved at every connect.
    Tcp(HostResolver),
    /// A socket in the file system.
    Unix(Box<Path>),
}

/// The socket, shared with the watch, which may have to end a call from outside.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: socket2::Socket,
    /// Bytes received so far: whether a reply is coming in.
    received_bytes: AtomicU64,
}

impl Socket {
    pub(crate) fn new(stream: impl Into<socket2::Socket>) -> Self {
        Self {
            stream: stream.into(),
            received_bytes: AtomicU64::new(0),
        }
    }

    /// Resolves and connects by `deadline`. `on_socket` is handed each socket before anything is waited
    /// for on it, and says whether to go on.
    pub(crate) fn connect(
        endpoint: &Endpoint,
        deadline: Deadline,
        mut on_socket: impl FnMut(&Arc<Self>) -> bool,
    ) -> Result<Arc<Self>, Fault> {
        match endpoint {
            Endpoint::Tcp(resolver) => connect_to_host(resolver, deadline, on_socket),
            Endpoint::Unix(path) => {
                let socket = connect_unix(path, deadline)?;
                match on_socket(&socket) {
                    true => Ok(socket),
                    false => Err(Fault::GivenUp),
                }
            }
        }
    }

    /// Bytes received so far.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    /// Ends the connection now: a thread that waits for its reply wakes up at once.
    pub(crate) fn shut_down(&self) {
        // An error means that it has ended already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Sends all of `bytes`.
    pub(crate) fn send_all(&self, mut bytes: &[u8], limit: StepLimit) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let timeout = self.stream.set_write_timeout(Some(time_left(limit)?));
            timeout.map_err(|error| Fault::from_io(error, limit.step))?;
            match rustix::net::send(self, bytes, SendFlags::NOSIGNAL) {
                Ok(0) => return Err(Fault::from_io(io::ErrorKind::WriteZero, limit.step)),
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::INTR) => {}
                Err(error) => return Err(Fault::from_io(error, limit.step)),
            }
        }
        Ok(())
    }

    /// Waits for some bytes; how many came, which is never 0.
    pub(crate) fn receive(&self, buffer: &mut [u8], limit: StepLimit) -> Result<usize, Fault> {
        loop {
            let timeout = self.stream.set_read_timeout(Some(time_left(limit)?));
            timeout.map_err(|error| Fault::from_io(error, limit.step))?;
            match rustix::net::recv(self, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => return Err(Fault::from_io(io::ErrorKind::UnexpectedEof, limit.step)),
                Ok((count, _)) => {
                    let received = count as u64;
                    self.received_bytes.fetch_add(received, Ordering::Relaxed);
                    return Ok(count);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(Fault::from_io(error, limit.step)),
            }
        }
    }

    /// What has come already, without waiting: how many bytes, 0 at the end of the connection, none
    /// where there is nothing.
    ///
    /// # Errors
    /// When the connection has ended otherwise.
    pub(crate) fn receive_now(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::net::recv(self, buffer, RecvFlags::DONTWAIT) {
            Ok((count, _)) => Ok(Some(count)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends what the kernel takes of `bytes` without waiting. For last words: an error changes nothing.
    pub(crate) fn send_now(&self, bytes: &[u8]) {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let _ = rustix::net::send(self, bytes, flags);
    }

    /// Whether the connection is open and nothing has come. Costs one system call and waits for
    /// nothing.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut byte = [0_u8; 1];
        let peek = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        matches!(rustix::net::recv(self, &mut byte, peek), Err(Errno::AGAIN))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn connect_to_host(
    resolver: &HostResolver,
    deadline: Deadline,
    mut on_socket: impl FnMut(&Arc<Socket>) -> bool,
) -> Result<Arc<Socket>, Fault> {
    let mut fault = Fault::Unresolved("the name has no address".to_owned());
    let addresses = resolver.addresses(deadline.left(clock::now()));
    let addresses = addresses.map_err(|error| match error {
        ResolveError::TimedOut => Fault::TimedOut(Step::Resolve),
        ResolveError::Failed(why) => Fault::Unresolved(why),
    })?;
    for (number, address) in addresses.iter().enumerate() {
        // One that hangs leaves their share to the others.
        let shares = (addresses.len() - number) as u32;
        let limit = time_left(Step::Connect.by(deadline))? / shares;
        match connect_tcp(*address, limit, &mut on_socket) {
            Err(Fault::GivenUp) => return Err(Fault::GivenUp),
            Err(next) => fault = next,
            connected => return connected,
        }
    }
    Err(fault)
}

fn connect_tcp(
    address: SocketAddr,
    limit: Duration,
    on_socket: &mut impl FnMut(&Arc<Socket>) -> bool,
) -> Result<Arc<Socket>, Fault> {
    let class = |error: io::Error| Fault::from_io(error, Step::Connect);
    let stream = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None);
    let socket = Arc::new(Socket::new(stream.map_err(class)?));
    if !on_socket(&socket) {
        return Err(Fault::GivenUp);
    }
    let connected = socket.stream.connect_timeout(&address.into(), limit);
    connected.map_err(class)?;
    // Without it small commands wait for the acknowledgement of earlier ones.
    let _ = socket.stream.set_tcp_nodelay(true);
    Ok(socket)
}

/// Connecting to a Unix socket waits only where the backlog is full; the time-out for writes holds for
/// that too (unix(7) does not say so; Linux does it).
fn connect_unix(path: &Path, deadline: Deadline) -> Result<Arc<Socket>, Fault> {
    let limit = time_left(Step::Connect.by(deadline))?;
    let connect = || {
        let stream = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        stream.set_write_timeout(Some(limit))?;
        stream.connect(&SockAddr::unix(path)?)?;
        io::Result::Ok(Arc::new(Socket::new(stream)))
    };
    connect().map_err(|error| Fault::from_io(error, Step::Connect))
}

/// What is left, which is never zero.
fn time_left(limit: StepLimit) -> Result<Duration, Fault> {
    let left = limit.deadline.left(clock::now());
    if left.is_zero() {
        return Err(Fault::TimedOut(limit.step));
    }
    // The kernel counts in microseconds, and zero would mean for ever.
    Ok(left.max(Duration::from_micros(1)))
}
