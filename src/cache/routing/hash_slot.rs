//! Slots: the 16,384 parts into which a Redis Cluster divides all keys. Pure. By the cluster
//! specification of Redis, "Key distribution model" and "Hash tags".

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
    pub fn of(key: &str) -> Self {
        let key = key.as_bytes();
        Self(CRC.checksum(tag(key)) % SLOTS as u16)
    }

    /// The slot of this number, if there is one.
    pub fn numbered(number: u64) -> Option<Self> {
        let number = u16::try_from(number).ok()?;
        (usize::from(number) < SLOTS).then_some(Self(number))
    }

    /// From 0 to [`SLOTS`] - 1.
    pub fn number(self) -> usize {
        usize::from(self.0)
    }
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
        fn every_key_has_a_slot_and_its_tag_the_same(key in "\\PC{0,30}", tag in "[^{}]{1,10}") {
            proptest::prop_assert!(HashSlot::of(&key).number() < SLOTS);
            let rest = key.replace(['{', '}'], "");
            proptest::prop_assert_eq!(HashSlot::of(&format!("{rest}{{{tag}}}{key}")), HashSlot::of(&tag));
        }
    }
}
