//! One connection to a Redis server, every step of it within a deadline.
//! The redis crate packs the commands and parses the replies; the socket is ours, since the crate's
//! own time-outs hold per read and per reply of the handshake, not for the whole (FACTS).

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::{Cmd, Parser, Value};
use rustix::net::RecvFlags;
use socket2::{Domain, SockAddr, SockRef, Type};

use super::fault::{Fault, Step};
use crate::clock::{self, Deadline};
use crate::resolver::{HostResolver, ResolveError};

#[cfg(test)]
mod tests;

/// Bytes of all replies to one call: what it may cost in memory before it is given up.
pub const REPLY_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// The same, where one value alone is asked for.
pub const VALUE_MAX_BYTES: u64 = 128 * 1024 * 1024;
/// Bytes received at once. The parser reads 8 KiB at a time, which would cost two system calls each.
const RECEIVE_BYTES: usize = 64 * 1024;
/// A call that times out with this many bytes of its reply received asked for too much at once: that
/// is not the server's fault.
const REPLY_LARGE_BYTES: u64 = 1024 * 1024;

/// Where to connect to.
#[derive(Debug)]
pub enum Endpoint {
    /// A host name or address, resolved at every connect.
    Tcp(HostResolver),
    /// A socket in the file system.
    Unix(Box<Path>),
}

/// What a new connection says before anything else.
#[derive(Clone, Default)]
pub struct Handshake {
    /// ACL user, for servers that know users.
    pub username: Option<String>,
    /// Password, for AUTH.
    pub password: Option<String>,
    /// Database, for SELECT.
    pub db: i64,
}

/// The socket, shared with whoever may have to end a call from outside.
#[derive(Debug)]
pub struct Socket {
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
    /// Bytes received so far.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    /// Ends the connection now: a thread that waits for its reply wakes up at once.
    pub fn shut_down(&self) {
        // An error means that it has ended already.
        let _ = match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
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

/// An open connection.
pub struct Link {
    socket: Arc<Socket>,
    /// What a read from the socket brings, for the parser to take in its own smaller pieces.
    received: Vec<u8>,
    /// A call is under way, or one did not end well: the next reply may not be ours.
    broken: bool,
}

impl Link {
    /// Resolves, connects and shakes hands, all by `deadline`. `on_socket` is handed each socket before
    /// anything is waited for on it, and says whether to go on.
    ///
    /// # Errors
    /// The [`Fault`] of the step that failed.
    pub fn open(
        endpoint: &Endpoint,
        handshake: &Handshake,
        deadline: Deadline,
        on_socket: impl FnMut(&Arc<Socket>) -> bool,
    ) -> Result<Self, Fault> {
        let socket = connect(endpoint, deadline, on_socket)?;
        let mut link = Self {
            socket,
            received: vec![0; RECEIVE_BYTES],
            broken: false,
        };
        link.shake_hands(handshake, deadline)?;
        Ok(link)
    }

    /// The socket, for [`Socket::shut_down`] from outside.
    #[must_use]
    pub fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }

    /// Sends `commands` in one go and reads a reply to each by `deadline`, `max_bytes` in all. Error
    /// replies are values: what they mean is the caller's business.
    ///
    /// # Errors
    /// The [`Fault`] that ended the connection; it is broken then.
    pub fn call(
        &mut self,
        commands: &[Cmd],
        max_bytes: u64,
        deadline: Deadline,
    ) -> Result<Vec<Value>, Fault> {
        self.exchange(commands, max_bytes, deadline, Step::Reply)
    }

    /// Whether it can be used for another call: no call ended badly on it, and the server has
    /// neither closed it nor sent anything unasked. Costs one system call and waits for nothing.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let mut byte = [0_u8; 1];
        let peek = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        !self.broken
            && matches!(
                rustix::net::recv(&self.socket, &mut byte, peek),
                Err(rustix::io::Errno::AGAIN)
            )
    }

