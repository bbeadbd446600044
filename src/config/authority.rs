//! The `host:port` of an address or URL. Its errors say which part is wrong and never show it: what
//! stands where a port should be may be half a password.

use std::net::Ipv6Addr;

use crate::config::setting::Rule;

/// A host name or address alone, or none.
pub(super) struct HostRule;

impl Rule for HostRule {
    type Value = Option<String>;

    fn parse(&self, text: &str) -> Result<Option<String>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Ok(Some(address.to_string()));
        }
        host_name(text).map(Some)
    }

    fn allowed(&self) -> String {
        "a host name or an address, without a port, or empty".to_owned()
    }
}

/// Splits `host`, `host:port` or `[v6]:port`; the host comes without brackets.
///
/// # Errors
/// What is wrong, without the text itself.
pub(super) fn host_and_port(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest
                .split_once(']')
                .ok_or("has no ] after the IPv6 address")?;
            let address: Ipv6Addr = host.parse().map_err(|_| "has no IPv6 address in its []")?;
            let port = match port.strip_prefix(':') {
                None if port.is_empty() => None,
                None => return Err("has something other than :port after the ]".to_owned()),
                some => some,
            };
            (address.to_string(), port)
        }
        None => {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            if port.is_some_and(|port| port.contains(':')) {
                return Err("has more than one colon: an IPv6 address goes into []".to_owned());
            }
            (host_name(host)?, port)
        }
    };
    Ok((host, port.map(port_number).transpose()?))
}

/// Letters, digits, `.`, `-` and `_`, of which container names are made too; at most the 253 bytes
/// of RFC 1035. Whether it resolves is not asked.
fn host_name(host: &str) -> Result<String, String> {
    if host.is_empty() {
        return Err("has no host".to_owned());
    }
    let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if host.len() > 253 || !host.bytes().all(sound) {
        return Err("has a host that is neither a name nor an address".to_owned());
    }
    Ok(host.to_owned())
}

/// Digits only: `parse` alone would take a `+` too.
fn port_number(port: &str) -> Result<u16, String> {
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let number = if digits { port.parse().ok() } else { None };
    number.ok_or_else(|| "has a port that is not a number up to 65535".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_addresses_and_ports_are_told_apart() {
        for (text, host, port) in [
            ("localhost", "localhost", None),
            ("redis_1.example:6380", "redis_1.example", Some(6380)),
            ("[::1]:6379", "::1", Some(6379)),
            ("[2001:DB8::1]", "2001:db8::1", None),
        ] {
            assert_eq!(host_and_port(text), Ok((host.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn a_host_alone_is_a_name_or_an_address() {
        for host in ["redis.example", "10.0.0.1", "::1"] {
            assert_eq!(HostRule.parse(host), Ok(Some(host.to_owned())));
        }
        assert_eq!(HostRule.parse(""), Ok(None));
        for host in ["redis:6379", "[::1]", "*.example", "a b"] {
            assert!(HostRule.parse(host).is_err(), "{host}");
        }
    }

    #[test]
    fn a_bad_part_is_named_and_never_shown() {
        for (text, part) in [
            (":6379", "no host"),
            ("hunter2 x", "neither a name"),
            ("h:hunter2", "port"),
            ("h:", "port"),
            ("h:65536", "port"),
            ("h:+1", "port"),
            ("::1:6379", "goes into []"),
            ("[::1", "no ]"),
            ("[hunter2]:1", "IPv6"),
            ("[::1]hunter2", "after the ]"),
        ] {
            let why = host_and_port(text).unwrap_err();
            assert!(
                why.contains(part) && !why.contains("hunter2"),
                "{text}: {why}"
            );
        }
    }
}
