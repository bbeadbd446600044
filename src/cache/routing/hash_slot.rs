//! Slots: the 16,384 parts into which a Redis Cluster divides all keys, and what its nodes say when a
//! slot is elsewhere. Pure. By the cluster specification of Redis, "Key distribution model", "Hash
//! tags" and "Redirection and resharding".

use redis::ServerError;

use crate::cache::topology::sentinel::monitors::named;
use crate::config::HostPort;

/// How many slots there are.
pub const SLOTS: usize = 16_384;

/// CRC16 as the specification has it: polynomial 0x1021, beginning with 0, nothing reflected (XMODEM).
const CRC: crc::Crc<u16> = crc::Crc::<u16>::new(&crc::CRC_16_XMODEM);

/// The part of all keys that a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HashSlot(u16);

impl HashSlot {
    /// The slot of `key`: of what is between its first `{` and the next `}`, where there is anything,
    /// and else of all of it.
    #[must_use]
    pub fn of(key: &str) -> Self {
        let key = key.as_bytes();
        Self(CRC.checksum(tag(key)) % SLOTS as u16)
    }

    /// The slot of this number, if there is one.
    #[must_use]
    pub fn numbered(number: u64) -> Option<Self> {
        let number = u16::try_from(number).ok()?;
        (usize::from(number) < SLOTS).then_some(Self(number))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> usize {
        usize::from(self.0)
    }
}

/// Where a key is to be asked for instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Of the key.
    pub slot: HashSlot,
    /// The node.
    pub to: HostPort,
    /// For this once, and with ASKING before the command: the slot is on its way there.
    pub asking: bool,
}

impl Redirect {
    /// What `MOVED 3999 127.0.0.1:6381` or `ASK ...` of the node at `by` says; `None` for any other
    /// error. Without a host it means the host that said it.
    #[must_use]
    pub fn of(error: &ServerError, by: &str) -> Option<Self> {
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
            to: named(host.to_owned(), port.parse().ok()?)?,
            asking,
        })
    }
}

/// Whether nobody serves the slot of the key; the other CLUSTERDOWN says that nobody serves anything.
#[must_use]
pub fn is_about_a_slot(error: &ServerError) -> bool {
    let details = error.details().unwrap_or_default();
    error.code() == "CLUSTERDOWN" && details.starts_with("Hash slot not served")
}

/// What of `key` decides on its slot.
fn tag(key: &[u8]) -> &[u8] {
    let Some(begin) = key.iter().position(|&byte| byte == b'{') else {
        return key;
    };
    let after = &key[begin + 1..];
    match after.iter().position(|&byte| byte == b'}') {
        None | Some(0) => key,
        Some(end) => &after[..end],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// As `CLUSTER KEYSLOT` of Redis 7.0 answers.
    #[test]
    fn slots_are_those_of_redis() {
        for (key, slot) in [
            ("", 0),
            ("123456789", 12739),
            ("foo", 12182),
            ("a", 15495),
            ("{user1000}.following", 3443),
            ("{user1000}.followers", 3443),
            ("user1000", 3443),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
            ("foo{bar}{zap}", 5061),
            ("{", 4092),
            ("}{a}", 15495),
            ("\u{e4}", 13929),
        ] {
            assert_eq!(HashSlot::of(key).number(), slot, "{key:?}");
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

        #[test]
        fn every_key_has_a_slot_and_its_tag_the_same(key in "\\PC{0,30}", tag in "[^{}]{1,10}") {
            proptest::prop_assert!(HashSlot::of(&key).number() < SLOTS);
            let rest = key.replace(['{', '}'], "");
            proptest::prop_assert_eq!(HashSlot::of(&format!("{rest}{{{tag}}}{key}")), HashSlot::of(&tag));
        }
    }
}