    fn shake_hands(&mut self, handshake: &Handshake, deadline: Deadline) -> Result<(), Fault> {
        let mut commands = Vec::new();
        if let Some(password) = &handshake.password {
            let mut auth = redis::cmd("AUTH");
            if let Some(username) = &handshake.username {
                auth.arg(username);
            }
            auth.arg(password);
            commands.push(auth);
        }
        if handshake.db != 0 {
            let mut select = redis::cmd("SELECT");
            select.arg(handshake.db);
            commands.push(select);
        }
        if commands.is_empty() {
            return Ok(());
        }
        for reply in self.exchange(&commands, REPLY_MAX_BYTES, deadline, Step::Handshake)? {
            match reply {
                Value::Okay => {}
                Value::ServerError(error) => return Err(refused_handshake(&error)),
                _ => return Err(Fault::Protocol("AUTH or SELECT not answered OK".to_owned())),
            }
        }
        Ok(())
    }

    fn exchange(
        &mut self,
        commands: &[Cmd],
        max_bytes: u64,
        deadline: Deadline,
        step: Step,
    ) -> Result<Vec<Value>, Fault> {
        // Broken until the last reply is in: an early return or a panic leaves it so.
        self.broken = true;
        let mut packed = Vec::new();
        for command in commands {
            command.write_packed_command(&mut packed);
        }
        write_all(&self.socket, &packed, deadline).map_err(|e| Fault::from_io(&e, step))?;
        let mut replies = Vec::with_capacity(commands.len());
        let mut reader = ReplyReader {
            socket: &self.socket,
            received: &mut self.received,
            unread: 0..0,
            deadline,
            bytes_left: max_bytes,
            error: None,
        };
        // A new parser for every call: what a server sends beyond the replies goes with it, and can
        // never be taken for the reply to the next call.
        let mut parser = Parser::new();
        for _ in commands {
            match parser.parse_value(&mut reader) {
                Ok(reply) => replies.push(reply),
                // The parser hides the error of the socket in its own.
                Err(_) => {
                    let received = max_bytes - reader.bytes_left;
                    return Err(match reader.error {
                        Some(_)
                            if received >= REPLY_LARGE_BYTES && deadline.passed(clock::now()) =>
                        {
                            Fault::TooLarge
                        }
                        Some(error) => Fault::from_io(&error, step),
                        None => Fault::Protocol("not a Redis reply".to_owned()),
                    });
                }
            }
        }
        self.broken = false;
        Ok(replies)
    }
}

/// What AUTH or SELECT refused is a matter of configuration, but for a server that is not ready.
fn refused_handshake(error: &redis::ServerError) -> Fault {
    match Fault::from_reply(error) {
        // Without the code, a server of before ACLs says "ERR invalid password".
        Fault::Refused(reply) if !reply.contains("max number of clients") => {
            Fault::Misconfigured(reply)
        }
        other => other,
    }
}

fn connect(
    endpoint: &Endpoint,
    deadline: Deadline,
    mut on_socket: impl FnMut(&Arc<Socket>) -> bool,
) -> Result<Arc<Socket>, Fault> {
    match endpoint {
        Endpoint::Tcp(resolver) => {
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

fn write_all(socket: &Socket, mut bytes: &[u8], deadline: Deadline) -> io::Result<()> {
    while !bytes.is_empty() {
        socket.set_write_timeout(time_left(deadline)?)?;
        match socket.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
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

/// Reads replies until the deadline, however slowly the bytes come, and not beyond the limit.
struct ReplyReader<'a> {
    socket: &'a Socket,
    received: &'a mut [u8],
    /// The part of `received` that the parser has not taken yet.
    unread: Range<usize>,
    deadline: Deadline,
    bytes_left: u64,
    /// What ended it, where it was not the parser.
    error: Option<io::Error>,
}

impl Read for ReplyReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() {
            self.receive().map_err(|error| {
                let kind = error.kind();
                self.error = Some(error);
                io::Error::from(kind)
            })?;
        }
        let count = buffer.len().min(self.unread.len());
        let begin = self.unread.start;
        buffer[..count].copy_from_slice(&self.received[begin..begin + count]);
        self.unread.start += count;
        Ok(count)
    }
}

impl ReplyReader<'_> {
    fn receive(&mut self) -> io::Result<()> {
        if self.bytes_left == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let count = loop {
            self.socket.set_read_timeout(time_left(self.deadline)?)?;
            match self.socket.read(self.received) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.bytes_left = self.bytes_left.saturating_sub(count as u64);
        self.unread = 0..count;
        Ok(())
    }
}
