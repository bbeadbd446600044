//! One connection to a Redis server, every step of it within a deadline.
//! The redis crate packs the commands and parses the replies; the socket is ours, since the crate's
//! own time-outs hold per read and per reply of the handshake, not for the whole (docs/DEPENDENCIES.md).

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use redis::{Cmd, Parser, Value};

use crate::base::clock::{self, Deadline};
use crate::cache::wire::fault::{Fault, Step, StepLimit};
use crate::cache::wire::socket::Socket;
use crate::cache::wire::tls::session::Session;

#[cfg(test)]
mod tests;

/// Bytes of all replies to one call: what it may cost in memory before it is given up.
pub(crate) const REPLY_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// The same, where one value alone is asked for.
pub(crate) const VALUE_MAX_BYTES: u64 = 128 * 1024 * 1024;
/// Bytes received at once. The parser reads 8 KiB at a time, which would cost two system calls each.
const RECEIVE_BYTES: usize = 64 * 1024;
/// A call that times out with this many bytes of its reply received asked for too much at once: that
/// is not the server's fault.
const REPLY_LARGE_BYTES: u64 = 1024 * 1024;

/// An open connection.
pub(crate) struct Connection {
    wire: Wire,
    /// What a read from the wire brings, for the parser to take in its own smaller pieces.
    received: Vec<u8>,
    /// A call is under way, or one did not end well: the next reply may not be ours.
    broken: bool,
}

/// The bytes to and from the server, encrypted or not.
struct Wire {
    socket: Arc<Socket>,
    session: Option<Box<Session>>,
}

impl Connection {
    /// On a socket that is connected, and encrypted where there is a session.
    pub(crate) fn new(socket: Arc<Socket>, session: Option<Box<Session>>) -> Self {
        Self {
            wire: Wire { socket, session },
            received: vec![0; RECEIVE_BYTES],
            broken: false,
        }
    }

    /// The socket, for [`Socket::shut_down`] from outside.
    pub(crate) fn socket(&self) -> &Arc<Socket> {
        &self.wire.socket
    }

    /// Sends `commands` in one go and reads a reply to each by `deadline`, `max_bytes` in all. Error
    /// replies are values: what they mean is the caller's business.
    ///
    /// # Errors
    /// The [`Fault`] that ended the connection; it is broken then.
    pub(crate) fn call(
        &mut self,
        commands: &[Cmd],
        max_bytes: u64,
        deadline: Deadline,
    ) -> Result<Vec<Value>, Fault> {
        let limit = Step::Reply.by(deadline);
        self.send(commands, limit)?;
        self.receive(commands.len(), max_bytes, limit)
    }

    /// Looks whether it can be used for another call: no call ended badly on it, and the server has
    /// neither closed it nor sent anything unasked. Takes in what TLS says for itself; waits for nothing.
    #[must_use]
    pub(crate) fn check_usable(&mut self) -> bool {
        !self.broken && self.wire.check_quiet()
    }

    /// The first half of a call, for those who ask more than one server at once.
    pub(crate) fn send(&mut self, commands: &[Cmd], limit: StepLimit) -> Result<(), Fault> {
        // Broken until the last reply is in: an early return or a panic leaves it so.
        self.broken = true;
        let mut packed = Vec::new();
        for command in commands {
            command.write_packed_command(&mut packed);
        }
        self.wire.send_all(&packed, limit)
    }

    /// The second half: a reply to each of the `count` commands that were sent, `max_bytes` in all.
    pub(crate) fn receive(
        &mut self,
        count: usize,
        max_bytes: u64,
        limit: StepLimit,
    ) -> Result<Vec<Value>, Fault> {
        let mut replies = Vec::with_capacity(count);
        let mut reader = ReplyReader {
            wire: &mut self.wire,
            received: &mut self.received,
            unread: 0..0,
            limit,
            max_bytes,
            bytes_left: max_bytes,
            fault: None,
        };
        // A new parser for every call: what a server sends beyond the replies goes with it, and can
        // never be taken for the reply to the next call.
        let mut parser = Parser::new();
        while replies.len() < count {
            match parser.parse_value(&mut reader) {
                Ok(reply) => replies.extend(awaited(reply)),
                // The parser hides the fault of the wire in its own error.
                Err(_) => return Err(reader.into_fault()),
            }
        }
        self.broken = !check_at_end(&mut parser, &reader.received[reader.unread.clone()]);
        Ok(replies)
    }
}

/// The reply itself, without what RESP3 may say about it; nothing for a push, which is no answer.
fn awaited(reply: Value) -> Option<Value> {
    match reply {
        Value::Push { .. } => None,
        Value::Attribute { data, .. } => awaited(*data),
        reply => Some(reply),
    }
}

/// Looks whether nothing has come beyond the replies but whole pushes: half a push would be taken for the
/// beginning of the next reply. The parser does not tell how much it holds, so it is given a mark to
/// find behind what is there.
fn check_at_end(parser: &mut Parser, unread: &[u8]) -> bool {
    let mark = &b"+evenkeel: no more\r\n"[..];
    let mut rest = unread.chain(mark);
    loop {
        match parser.parse_value(&mut rest) {
            Ok(Value::Push { .. }) => {}
            Ok(Value::SimpleString(text)) => return text == "evenkeel: no more",
            _ => return false,
        }
    }
}

impl Wire {
    fn send_all(&mut self, bytes: &[u8], limit: StepLimit) -> Result<(), Fault> {
        let Self { socket, session } = self;
        match session {
            Some(session) => session.send_all(socket, bytes, limit),
            None => socket.send_all(bytes, limit),
        }
    }

    fn receive(&mut self, buffer: &mut [u8], limit: StepLimit) -> Result<usize, Fault> {
        let Self { socket, session } = self;
        match session {
            Some(session) => session.receive(socket, buffer, limit),
            None => socket.receive(buffer, limit),
        }
    }

    fn check_quiet(&mut self) -> bool {
        match &mut self.session {
            Some(session) => session.check_quiet(&self.socket),
            None => self.socket.is_quiet(),
        }
    }
}

/// Reads replies until the deadline, however slowly the bytes come, and not beyond the limit.
struct ReplyReader<'a> {
    wire: &'a mut Wire,
    received: &'a mut [u8],
    /// The part of `received` that the parser has not taken yet.
    unread: Range<usize>,
    limit: StepLimit,
    max_bytes: u64,
    bytes_left: u64,
    /// What ended it, where it was not the parser.
    fault: Option<Fault>,
}

impl Read for ReplyReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() {
            self.receive().map_err(|fault| {
                self.fault = Some(fault);
                io::Error::from(io::ErrorKind::Other)
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
    fn receive(&mut self) -> Result<(), Fault> {
        if self.bytes_left == 0 {
            return Err(Fault::TooLarge);
        }
        let count = self.wire.receive(self.received, self.limit)?;
        self.bytes_left = self.bytes_left.saturating_sub(count as u64);
        self.unread = 0..count;
        Ok(())
    }

    /// Why a reply could not be read.
    fn into_fault(self) -> Fault {
        let received = self.max_bytes - self.bytes_left;
        let is_late = self.limit.deadline.passed(clock::now());
        match self.fault {
            Some(_) if received >= REPLY_LARGE_BYTES && is_late => Fault::TooLarge,
            Some(fault) => fault,
            None => Fault::Protocol("not a Redis reply".to_owned()),
        }
    }
}
