//! The listening sockets that systemd passes (sd_listen_fds(3)): they stay with systemd when the service
//! ends, so that a restart refuses no connection. Whoever connects to one that nobody serves waits for ever:
//! all are served, or there is no start.

use rustix::io::{FdFlags, fcntl_setfd};
use socket2::{Domain, Protocol, Socket, Type};
use std::fmt;

/// Number of the first descriptor that is passed (sd_listen_fds(3)).
const FIRST: usize = 3;

/// Why a passed socket cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotServable {
    /// `LISTEN_PID` or `LISTEN_FDS` is no number.
    Malformed,
    /// The descriptor of this number is something else, in words.
    NoListener(usize, &'static str),
}

impl fmt::Display for NotServable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => write!(f, "LISTEN_PID or LISTEN_FDS of systemd is no number"),
            Self::NoListener(number, what) => write!(
                f,
                "descriptor {number}, passed by systemd, is {what} and no listening TCP or Unix stream socket \
                 (in the socket unit: ListenStream= alone, Accept=no)"
            ),
        }
    }
}

impl std::error::Error for NotServable {}

/// Takes the sockets that were passed to this process. To be called once: the descriptors are owned by
/// what is returned.
///
/// # Errors
/// [`NotServable`]
pub(crate) fn passed_listeners() -> Result<Vec<Socket>, NotServable> {
    let passed = sd_listen_fds::get().map_err(|_| NotServable::Malformed)?;
    let numbered = (FIRST..).zip(passed);
    let listeners = numbered.map(|(number, (_, passed))| {
        let socket = Socket::from(passed.into_std());
        match other_than_a_listener(&socket) {
            None => Ok(socket),
            Some(what) => Err(NotServable::NoListener(number, what)),
        }
    });
    listeners.collect()
}

/// What it is, if it is not a listening stream socket.
fn other_than_a_listener(socket: &Socket) -> Option<&'static str> {
    // A child of ours, should there ever be one, must not keep the port.
    if fcntl_setfd(socket, FdFlags::CLOEXEC).is_err() {
        return Some("closed");
    }
    let Ok(domain) = socket.domain() else {
        return Some("no socket");
    };
    let is_ip = domain == Domain::IPV4 || domain == Domain::IPV6;
    let is_stream = socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
    let is_tcp = |protocol| protocol == Protocol::TCP || protocol == Protocol::MPTCP;
    if !is_ip && domain != Domain::UNIX {
        Some("a socket of another family")
    } else if !is_stream {
        Some("a socket for datagrams or packets")
    } else if is_ip && !socket.protocol().ok().flatten().is_some_and(is_tcp) {
        Some("a socket of another protocol")
    } else if !socket.is_listener().unwrap_or(false) {
        Some("a socket that does not listen")
    } else {
        None
    }
}
