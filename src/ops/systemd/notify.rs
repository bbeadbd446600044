//! Tells systemd how the service fares (sd_notify(3)): by datagrams to the socket that systemd names. No
//! part of the service depends on whether they arrive.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use log::warn;

use crate::base::clock;
use crate::observe::logging::LogThrottle;

#[derive(Debug)]
pub(crate) struct Notifier {
    socket: UnixDatagram,
    address: SocketAddr,
    said: LogThrottle,
}

impl Notifier {
    /// The socket that the environment names; `None` where it names none. A name that cannot be used is
    /// logged, and the service starts all the same.
    pub(crate) fn from_environment() -> Option<Self> {
        let name = std::env::var_os("NOTIFY_SOCKET")?;
        let notifier = Self::to(&name);
        if let Err(error) = &notifier {
            warn!("systemd is told nothing: NOTIFY_SOCKET={name:?}: {error}");
        }
        notifier.ok()
    }

    fn to(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        // A service manager that does not listen is not waited for.
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            address,
            said: LogThrottle::default(),
        })
    }

    /// Sends assignments, one a line, as in `READY=1`.
    pub(crate) fn tell(&self, state: &str) {
        // By name each time, not connected: a systemd that is restarted makes a new socket.
        let sent = self.socket.send_to_addr(state.as_bytes(), &self.address);
        if let Err(error) = sent
            && let Some(more) = self.said.say("notify", clock::now())
        {
            warn!("systemd was not told {state:?}: {error}{more}");
        }
    }
}

/// The longest that systemd waits to be told that the service is well; `None` where systemd does not watch
/// this process.
pub(crate) fn watchdog_limit() -> Option<Duration> {
    let variable = |name| std::env::var(name).ok();
    parse_limit(
        variable("WATCHDOG_USEC").as_deref(),
        variable("WATCHDOG_PID").as_deref(),
        std::process::id(),
    )
}

/// By sd_watchdog_enabled(3): without `WATCHDOG_PID` the limit is meant for every process that reads it.
fn parse_limit(usec: Option<&str>, pid: Option<&str>, own_pid: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own_pid)) {
        return None;
    }
    let usec = usec?.parse().ok().filter(|&usec| usec > 0);
    if usec.is_none() {
        warn!("the watchdog is not fed: WATCHDOG_USEC is no number of microseconds");
    }
    usec.map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_for_another_process_is_not_ours() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(parse_limit(Some("1000000"), None, 7), second);
        assert_eq!(parse_limit(Some("1000000"), Some("7"), 7), second);
        for (usec, pid) in [
            (None, None),
            (None, Some("7")),
            (Some("1000000"), Some("8")),
            (Some("1000000"), Some("")),
            (Some("0"), None),
            (Some("-1"), None),
            (Some("1s"), Some("7")),
        ] {
            assert_eq!(parse_limit(usec, pid, 7), None, "{usec:?} {pid:?}");
        }
    }

    #[test]
    fn a_name_that_begins_with_an_at_sign_is_abstract() {
        let name = format!("evenkeel-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let systemd = UnixDatagram::bind_addr(&address).expect("a free name");
        let notifier = Notifier::to(format!("@{name}").as_ref()).expect("a name");
        notifier.tell("READY=1");
        let mut received = [0; 16];
        let length = systemd.recv(&mut received).expect("a datagram");
        assert_eq!(&received[..length], b"READY=1");
    }

    #[test]
    fn a_service_manager_that_is_not_there_stops_nothing() {
        let notifier = Notifier::to("/nowhere/notify".as_ref()).expect("a path");
        notifier.tell("READY=1");
        assert!(Notifier::to("/".repeat(200).as_ref()).is_err());
    }
}
