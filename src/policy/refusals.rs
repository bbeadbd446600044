//! Whether a source that fails for one key after the other is itself in trouble. A single failure of this
//! kind (a 403, a body that is not UTF-8) is the key's own; the same for every key is not. Pure.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

/// The keys that failed since the last success.
#[derive(Debug)]
pub(crate) struct Refusals {
    /// By hash; never more than `enough`.
    keys: HashSet<u64>,
    since: Option<Instant>,
    /// So many different keys, without a success between them ..
    enough: usize,
    /// .. for so long: where the source serves anybody, a success comes in between.
    within: Duration,
}

impl Refusals {
    pub(crate) fn new(enough: usize, within: Duration) -> Self {
        Self {
            keys: HashSet::new(),
            since: None,
            enough: enough.max(1),
            within,
        }
    }

    /// The source has brought a value, or has said that there is none.
    pub(crate) fn clear(&mut self) {
        self.keys.clear();
        self.since = None;
    }

    /// The source failed for `key`. Returns whether that is no longer this key's own trouble.
    pub(crate) fn add(&mut self, key: &str, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        if self.keys.len() < self.enough {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            self.keys.insert(hasher.finish());
        }
        self.keys.len() >= self.enough && now.saturating_duration_since(since) >= self.within
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn many_keys_in_a_row_for_a_while_are_the_source_and_one_key_for_ever_is_not() {
        let now = clock::now();
        let mut refusals = Refusals::new(3, SECOND);
        for n in 0..100 {
            assert!(!refusals.add("a", now + SECOND * n));
        }
        assert!(!refusals.add("b", now + SECOND * 100));
        assert!(refusals.add("c", now + SECOND * 100));
        assert!(refusals.add("a", now + SECOND * 100), "whatever the key");
        refusals.clear();
        assert!(!refusals.add("d", now + SECOND * 101));
    }

    #[test]
    fn many_bad_keys_at_once_between_good_ones_are_not_the_source() {
        let now = clock::now();
        let mut refusals = Refusals::new(3, SECOND);
        for n in 0..1000_u32 {
            let at = now + Duration::from_millis(5) * n;
            assert!(!refusals.add(&n.to_string(), at));
            if n % 50 == 0 {
                refusals.clear();
            }
        }
    }
}
