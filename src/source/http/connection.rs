//! A layer over ureq's TCP connection that tells two ends apart which ureq takes for one: the server had
//! closed a kept-alive connection meanwhile, or it resets one in the middle of a body. The layer reads and
//! writes nothing of its own.

use std::fmt;
use std::io::ErrorKind;

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// The connection was used before and ended before a byte of this answer came: the server closed
/// it while the request was on its way, so it never looked at it (RFC 9112 section 9.3.1 has a
/// client repeat the request then).
#[derive(Debug)]
pub(super) struct ClosedWhileIdle;

impl ClosedWhileIdle {
    pub(super) fn is(error: &Error) -> bool {
        matches!(error, Error::Other(cause) if cause.is::<Self>())
    }
}

impl fmt::Display for ClosedWhileIdle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection closed while idle")
    }
}

impl std::error::Error for ClosedWhileIdle {}

/// Wraps every new connection in a [`Watched`].
#[derive(Debug)]
pub(super) struct Watch;

impl<In: Transport> Connector<In> for Watch {
    type Out = Watched<In>;

    fn connect(
        &self,
        _details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|inner| Watched {
            inner,
            requests: 0,
            heard: true,
        }))
    }
}

/// A connection that remembers how far its exchange has come.
#[derive(Debug)]
pub(super) struct Watched<T> {
    inner: T,
    /// Requests begun on this connection.
    requests: u64,
    /// Whether any byte came since the last request was begun.
    heard: bool,
}

impl<T> Watched<T> {
    /// Says which of the two ends of a connection `error` is.
    fn tell_apart(&self, error: Error) -> Error {
        match error {
            Error::Io(cause) if is_end(cause.kind()) => {
                if self.requests > 1 && !self.heard {
                    Error::Other(Box::new(ClosedWhileIdle))
                } else {
                    // ureq takes a reset for the end of a body that has no length, and would pass
                    // half a value on as a whole one. Only an orderly shutdown ends a body.
                    Error::Io(std::io::Error::other(cause.to_string()))
                }
            }
            other => other,
        }
    }
}

/// Whether the system says so that the other side has gone.
fn is_end(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::BrokenPipe
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::NotConnected
            | ErrorKind::UnexpectedEof
    )
}

impl<T: Transport> Transport for Watched<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        // A long request goes out in several pieces: only the first after an answer begins one.
        if self.heard {
            self.requests += 1;
            self.heard = false;
        }
        let sent = self.inner.transmit_output(amount, timeout);
        sent.map_err(|error| self.tell_apart(error))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        match self.inner.await_input(timeout) {
            Ok(true) => {
                self.heard = true;
                Ok(true)
            }
            // An orderly shutdown of the other side, which is how most idle connections end.
            Ok(false) if self.requests > 1 && !self.heard => {
                Err(Error::Other(Box::new(ClosedWhileIdle)))
            }
            Ok(false) => Ok(false),
            Err(error) => Err(self.tell_apart(error)),
        }
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}
