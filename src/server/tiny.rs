//! tiny_http at work, where it can do no harm. The library parses heads; the clients' sockets are
//! ours. Each event loop keeps one connection to it inside the process, a private Unix stream, and sends
//! it whole, sound heads only, reduced to the fields the service reads. So the library's parse never
//! blocks, never reads beyond a head, and never meets a body (docs/ARCHITECTURE.md says what this
//! saves over letting it read the clients' sockets).

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use tiny_http::{Listener, Server, SslContextWrap};

use crate::server::head::{Field, Head};

/// A request as the library has read it. It borrows the library, because it holds the turn to write
/// to the stream: while it lives, the library could not answer a head that it refuses, and would wait.
pub struct Request<'t> {
    /// `None` only while it is dropped.
    read: Option<tiny_http::Request>,
    tiny_http: PhantomData<&'t mut TinyHttp>,
}

impl Request<'_> {
    /// As sent.
    pub fn method(&self) -> &str {
        self.read.as_ref().map_or("", |read| read.method().as_str())
    }

    /// As sent: visible ASCII.
    pub fn target(&self) -> &str {
        self.read.as_ref().map_or("", tiny_http::Request::url)
    }

    /// Value of a field, where there is one; sound or not.
    pub fn field(&self, field: Field) -> Option<&str> {
        let value = self.read.as_ref()?.headers().get(field.name());
        value.map(|value| value.as_str())
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        // Dropping the writer unused answers nothing, and lets the library go on.
        drop(self.read.take().map(tiny_http::Request::into_writer));
    }
}

type Requests = Box<dyn Iterator<Item = Option<tiny_http::Request>> + Send>;

/// Why a head did not come back as a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// The library does not take this head.
    Refused,
    /// There is no library: the system has no socket for its stream.
    Unavailable,
}

/// The library, and our end of the stream to it; by default without one, until it is needed.
#[derive(Default)]
pub struct TinyHttp {
    stream: Option<(OwnedFd, Requests)>,
    /// The heads that were given, one after the other, until the last of them has been taken.
    outgoing: Vec<u8>,
    /// Where each head that was not taken yet ends, the next one first.
    ends: VecDeque<usize>,
    /// Where the next one begins.
    next_begins: usize,
    is_flushed: bool,
}

impl TinyHttp {
    /// Opens the stream.
    ///
    /// # Errors
    /// When the system has no socket for it.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            stream: Some(connect()?),
            ..Self::default()
        })
    }

    /// Adds a head to those that [`Self::take`] returns as requests.
    pub fn give(&mut self, head: &Head<'_>) {
        let mut push = |parts: [&str; 4]| {
            for part in parts {
                self.outgoing.extend_from_slice(part.as_bytes());
            }
        };
        // The version and what belongs to the connection are our business, as they are a proxy's
        // (RFC 9110 7.6): the library sees HTTP/1.1 and neither Connection nor a body.
        push([head.method, " ", head.target, " HTTP/1.1\r\n"]);
        for (field, value) in Field::ALL.into_iter().zip(head.fields) {
            if let Some(value) = value {
                push([field.name(), ": ", value, "\r\n"]);
            }
        }
        self.outgoing.extend_from_slice(b"\r\n");
        self.ends.push_back(self.outgoing.len());
        self.is_flushed = false;
    }

    /// How many bytes have been given since the last request was taken out.
    pub(crate) fn given_bytes(&self) -> usize {
        self.outgoing.len()
    }

    /// The request of the next head that was given.
    ///
    /// # Errors
    /// [`NotTaken`]; the heads after it come back all the same.
    pub fn take(&mut self) -> Result<Request<'_>, NotTaken> {
        if !self.is_flushed {
            self.flush();
        }
        let taken = match &mut self.stream {
            Some((_, requests)) => requests.next().flatten().ok_or(NotTaken::Refused),
            None => Err(NotTaken::Unavailable),
        };
        self.next_begins = self.ends.pop_front().unwrap_or(self.next_begins);
        if taken.is_err() {
            // A stream on which a head was refused has ended: the next ones go over a new one.
            self.stream = None;
            self.is_flushed = false;
        }
        if self.ends.is_empty() {
            self.outgoing.clear();
            self.next_begins = 0;
        }
        taken.map(|read| Request {
            read: Some(read),
            tiny_http: PhantomData,
        })
    }

    /// Sends what was given. Never waits: the stream's buffer holds more than is given at once, and a
    /// stream that does not take it all is given up.
    fn flush(&mut self) {
        if self.stream.is_none() {
            self.stream = connect().ok();
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let heads = &self.outgoing[self.next_begins..];
        if let Some((ours, _)) = &self.stream
            && rustix::net::send(ours, heads, flags) != Ok(heads.len())
        {
            self.stream = None;
        }
        self.is_flushed = true;
    }
}

