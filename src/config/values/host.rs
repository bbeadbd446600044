//! Hosts and ports: of an address or URL, and lists of them. Errors say which part is wrong and never show it: what
//! stands where a port should be may be half a password.

use std::fmt;
use std::net::Ipv6Addr;

use crate::config::setting::Rule;

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

/// A host name or address alone, or none.
pub(crate) struct HostRule;

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
pub(crate) fn host_and_port(text: &str) -> Result<(String, Option<u16>), String> {
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

/// `host:port, host:port, ...`, or none; each once.
pub(crate) struct NodesRule;

/// More to begin with than anybody has.
const MAX_NODES: usize = 64;

impl Rule for NodesRule {
    type Value = Vec<HostPort>;

    fn parse(&self, text: &str) -> Result<Vec<HostPort>, String> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        if text.contains("://") {
            return Err("holds a URL: write host:port alone".to_owned());
        }
        let mut nodes: Vec<HostPort> = Vec::new();
        for (index, part) in text.split(',').enumerate() {
            let number = index + 1;
            let why = |why: &str| format!("node {number} {why}");
            let node = node(part.trim()).map_err(|reason| why(&reason))?;
            if nodes.contains(&node) {
                return Err(why("is there already"));
            }
            nodes.push(node);
        }
        if nodes.len() > MAX_NODES {
            return Err(format!("has {} nodes", nodes.len()));
        }
        Ok(nodes)
    }

    fn allowed(&self) -> String {
        format!("host:port, host:port, ... of at most {MAX_NODES} nodes, or empty")
    }
}

/// Reads one of them.
fn node(text: &str) -> Result<HostPort, String> {
    if text.is_empty() {
        return Err("is empty: is there a comma too many?".to_owned());
    }
    match host_and_port(text)? {
        (_, None) => Err("has no port".to_owned()),
        (_, Some(0)) => Err("has port 0".to_owned()),
        (host, Some(port)) => Ok(HostPort { host, port }),
    }
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

    #[test]
    fn a_list_of_nodes_is_read_in_its_order() {
        let nodes = NodesRule.parse("b.example:26379,a:1 , [::1]:7000").unwrap();
        let shown: Vec<String> = nodes.iter().map(HostPort::to_string).collect();
        assert_eq!(shown, ["b.example:26379", "a:1", "[::1]:7000"]);
        assert_eq!(NodesRule.parse(""), Ok(vec![]));
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
            let why = NodesRule.parse(text).unwrap_err();
            assert!(why.contains(reason), "{text}: {why}");
        }
        let many: Vec<String> = (1..=65).map(|port| format!("a:{port}")).collect();
        assert_eq!(
            NodesRule.parse(&many.join(",")),
            Err("has 65 nodes".to_owned())
        );
        assert!(NodesRule.parse(&many[1..].join(",")).is_ok());
    }
}
