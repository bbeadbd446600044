//! The address to listen on. A name is resolved while the configuration is read, so that one that
//! does not resolve is a mistake like any other; the port is not touched.

use std::net::{SocketAddr, ToSocketAddrs};

use crate::config::setting::{Rule, refuse_empty};
use crate::config::values::host::host_and_port;

/// `host:port`; of the addresses of a name the first IPv4 one, else the first.
pub(crate) struct ListenRule;

impl Rule for ListenRule {
    type Value = SocketAddr;

    fn parse(&self, text: &str) -> Result<SocketAddr, String> {
        refuse_empty(text)?;
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        if text.starts_with("*:") || (text.starts_with(':') && !text.starts_with("::")) {
            return Err(
                "has no host: every address of this machine is 0.0.0.0, or [::]".to_owned(),
            );
        }
        if text.contains("://") {
            return Err("is a URL: leave out what precedes the host".to_owned());
        }
        let (host, port) = host_and_port(text)?;
        let port = port.ok_or_else(|| "has no port".to_owned())?;
        let found = (host.as_str(), port).to_socket_addrs();
        let found: Vec<_> = found
            .map_err(|error| format!("can not be resolved: {error}"))?
            .collect();
        let first = found
            .iter()
            .find(|address| address.is_ipv4())
            .or(found.first());
        first
            .copied()
            .ok_or_else(|| "can not be resolved: no address".to_owned())
    }

    fn allowed(&self) -> String {
        "host:port, as in 0.0.0.0:5000 or [::]:5000; port 0 takes a free one".to_owned()
    }
}

/// The same, or nothing.
pub(crate) struct ListenOrNot;

impl Rule for ListenOrNot {
    type Value = Option<SocketAddr>;

    fn parse(&self, text: &str) -> Result<Option<SocketAddr>, String> {
        match text {
            "" => Ok(None),
            text => ListenRule.parse(text).map(Some),
        }
    }

    fn allowed(&self) -> String {
        "host:port, as in 127.0.0.1:5001 or [::1]:5001; port 0 takes a free one; or empty"
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_accepted() {
        for (text, expected) in [
            ("0.0.0.0:5000", "0.0.0.0:5000"),
            ("[::]:5000", "[::]:5000"),
            ("127.0.0.1:0", "127.0.0.1:0"),
        ] {
            assert_eq!(ListenRule.parse(text).unwrap().to_string(), expected);
        }
        assert!(
            ListenRule
                .parse("localhost:5000")
                .unwrap()
                .ip()
                .is_loopback()
        );
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
            let why = ListenRule.parse(text).unwrap_err();
            assert!(why.contains(reason), "{text}: {why}");
        }
    }
}
