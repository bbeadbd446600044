//! What a node of a cluster says when a key is not its own. Pure. By the cluster specification of Redis,
//! "Redirection and resharding".

use redis::ServerError;

use crate::cache::routing::hash_slot::HashSlot;
use crate::cache::wire::reply::server;
use crate::config::HostPort;

/// What a node says to a command about one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply<T> {
    /// The answer itself.
    Here(T),
    /// Another node is to be asked.
    Elsewhere(Redirect),
    /// No node serves that slot.
    Nowhere,
}

impl<T> Reply<T> {
    /// What `error` of the node at `host` says of which node serves the slot; `None` where it is about anything
    /// else.
    pub(crate) fn of_error(error: &ServerError, host: &str) -> Option<Self> {
        if let Some(redirect) = Redirect::of(error, host) {
            return Some(Self::Elsewhere(redirect));
        }
        // A redirect that cannot be read is one to a node that has no name yet.
        let is_unreadable = matches!(error.code(), "MOVED" | "ASK");
        (is_unreadable || is_unserved(error)).then_some(Self::Nowhere)
    }
}

/// Where a key is to be asked for instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Redirect {
    pub slot: HashSlot,
    pub to: HostPort,
    /// For this once only, and with ASKING before the command: the slot is on its way there.
    pub asking: bool,
}

impl Redirect {
    /// What `MOVED 3999 127.0.0.1:6381` or `ASK ...` of the node at `by` says; `None` for any other
    /// error. Without a host it means the host that said it.
    pub(crate) fn of(error: &ServerError, by: &str) -> Option<Self> {
        let asking = match error.code() {
            "MOVED" => false,
            "ASK" => true,
            _ => return None,
        };
        let (slot, node) = error.details()?.split_once(' ')?;
        // An IPv6 address stands there without brackets.
        let (host, port) = node.trim_end().rsplit_once(':')?;
        let host = if host.is_empty() { by } else { host };
        Some(Self {
            slot: HashSlot::numbered(slot.parse().ok()?)?,
            to: server(host.to_owned(), port.parse().ok()?)?,
            asking,
        })
    }
}

/// Whether no node serves the slot of the key; the other CLUSTERDOWN says that the whole cluster is down.
fn is_unserved(error: &ServerError) -> bool {
    let details = error.details().unwrap_or_default();
    error.code() == "CLUSTERDOWN" && details.starts_with("Hash slot not served")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::routing::hash_slot::SLOTS;

    fn redirect(line: &str) -> Option<Redirect> {
        let raw = format!("-{line}\r\n");
        match redis::parse_redis_value(raw.as_bytes()) {
            Ok(redis::Value::ServerError(error)) => Redirect::of(&error, "10.0.0.1"),
            other => panic!("not an error reply: {other:?}"),
        }
    }

    #[test]
    fn redirects_are_read_in_every_form() {
        for (line, to, asking) in [
            ("MOVED 3999 127.0.0.1:6381", "127.0.0.1:6381", false),
            (
                "ASK 3999 redis-2.example:6381",
                "redis-2.example:6381",
                true,
            ),
            ("MOVED 3999 2001:db8::1:6381", "[2001:db8::1]:6381", false),
            ("MOVED 3999 :6381", "10.0.0.1:6381", false),
        ] {
            let redirect = redirect(line).expect(line);
            assert_eq!(redirect.to.to_string(), to);
            assert_eq!((redirect.slot.number(), redirect.asking), (3999, asking));
        }
        for line in [
            "MOVED",
            "MOVED 3999",
            "MOVED 16384 a:1",
            "MOVED x a:1",
            "MOVED 1 a:0",
            "MOVED 1 a b:1",
            "ASK 1 a",
            "CROSSSLOT Keys in request don't hash to the same slot",
        ] {
            assert_eq!(redirect(line), None, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_reply_of_a_server_is_a_redirect_or_none(text in "(MOVED|ASK) [0-9]{0,6}[ :]?\\PC{0,20}") {
            if let Some(redirect) = redirect(&text.replace(['\r', '\n'], " ")) {
                proptest::prop_assert!(redirect.slot.number() < SLOTS);
                proptest::prop_assert!(redirect.to.port > 0 && !redirect.to.host.is_empty());
            }
        }
    }
}
