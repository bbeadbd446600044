//! Values that many replies are made of.

use redis::Value;

use crate::config::HostPort;

/// A string, however it is sent.
pub(crate) fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}

/// A server as another server names it, if that can be a host at all.
pub(crate) fn server(host: String, port: u16) -> Option<HostPort> {
    let is_of_a_host = |c: char| c.is_ascii_alphanumeric() || "._-:%".contains(c);
    let is_host = (1..=255).contains(&host.len()) && host.chars().all(is_of_a_host);
    (is_host && port != 0).then_some(HostPort { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_no_host_is_none() {
        assert!(server("fe80::1%eth0".to_owned(), 1).is_some());
        for host in ["", "a b", "a\n", "a/b", "\u{e4}"] {
            assert_eq!(server(host.to_owned(), 1), None, "{host:?}");
        }
        assert_eq!(server("a".to_owned(), 0), None);
    }
}
