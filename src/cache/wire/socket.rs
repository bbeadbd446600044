//! The socket under a connection to Redis: resolved and connected, written and read by a deadline, and
//! ended from outside. Knows bytes, no protocol.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, SockAddr, SockRef, Type};

use crate::base::clock::{self, Deadline};
use crate::base::resolver::{HostResolver, ResolveError};
use crate::cache::wire::fault::{Fault, Step};

/// Where to connect to.
#[derive(Debug)]
pub(crate) enum Endpoint {
    /// A host name or address, resolved at every connect.
    Tcp(HostResolver),
    /// A socket in the file system.
    Unix(Box<Path>),
}

/// The socket, shared with whoever may have to end a call from outside.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Stream,
    /// Bytes received so far: whether a reply is coming in.
    received_bytes: AtomicU64,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        let received_bytes = AtomicU64::new(0);
        Self {
            stream: Stream::Tcp(stream),
            received_bytes,
        }
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        let received_bytes = AtomicU64::new(0);
        Self {
            stream: Stream::Unix(stream),
            received_bytes,
        }
    }
}

impl Socket {
    /// Resolves and connects by `deadline`. `on_socket` is handed each socket before anything is waited
    /// for on it, and says whether to go on.
    ///
    /// # Errors
    /// The [`Fault`] of the step that failed.
    pub(crate) fn connect(
        endpoint: &Endpoint,
        deadline: Deadline,
        mut on_socket: impl FnMut(&Arc<Self>) -> bool,
    ) -> Result<Arc<Self>, Fault> {
        match endpoint {
            Endpoint::Tcp(resolver) => connect_to_host(resolver, deadline, on_socket),
            Endpoint::Unix(path) => {
                let socket = connect_unix(path, deadline);
                let socket = socket.map_err(|error| Fault::from_io(&error, Step::Connect))?;
                match on_socket(&socket) {
                    true => Ok(socket),
                    false => Err(Fault::GivenUp),
                }
            }
        }
    }

    /// Bytes received so far.
    #[must_use]
    pub(crate) fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    /// Ends the connection now: a thread that waits for its reply wakes up at once.
    pub(crate) fn shut_down(&self) {
        // An error means that it has ended already.
        let _ = match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    /// Sends all of `bytes` by `deadline`.
    ///
    /// # Errors
    /// Of the kind `TimedOut` when it passes first.
    pub(crate) fn send_all(&self, mut bytes: &[u8], deadline: Deadline) -> io::Result<()> {
        while !bytes.is_empty() {
            self.set_write_timeout(time_left(deadline)?)?;
            match self.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until `deadline` for some bytes; how many came, which is never 0.
    ///
    /// # Errors
    /// Of the kind `TimedOut` when it passes first, `UnexpectedEof` when the connection has ended.
    pub(crate) fn receive(&self, buffer: &mut [u8], deadline: Deadline) -> io::Result<usize> {
        loop {
            self.set_read_timeout(time_left(deadline)?)?;
            match self.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
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
    #[must_use]
    pub(crate) fn is_quiet(&self) -> bool {
        let mut byte = [0_u8; 1];
        let peek = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        matches!(rustix::net::recv(self, &mut byte, peek), Err(Errno::AGAIN))
    }

    fn set_read_timeout(&self, limit: Duration) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(limit)),
            Stream::Unix(stream) => stream.set_read_timeout(Some(limit)),
        }
    }

    fn set_write_timeout(&self, limit: Duration) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => stream.set_write_timeout(Some(limit)),
            Stream::Unix(stream) => stream.set_write_timeout(Some(limit)),
        }
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &self.stream {
            Stream::Tcp(stream) => (&mut &*stream).read(buffer),
            Stream::Unix(stream) => (&mut &*stream).read(buffer),
        }?;
        self.received_bytes
            .fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.stream {
            Stream::Tcp(stream) => (&mut &*stream).write(bytes),
            Stream::Unix(stream) => (&mut &*stream).write(bytes),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
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
    let class = |error: io::Error| Fault::from_io(&error, Step::Connect);
    for (place, address) in addresses.iter().enumerate() {
        // One that hangs leaves their share to the others.
        let shares = (addresses.len() - place) as u32;
        let limit = time_left(deadline).map_err(class)? / shares;
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
    let class = |error: io::Error| Fault::from_io(&error, Step::Connect);
    let stream = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None);
    let socket = Arc::new(Socket::from(TcpStream::from(stream.map_err(class)?)));
    if !on_socket(&socket) {
        return Err(Fault::GivenUp);
    }
    let stream = SockRef::from(&*socket);
    stream
        .connect_timeout(&address.into(), limit)
        .map_err(class)?;
    // Without it small commands wait for the acknowledgement of earlier ones.
    let _ = stream.set_tcp_nodelay(true);
    Ok(Arc::clone(&socket))
}

/// Connecting to a Unix socket waits only where the backlog is full; the time-out for writes holds for
/// that too (unix(7) does not say so; Linux does it).
fn connect_unix(path: &Path, deadline: Deadline) -> io::Result<Arc<Socket>> {
    let stream = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    stream.set_write_timeout(Some(time_left(deadline)?))?;
    stream.connect(&SockAddr::unix(path)?)?;
    Ok(Arc::new(Socket::from(UnixStream::from(stream))))
}

/// What is left until `deadline`, or the error of having none.
fn time_left(deadline: Deadline) -> io::Result<Duration> {
    let left = deadline.left(clock::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    // The kernel counts in microseconds, and zero would mean for ever.
    Ok(left.max(Duration::from_micros(1)))
}
