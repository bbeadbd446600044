//! One TLS connection over our own socket: rustls turns bytes into bytes, and whatever is waited for has
//! the deadline of the call.

use std::io::{self, Read, Write};
use std::ops::Range;

use rustls::{ClientConnection, IoState};

use crate::base::clock::Deadline;
use crate::cache::wire::fault::{Fault, Step, StepLimit};
use crate::cache::wire::socket::Socket;
use crate::cache::wire::tls::words::fault;

/// Bytes received at once: some TLS records, of 16 KiB at most each (RFC 8446, section 5.1).
const RECEIVE_BYTES: usize = 64 * 1024;

/// One TLS connection, beside its socket.
pub(crate) struct Session {
    pub(crate) connection: ClientConnection,
    /// What a read from the socket brings, encrypted.
    received: Vec<u8>,
    /// The part of `received` that rustls has not taken yet.
    unread: Range<usize>,
}

impl Session {
    /// One that has not begun.
    pub(crate) fn new(connection: ClientConnection) -> Self {
        Self {
            connection,
            received: vec![0; RECEIVE_BYTES],
            unread: 0..0,
        }
    }

    /// Shakes hands by `deadline`: afterwards the server is the one it should be.
    pub(crate) fn shake_hands(&mut self, socket: &Socket, deadline: Deadline) -> Result<(), Fault> {
        let limit = Step::TlsHandshake.by(deadline);
        self.flush(socket, limit)?;
        while self.connection.is_handshaking() {
            self.take_in(socket, limit)?;
            self.flush(socket, limit)?;
        }
        Ok(())
    }

    /// Sends all of `bytes`.
    pub(crate) fn send_all(
        &mut self,
        socket: &Socket,
        mut bytes: &[u8],
        limit: StepLimit,
    ) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let taken = self.connection.writer().write(bytes);
            let taken = taken.map_err(|error| Fault::from_io(error, limit.step))?;
            bytes = &bytes[taken..];
            if let Err(fault) = self.flush(socket, limit) {
                return Err(self.last_words(socket).unwrap_or(fault));
            }
        }
        Ok(())
    }

    /// Waits for some bytes; how many came, which is never 0.
    pub(crate) fn receive(
        &mut self,
        socket: &Socket,
        buffer: &mut [u8],
        limit: StepLimit,
    ) -> Result<usize, Fault> {
        loop {
            match self.connection.reader().read(buffer) {
                Ok(0) => return Err(Fault::from_io(io::ErrorKind::UnexpectedEof, limit.step)),
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(Fault::from_io(error, limit.step)),
            }
            self.take_in(socket, limit)?;
            // An answer to a new key, or nothing.
            self.flush(socket, limit)?;
        }
    }

    /// Looks whether the connection is open and the server has said nothing unasked. What it says of TLS
    /// itself, as its tickets for later sessions, is taken in. Waits for nothing.
    pub(crate) fn check_quiet(&mut self, socket: &Socket) -> bool {
        loop {
            let state = self.connection.process_new_packets();
            let is_silent =
                |state: &IoState| state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed();
            if !state.as_ref().is_ok_and(is_silent) {
                return false;
            }
            if self.unread.is_empty() {
                match socket.receive_now(&mut self.received) {
                    Ok(None) => return true,
                    Ok(Some(count)) if count > 0 => self.unread = 0..count,
                    _ => return false,
                }
            }
            if self.decrypt().is_err() {
                return false;
            }
        }
    }

    /// Waits for bytes where there are none, and decrypts them.
    fn take_in(&mut self, socket: &Socket, limit: StepLimit) -> Result<(), Fault> {
        if self.unread.is_empty() {
            self.unread = 0..socket.receive(&mut self.received, limit)?;
        }
        self.decrypt().inspect_err(|_| self.say_why(socket))
    }

    /// Hands rustls what has been received: as much as it takes before what it decrypts is read.
    fn decrypt(&mut self) -> Result<(), Fault> {
        let mut unread = &self.received[self.unread.clone()];
        let taken = self.connection.read_tls(&mut unread);
        let taken = taken.map_err(|error| Fault::Protocol(error.to_string()))?;
        self.unread.start += taken;
        let done = self.connection.process_new_packets();
        done.map(drop).map_err(|error| fault(&error))
    }

    /// Sends what rustls has to send.
    fn flush(&mut self, socket: &Socket, limit: StepLimit) -> Result<(), Fault> {
        while self.connection.wants_write() {
            let mut bytes = Vec::new();
            let written = self.connection.write_tls(&mut bytes);
            written.map_err(|error| Fault::from_io(error, limit.step))?;
            socket.send_all(&bytes, limit)?;
        }
        Ok(())
    }

    /// Why the server closed the connection on us while we were sending, if it said so: since TLS 1.3
    /// a certificate of ours is refused after our side of the handshake is done.
    fn last_words(&mut self, socket: &Socket) -> Option<Fault> {
        while let Ok(Some(count @ 1..)) = socket.receive_now(&mut self.received) {
            self.unread = 0..count;
            while !self.unread.is_empty() {
                match self.decrypt() {
                    Ok(()) => {}
                    Err(fault @ Fault::Tls(_)) => return Some(fault),
                    Err(_) => return None,
                }
                let _ = self.connection.reader().read(&mut [0; 1024]);
            }
        }
        None
    }

    /// The alert for a server that we do not accept, as far as it can be sent without waiting.
    fn say_why(&mut self, socket: &Socket) {
        let mut alert = Vec::new();
        if self.connection.wants_write() && self.connection.write_tls(&mut alert).is_ok() {
            socket.send_now(&alert);
        }
    }
}
