//! Hosts and ports: of an address or URL, and lists of them. Errors say which part is wrong and never show
//! it: what stands where a port should be may be half a password.

use std::fmt;
use std::net::Ipv6Addr;

use crate::config::setting::{Parsed, ensure};

/// A host and a port of it; displayed as in a URL, an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// Name or address, without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

impl HostPort {
    /// Reads `host:port`; the port may be left out where there is a usual one.
    pub(crate) fn read(text: &str, usual: Option<u16>) -> Result<Self, String> {
        let (host, port) = host_and_port(text)?;
        let port = port.or(usual).ok_or("has no port")?;
        ensure(port != 0, "has port 0")?;
        Ok(Self { host, port })
    }
}

/// A host name or address alone, or none.
pub(crate) const HOST: Parsed<Option<String>> = Parsed::by(
    host_or_none,
    "a host name or an address, without a port, or empty",
);

fn host_or_none(text: &str) -> Result<Option<String>, String> {
    match text.parse::<Ipv6Addr>() {
        Ok(address) => Ok(Some(address.to_string())),
        Err(_) if text.is_empty() => Ok(None),
        Err(_) => host_name(text).map(Some),
    }
}

/// `host:port, host:port, ...`, or none; each once.
pub(crate) const NODES: Parsed<Vec<HostPort>> = Parsed::by(
    nodes,
    "host:port, host:port, ... of at most 64 nodes, or empty",
);

/// More to begin with than anybody has.
const MAX_NODES: usize = 64;

fn nodes(text: &str) -> Result<Vec<HostPort>, String> {
    let mut nodes: Vec<HostPort> = Vec::new();
    if text.is_empty() {
        return Ok(nodes);
    }
    ensure(!text.contains("://"), "holds a URL: write host:port alone")?;
    for (index, part) in text.split(',').map(str::trim).enumerate() {
        let of_node = |why: String| format!("node {} {why}", index + 1);
        let empty = of_node("is empty: is there a comma too many?".to_owned());
        ensure(!part.is_empty(), empty)?;
        let node = HostPort::read(part, None).map_err(of_node)?;
        let twice = of_node("is there already".to_owned());
        ensure(!nodes.contains(&node), twice)?;
        nodes.push(node);
    }
    let count = nodes.len();
    ensure(count <= MAX_NODES, format!("has {count} nodes"))?;
    Ok(nodes)
}

/// Splits `host`, `host:port` or `[v6]:port`; the host comes without brackets.
///
/// # Errors
/// What is wrong, without the text itself.
pub(crate) fn host_and_port(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let split = rest.split_once(']');
            let (host, rest) = split.ok_or("has no ] after the IPv6 address")?;
            let address: Ipv6Addr = host.parse().map_err(|_| "has no IPv6 address in its []")?;
            let port = rest.strip_prefix(':');
            let other = "has something other than :port after the ]";
            ensure(port.is_some() || rest.is_empty(), other)?;
            (address.to_string(), port)
        }
        None => {
            let split = text.split_once(':');
            let (host, port) = split.map_or((text, None), |(host, port)| (host, Some(port)));
            let colons = "has more than one colon: an IPv6 address goes into []";
            ensure(!port.unwrap_or_default().contains(':'), colons)?;
            (host_name(host)?, port)
        }
    };
    Ok((host, port.map(port_number).transpose()?))
}

/// Letters, digits, `.`, `-` and `_`, of which container names are made too; at most the 253 bytes
/// of RFC 1035. Whether it resolves is not asked.
fn host_name(host: &str) -> Result<String, String> {
    ensure(!host.is_empty(), "has no host")?;
    let is_sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let is_name = host.len() <= 253 && host.bytes().all(is_sound);
    ensure(is_name, "has a host that is neither a name nor an address")?;
    Ok(host.to_owned())
}

/// Digits only: `parse` alone would take a `+` too.
fn port_number(port: &str) -> Result<u16, String> {
    let has_sign = port.starts_with('+');
    let number = port.parse().ok().filter(|_| !has_sign);
    number.ok_or_else(|| "has a port that is not a number up to 65535".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::setting::Rule;

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
            assert_eq!(HOST.parse(host), Ok(Some(host.to_owned())));
        }
        assert_eq!(HOST.parse(""), Ok(None));
        for host in ["redis:6379", "[::1]", "*.example", "a b"] {
            assert!(HOST.parse(host).is_err(), "{host}");
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

    #[test]
    fn a_list_of_nodes_is_read_in_its_order() {
        let nodes = NODES.parse("b.example:26379,a:1 , [::1]:7000").unwrap();
        let shown: Vec<String> = nodes.iter().map(HostPort::to_string).collect();
        assert_eq!(shown, ["b.example:26379", "a:1", "[::1]:7000"]);
        assert_eq!(NODES.parse(""), Ok(vec![]));
    }

    #[test]
    fn a_bad_node_is_named_by_its_number() {
        for (text, reason) in [
            ("a:1,b", "node 2 has no port"),
            ("a:1,", "node 2 is empty: is there a comma too many?"),
            ("a:1,,b:1", "node 2 is empty"),
            ("a:0", "node 1 has port 0"),
            ("a:1,b:1,a:1", "node 3 is there already"),
            ("a:1 b:2", "node 1 has more than one colon"),
            ("::1:7000", "goes into []"),
            ("redis://a:1", "holds a URL"),
        ] {
            let why = NODES.parse(text).unwrap_err();
            assert!(why.contains(reason), "{text}: {why}");
        }
        let many: Vec<String> = (1..=65).map(|port| format!("a:{port}")).collect();
        assert_eq!(NODES.parse(&many.join(",")), Err("has 65 nodes".to_owned()));
        assert!(NODES.parse(&many[1..].join(",")).is_ok());
    }
}
