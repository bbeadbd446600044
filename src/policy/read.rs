//! The policy's first two steps: a batch of lookups waits for a reader, which asks Redis for it, each
//! node for its own keys.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Instant;

use crate::base::clock::{self, Deadline};
use crate::cache::node::CallOptions;
use crate::cache::read::read;
use crate::cache::routing::fan_out::{NodeBatch, Turn, fan_out};
use crate::cache::routing::redirect::{Redirect, Reply};
use crate::policy::flight::Target;
use crate::policy::{Answer, FRONT_MAX_BYTES, Lookup, On, Policy, has_waited};

impl Policy {
    /// Step 1: a batch of lookups from the front. They wait for a reader, each in the lane of its node,
    /// unless that is not worth asking.
    pub(crate) fn submit(&self, batch: Vec<Lookup>) {
        if batch.is_empty() {
            return;
        }
        let (now, slot_map) = (clock::now(), self.cache.slot_map());
        let (mut asked, mut others) = (Vec::with_capacity(batch.len()), Vec::new());
        for lookup in batch {
            let node = slot_map.node(|| self.slot_of(&lookup.target));
            match node.filter(|node| node.is_usable(now)) {
                Some(node) => asked.push((node.id(), lookup)),
                None => others.push(lookup),
            }
        }
        let no_room = self.reads.put(asked);
        self.stale_or(no_room, &Answer::Shed, On::Front);
        self.fall_back(others, On::Front);
    }

    /// Step 2, on a reader: asks Redis for a batch, each node in one call. Whatever goes wrong, no
    /// request pays for Redis twice.
    pub(crate) fn read(&self, reader: usize, batch: &mut Vec<Lookup>) {
        let slot = |lookup: &Lookup| self.slot_of(&lookup.target);
        fan_out(self.cache.router(), batch.drain(..), slot, |turn| {
            match turn {
                Turn::Ask(batch) => return self.ask(reader, batch),
                Turn::GiveUp(lookups) => self.fall_back(lookups, On::Worker),
            }
            Vec::new()
        });
    }

    /// Step 2a: one node is asked for what it serves. Returns what it sends elsewhere; everybody else
    /// is answered first.
    fn ask(&self, reader: usize, part: NodeBatch<Lookup>) -> Vec<(Lookup, Redirect)> {
        let now = clock::now();
        let asking = part.asking;
        let (node, mut items) = (part.node, part.items);
        let mut elsewhere = Vec::new();
        let Some(permit) = node.permit(now) else {
            self.fall_back(items, On::Worker);
            return elsewhere;
        };
        // Who has waited for as long as Redis may take has too little left to spend on it.
        let patience = self.cache.limits().patience();
        let has_time = |lookup: &Lookup| !lookup.is_at_hand && has_waited(lookup, now) < patience;
        let others: Vec<_> = items.extract_if(.., |lookup| !has_time(lookup)).collect();
        self.fall_back(others, On::Worker);
        if permit.is_trial() && items.len() > 1 {
            self.fall_back(items.drain(1..), On::Worker);
        }
        let Some(oldest) = items.iter().map(|lookup| lookup.arrived).min() else {
            return elsewhere;
        };
        let options = CallOptions {
            caller: reader,
            waiting: Some((items.len(), oldest)),
            deadline: Deadline::after(oldest, self.cache.limits().timeout),
            asking,
        };
        let values = {
            let (keys, places) = self.distinct_keys(&items);
            let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
            let values = read(&node, permit, &keys, options);
            values.map(|values| (values, places))
        };
        let Ok((values, places)) = values else {
            self.fall_back(items, On::Worker);
            return elsewhere;
        };
        // One look for all: what lies between the first and the last is not seen.
        let had = clock::now();
        // Large answers take long to build: they stand in nobody's way.
        let mut large = Vec::new();
        for (lookup, place) in items.into_iter().zip(places) {
            match &values[place] {
                Reply::Here(Some(value)) if value.len() > FRONT_MAX_BYTES => {
                    large.push((lookup, value));
                }
                Reply::Here(Some(value)) => self.hit(lookup, value, now, had),
                Reply::Here(None) => {
                    let copy = self.recall(&lookup.target);
                    self.fill(lookup, copy, true, On::Worker);
                }
                Reply::Elsewhere(redirect) => elsewhere.push((lookup, redirect.clone())),
                Reply::Nowhere => self.fall_back([lookup], On::Worker),
            }
        }
        for (lookup, value) in large {
            self.hit(lookup, value, now, clock::now());
        }
        elsewhere
    }

    /// Step 2b: Redis has it. Whether its life there nears its end is looked at later, off this way.
    /// `asked`: when; `had`: when the reply was there.
    fn hit(&self, lookup: Lookup, value: &str, asked: Instant, had: Instant) {
        let Target { route, key } = &lookup.target;
        let ttl = self.routes[*route].ttl;
        if self.memory.remember_hit(*route, key, value, ttl, asked) {
            // Without room for it, it is due again soon.
            drop(self.lives.put(vec![lookup.target.clone()]));
        }
        self.answer_at(lookup, &Answer::Redis(value), had);
    }

    /// The distinct keys of a batch, and for each lookup the place of its own among them.
    pub(crate) fn distinct_keys<'a>(&self, batch: &'a [Lookup]) -> (Vec<Cow<'a, str>>, Vec<usize>) {
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
