//! The listening socket that systemd passes (sd_listen_fds(3)): it stays with systemd when the
//! service ends, so that a restart refuses no connection.

use std::fmt;
use std::net::TcpListener;
use std::os::fd::OwnedFd;

use log::warn;
use rustix::io::{FdFlags, fcntl_setfd};
use socket2::{Domain, SockRef};

/// Number of the first descriptor that is passed (sd_listen_fds(3)).
const FIRST: usize = 3;

/// Why a passed socket cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotServable {
    /// `LISTEN_PID` or `LISTEN_FDS` is no number.
    Malformed,
    /// The descriptor of this number is something else.
    NoListener(usize),
}

impl fmt::Display for NotServable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => write!(f, "LISTEN_PID or LISTEN_FDS of systemd is no number"),
            Self::NoListener(number) => write!(
                f,
                "descriptor {number}, passed by systemd, is no listening TCP socket \
                 (in the socket unit: ListenStream= with a port, Accept=no)"
            ),
        }
    }
}

impl std::error::Error for NotServable {}

/// Takes the socket that was passed to this process, if one was. To be called once: the descriptor
/// is owned by what is returned.
///
/// # Errors
/// [`NotServable`]: clients that connect to a socket without a server would wait for ever.
pub(crate) fn passed_listener() -> Result<Option<TcpListener>, NotServable> {
    let passed = sd_listen_fds::get().map_err(|_| NotServable::Malformed)?;
    let numbered = (FIRST..).zip(passed);
    let listeners = numbered.map(|(number, (_, passed))| {
        let passed = passed.into_std();
        match is_tcp_listener(&passed) {
            true => Ok(TcpListener::from(passed)),
            false => Err(NotServable::NoListener(number)),
        }
    });
    let listeners: Vec<_> = listeners.collect::<Result<_, _>>()?;
    if listeners.len() > 1 {
        let count = listeners.len();
        warn!("systemd passed {count} sockets: only the first is served");
    }
    Ok(listeners.into_iter().next())
}

fn is_tcp_listener(descriptor: &OwnedFd) -> bool {
    let socket = SockRef::from(descriptor);
    let is_ip = |domain| domain == Domain::IPV4 || domain == Domain::IPV6;
    // CLOEXEC: a child process, should there ever be one, must not keep the port.
    socket.domain().is_ok_and(is_ip)
        && socket.is_listener().unwrap_or(false)
        && fcntl_setfd(descriptor, FdFlags::CLOEXEC).is_ok()
}
