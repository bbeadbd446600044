//! The address to listen on. A name is resolved while the configuration is read, so that one that
//! does not resolve is a mistake like any other; the port is not touched.

use std::net::{SocketAddr, ToSocketAddrs};

use crate::config::setting::{Parsed, ensure};
use crate::config::values::host::host_and_port;

/// `host:port`
pub(crate) const LISTEN: Parsed<SocketAddr> = Parsed::by(
    address,
    "host:port, as in 0.0.0.0:5000 or [::]:5000; port 0 takes a free one",
);

/// The same, or nothing.
pub(crate) const LISTEN_OR_NOT: Parsed<Option<SocketAddr>> = Parsed::by(
    |text| {
        Some(text)
            .filter(|text| !text.is_empty())
            .map(address)
            .transpose()
    },
    "host:port, as in 127.0.0.1:5001 or [::1]:5001; port 0 takes a free one; or empty",
);

/// Of the addresses of a name the first IPv4 one, else the first.
fn address(text: &str) -> Result<SocketAddr, String> {
    ensure(!text.is_empty(), "is empty")?;
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let has_no_host = text.starts_with("*:") || (text.starts_with(':') && !text.starts_with("::"));
    let no_host = "has no host: every address of this machine is 0.0.0.0, or [::]";
    ensure(!has_no_host, no_host)?;
    let url = "is a URL: leave out what precedes the host";
    ensure(!text.contains("://"), url)?;
    let (host, port) = host_and_port(text)?;
    let found = (host.as_str(), port.ok_or("has no port")?).to_socket_addrs();
    let found = found.map_err(|error| format!("can not be resolved: {error}"))?;
    let found: Vec<SocketAddr> = found.collect();
    let first = found.iter().find(|address| address.is_ipv4());
    let first = first.or(found.first()).copied();
    first.ok_or_else(|| "can not be resolved: no address".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::setting::Rule;

    #[test]
    fn addresses_and_names_are_accepted() {
        for (text, expected) in [
            ("0.0.0.0:5000", "0.0.0.0:5000"),
            ("[::]:5000", "[::]:5000"),
            ("127.0.0.1:0", "127.0.0.1:0"),
        ] {
            assert_eq!(LISTEN.parse(text).unwrap().to_string(), expected);
        }
        assert!(LISTEN.parse("localhost:5000").unwrap().ip().is_loopback());
    }

    #[test]
    fn half_an_address_is_told_what_is_missing() {
        for (text, reason) in [
            ("", "is empty"),
            ("5000", "has no port"),
            (":5000", "every address of this machine is 0.0.0.0"),
            ("*:5000", "every address of this machine is 0.0.0.0"),
            ("http://0.0.0.0:5000", "is a URL"),
            ("0.0.0.0:http", "port"),
            ("::1:5000", "goes into []"),
        ] {
            let why = LISTEN.parse(text).unwrap_err();
            assert!(why.contains(reason), "{text}: {why}");
        }
    }
}