/// A stream between us and the library. Its listener exists for this one connection: a backlog of
/// zero holds exactly one, so that ours being taken shows that nobody else's is in front of it.
fn connect() -> io::Result<(OwnedFd, Requests)> {
    let new_socket =
        |flags| rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let plain = SslContextWrap::build_ssl_capabilities(None).map_err(io::Error::other)?;
    for _ in 0..100 {
        let listening = new_socket(SocketFlags::CLOEXEC)?;
        // Unnamed: the kernel chooses an unused abstract name.
        rustix::net::bind(&listening, &SocketAddrUnix::new_unnamed())?;
        rustix::net::listen(&listening, 0)?;
        let address = rustix::net::getsockname(&listening)?;
        let ours = new_socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        match rustix::net::connect(&ours, &address) {
            Ok(()) => {}
            // Somebody on this machine was faster; theirs goes with the listener.
            Err(rustix::io::Errno::AGAIN) => continue,
            Err(error) => return Err(error.into()),
        }
        let listener = Listener::from(UnixListener::from(listening));
        let accepted = Server::accept_connection(&listener, &plain)?;
        let Some(connection) = accepted else { continue };
        return Ok((ours, Box::new(connection.map(Result::ok))));
    }
    Err(io::Error::other("no private stream to the HTTP library"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::head::{Verdict, inspect};

    fn give(tiny_http: &mut TinyHttp, text: &str) {
        match inspect(text.as_bytes(), 60_000) {
            Verdict::Whole(head) => tiny_http.give(&head),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn heads_come_back_as_requests_in_their_order() {
        let mut tiny_http = TinyHttp::open().expect("a stream");
        for round in 0..3 {
            for number in 0..50 {
                let head = format!(
                    "GET /{round}/{number} HTTP/1.0\r\nHost: h\r\nConnection: close\r\nContent-Length: 9\r\n\r\n"
                );
                give(&mut tiny_http, &head);
            }
            for number in 0..50 {
                let request = tiny_http.take().expect("a request");
                assert_eq!(request.target(), format!("/{round}/{number}"));
                assert_eq!(request.field(Field::Host), Some("h"));
            }
        }
    }

    #[test]
    fn a_head_as_large_as_may_be_needs_no_waiting() {
        let mut tiny_http = TinyHttp::open().expect("a stream");
        let target = format!("/{}", "a".repeat(59_000));
        give(
            &mut tiny_http,
            &format!("BREW {target} HTTP/1.1\r\nX-Request-Id: 7\r\n\r\n"),
        );
        let request = tiny_http.take().expect("a request");
        assert_eq!((request.method(), request.target().len()), ("BREW", 59_001));
        assert_eq!(request.field(Field::RequestId), Some("7"));
    }

    #[test]
    fn a_head_that_is_refused_does_not_take_the_others_with_it() {
        let mut tiny_http = TinyHttp::open().expect("a stream");
        give(&mut tiny_http, "GET /1 HTTP/1.1\r\n\r\n");
        // What the event loop never gives: the library answers for itself and ends the stream.
        tiny_http.outgoing.extend_from_slice(b"GET /2\r\n\r\n");
        tiny_http.ends.push_back(tiny_http.outgoing.len());
        give(&mut tiny_http, "GET /3 HTTP/1.1\r\n\r\n");
        let mut target = || tiny_http.take().map(|request| request.target().to_owned());
        assert_eq!(target(), Ok("/1".to_owned()));
        assert_eq!(target(), Err(NotTaken::Refused));
        assert_eq!(target(), Ok("/3".to_owned()));
        give(&mut tiny_http, "GET /4 HTTP/1.1\r\n\r\n");
        let target = tiny_http.take().map(|request| request.target().to_owned());
        assert_eq!(target, Ok("/4".to_owned()));
    }
}
