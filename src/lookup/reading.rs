//! The policy's first two steps: a batch of lookups waits for a reader, which asks Redis for it, each
//! node for its own keys.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Instant;

use super::{Answer, Lookup, Lookups, On};
use crate::cache::Unusable;
use crate::cache::node::Terms;
use crate::cache::parts::{Part, Parts};
use crate::clock::{self, Deadline};
use crate::flight::Target;

impl Lookups {
    /// Step 1: a batch of lookups from the front. They wait for a reader, unless Redis is not worth
    /// asking.
    pub fn submit(&self, batch: Vec<Lookup>) {
        if batch.is_empty() {
            return;
        }
        let (now, table) = (clock::now(), self.cache.table());
        let (asked, others): (Vec<_>, Vec<_>) = batch.into_iter().partition(|lookup| {
            let node = table.node(|| self.slot_of(&lookup.target));
            node.is_some_and(|node| node.is_usable(now))
        });
        let no_room = self.reads.put(asked);
        self.turn_away(no_room, &Answer::Shed, On::Front);
        self.without_redis(others, On::Front);
    }

    /// Step 2, on a reader: asks Redis for a batch, each node in one call. Whatever goes wrong, no
    /// request pays for Redis twice.
    pub fn read(&self, reader: usize, batch: &mut Vec<Lookup>) {
        let table = self.cache.table();
        let slot = |lookup: &Lookup| self.slot_of(&lookup.target);
        let (parts, unserved) = Parts::of(&table, batch.drain(..), slot);
        self.without_redis(unserved, On::Worker);
        for part in parts {
            self.ask(reader, part);
        }
    }

    /// Step 2a: one node is asked for what it serves.
    fn ask(&self, reader: usize, part: Part<Lookup>) {
        let Part { node, mut items } = part;
        let now = clock::now();
        let Some(permit) = node.permit(now) else {
            return self.without_redis(items, On::Worker);
        };
        if permit.is_trial() && items.len() > 1 {
            self.without_redis(items.drain(1..), On::Worker);
        }
        let Some(oldest) = items.iter().map(|lookup| lookup.arrived).min() else {
            return;
        };
        let terms = Terms {
            caller: reader,
            lookups: items.len(),
            deadline: Deadline::after(oldest, self.cache.limits().timeout),
        };
        let values = {
            let (keys, places) = self.distinct_keys(&items);
            let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
            let values = node.read(permit, &keys, terms);
            values.map(|values| (values, places))
        };
        match values {
            Ok((values, places)) => {
                for (lookup, place) in items.into_iter().zip(places) {
                    match &values[place] {
                        Some(value) => self.hit(lookup, value, now),
                        None => {
                            let copy = self.recall(&lookup.target);
                            self.fill(lookup, copy, true, On::Worker);
                        }
                    }
                }
            }
            Err(Unusable) => self.without_redis(items, On::Worker),
        }
    }

    /// Step 2b: Redis has it. Whether its life there nears its end is looked at later, off this way.
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
