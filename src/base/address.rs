//! Where a listening socket is: an address and a port, or the path of a Unix socket that systemd has made.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::SockAddr;

/// As getsockname(2) says.
#[derive(Debug, Clone)]
pub(crate) struct Address(SockAddr);

impl Address {
    pub(crate) fn new(address: SockAddr) -> Self {
        Self(address)
    }

    pub(crate) fn is_unix(&self) -> bool {
        self.0.is_unix()
    }

    /// Where to connect to, to reach who listens here.
    pub(crate) fn reachable(&self) -> SockAddr {
        match self.0.as_socket() {
            Some(SocketAddr::V4(mut v4)) if v4.ip().is_unspecified() => {
                v4.set_ip(Ipv4Addr::LOCALHOST);
                v4.into()
            }
            Some(SocketAddr::V6(mut v6)) if v6.ip().is_unspecified() => {
                v6.set_ip(Ipv6Addr::LOCALHOST);
                v6.into()
            }
            _ => self.0.clone(),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self(address.into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.0.as_socket() {
            return write!(f, "{address}");
        }
        if let Some(path) = self.0.as_pathname() {
            return write!(f, "unix:{}", path.display());
        }
        let name = self.0.as_abstract_namespace().unwrap_or_default();
        write!(f, "unix:@{}", name.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_reached_over_loopback_of_the_same_family() {
        let reached = |address: &str| {
            let address: SocketAddr = address.parse().expect("an address");
            Address::new(Address::from(address).reachable()).to_string()
        };
        assert_eq!(reached("0.0.0.0:5000"), "127.0.0.1:5000");
        assert_eq!(reached("[::]:5000"), "[::1]:5000");
        assert_eq!(reached("10.1.2.3:80"), "10.1.2.3:80");
    }

    #[test]
    fn unix_sockets_are_shown_by_their_names() {
        let shown = |name: &str| {
            let address = SockAddr::unix(name).expect("a short name");
            Address::new(address).to_string()
        };
        assert_eq!(shown("/run/evenkeel.sock"), "unix:/run/evenkeel.sock");
        assert_eq!(shown("\0even\tkeel"), "unix:@even\\tkeel");
    }
}
