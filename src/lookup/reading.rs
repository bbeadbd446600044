//! The policy's first two steps: a batch of lookups waits for a reader, which asks Redis for it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Instant;

use super::{Answer, FRONT_MAX_BYTES, Lookup, Lookups, On};
use crate::cache::Unusable;
use crate::clock;
use crate::flight::Target;

impl Lookups {
    /// Step 1: a batch of lookups from the front. They wait for a reader, unless Redis is not worth
    /// asking.
    pub fn submit(&self, batch: Vec<Lookup>) {
        if batch.is_empty() {
            return;
        }
        if self.cache.is_usable(clock::now()) {
            let no_room = self.reads.put(batch);
            self.turn_away(no_room, &Answer::Shed, On::Front);
        } else {
            self.without_redis(batch, On::Front);
        }
    }

    /// Step 2, on a reader: asks Redis for a batch in one call. Whatever goes wrong, no request
    /// pays for Redis twice.
    pub fn read(&self, reader: usize, batch: &mut Vec<Lookup>) {
        let now = clock::now();
        let Some(permit) = self.cache.permit(now) else {
            return self.without_redis(batch.drain(..), On::Worker);
        };
        // Who has waited for as long as Redis may take has too little left to spend on it.
        let patience = self.cache.patience();
        let waited = |lookup: &Lookup| now.saturating_duration_since(lookup.arrived);
        let has_time = |lookup: &Lookup| !lookup.is_at_hand && waited(lookup) < patience;
        let others: Vec<_> = batch.extract_if(.., |lookup| !has_time(lookup)).collect();
        self.without_redis(others, On::Worker);
        if permit.is_trial() && batch.len() > 1 {
            self.without_redis(batch.drain(1..), On::Worker);
        }
        let Some(oldest) = batch.iter().map(|lookup| lookup.arrived).min() else {
            return;
        };
        let values = {
            let (keys, places) = self.distinct_keys(batch);
            let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
            let values = self.cache.read(permit, reader, &keys, batch.len(), oldest);
            values.map(|values| (values, places))
        };
        match values {
            Ok((values, places)) => {
                // Large answers take long to build: they stand in nobody's way.
                let mut large = Vec::new();
                for (lookup, place) in batch.drain(..).zip(places) {
                    match &values[place] {
                        Some(value) if value.len() > FRONT_MAX_BYTES => large.push((lookup, value)),
                        Some(value) => self.hit(lookup, value, now),
                        None => {
                            let copy = self.recall(&lookup.target);
                            self.fill(lookup, copy, true, On::Worker);
                        }
                    }
                }
                for (lookup, value) in large {
                    self.hit(lookup, value, now);
                }
            }
            Err(Unusable) => self.without_redis(batch.drain(..), On::Worker),
        }
    }

    /// Step 2a: Redis has it. Whether its life there nears its end is looked at later, off this way.
    fn hit(&self, lookup: Lookup, value: &str, now: Instant) {
        let Target { route, key } = &lookup.target;
        let ttl = self.routes[*route].ttl;
        if self.memory.remember_hit(*route, key, value, ttl, now) {
            // Without room for it, it is due again soon.
            drop(self.lives.put(vec![lookup.target.clone()]));
        }
        self.answer(lookup, &Answer::Redis(value));
    }

    /// The distinct keys of a batch, and for each lookup the place of its own among them.
    pub(super) fn distinct_keys<'a>(&self, batch: &'a [Lookup]) -> (Vec<Cow<'a, str>>, Vec<usize>) {
        let mut keys = Vec::with_capacity(batch.len());
        let mut seen: HashMap<Cow<'_, str>, usize> = HashMap::with_capacity(batch.len());
        let mut places = Vec::with_capacity(batch.len());
        for lookup in batch {
            let key = self.full_key(&lookup.target);
            let place = *seen.entry(key).or_insert_with_key(|key| {
                keys.push(key.clone());
                keys.len() - 1
            });
            places.push(place);
        }
        (keys, places)
    }
}
