//! The policy's first two steps: lookups wait for a reader, which asks Redis for a batch of them.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::cache::port::{Cache, Question, Told};
use crate::policy::decide::Refusal;
use crate::policy::flight::Target;
use crate::policy::{Lookup, Policy, Read, Waiting};

/// A lookup with the key that Redis is asked for.
struct Asked<'a, C> {
    lookup: Lookup,
    policy: &'a Policy<C>,
}

impl<C: Cache> Question for Asked<'_, C> {
    fn key(&self) -> Cow<'_, str> {
        self.policy.full_key(&self.lookup.target)
    }

    fn since(&self) -> Instant {
        self.lookup.arrived
    }
}

impl<C: Cache> Policy<C> {
    /// Step 1: a batch of lookups from the front. Each waits for a reader in the lane of its server,
    /// unless that is not worth asking.
    pub(crate) fn submit(&self, batch: Vec<Lookup>) {
        if batch.is_empty() {
            return;
        }
        let now = clock::now();
        let (mut asked, mut others) = (Vec::with_capacity(batch.len()), Vec::new());
        let questions = batch.into_iter().map(|lookup| self.question(lookup));
        self.cache
            .choose_lanes(questions, now, |Asked { lookup, .. }, lane| match lane {
                Some(lane) => asked.push((lane, Read::Ask(lookup))),
                None => others.push(lookup),
            });
        for refused in self.reads.put(asked) {
            if let Read::Ask(lookup) = refused {
                let copy = None;
                self.settle_without_source(Waiting { lookup, copy }, Refusal::Shed, now);
            }
        }
        for lookup in others {
            self.settle(lookup, Told::unusable(now));
        }
    }

    /// Step 2, on a reader: asks Redis for a batch, and goes on with each lookup as soon as it is known
    /// what Redis says of it. No request pays for Redis twice.
    pub(crate) fn read(&self, reader: usize, batch: &mut Vec<Read>) {
        let questions = batch.drain(..).filter_map(|read| match read {
            Read::Ask(lookup) => Some(self.question(lookup)),
            Read::Render(rendering) => {
                self.render(*rendering, clock::now());
                None
            }
        });
        self.cache.read(reader, questions, |asked, told| {
            self.settle(asked.lookup, told)
        });
    }

    /// Redis has it: so has memory, from now on. How long Redis will have it is asked later, off this way.
    pub(super) fn keep_hit(&self, target: &Target, value: &str, asked: Instant) {
        let ttl = self.routes[target.route].ttl;
        if self
            .memory
            .remember_hit(target.route, &target.key, value, ttl, asked)
        {
            // Without room for it, it is due again soon.
            drop(self.ttls.put([(0, target.clone())]));
        }
    }

    fn question(&self, lookup: Lookup) -> Asked<'_, C> {
        let policy = self;
        Asked { lookup, policy }
    }
}

impl Read {
    /// How long a lookup has been under way for which Redis is still to be asked.
    pub(super) fn waits_since(&self, now: Instant) -> Option<Duration> {
        match self {
            Self::Ask(lookup) => Some(lookup.waited(now)),
            Self::Render(_) => None,
        }
    }
}
