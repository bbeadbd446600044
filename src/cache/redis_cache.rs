//! Redis, as one process sees it: what others ask of it. Every decision about one server is its node's.

use std::sync::Arc;
use std::time::Instant;

use crate::base::clock::Deadline;
use crate::cache::limits::Limits;
use crate::cache::node::factory::NodeFactory;
use crate::cache::node::{CallOptions, Node};
use crate::cache::routing::fan_out::ask_each;
use crate::cache::routing::hash_slot::HashSlot;
use crate::cache::routing::router::Router;
use crate::cache::routing::slot_map::SlotMap;
use crate::cache::status::Status;
use crate::cache::ttl::{KeyTtl, ttls_of_node};
use crate::cache::write::{Entry, Written, write_to_node};
use crate::config;
use crate::observe::metrics::Metrics;

pub(crate) struct RedisCache {
    router: Arc<Router>,
}

impl RedisCache {
    /// For `callers` threads that make calls. Opens no connection. Where the nodes have to be found
    /// first, it has none until [`Topology`](crate::cache::topology::Topology) has found them.
    pub(crate) fn new(
        redis: &config::Redis,
        breaker: &config::Breaker,
        callers: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        let factory = NodeFactory::new(redis, breaker, callers, metrics);
        Self {
            router: Arc::new(Router::new(&redis.servers, factory)),
        }
    }

    /// Who serves what, for those who ask the nodes themselves.
    pub(crate) fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// What Redis may cost, and how much is asked of it at once.
    pub(crate) fn limits(&self) -> &Limits {
        &self.router.factory.limits
    }

    /// Which node serves which key, now.
    pub(crate) fn slot_map(&self) -> Arc<SlotMap> {
        self.router.slot_map()
    }

    /// What is known, without asking anybody.
    pub(crate) fn status(&self, now: Instant) -> Status {
        self.router.status(now)
    }

    /// Writes `entries` on behalf of thread `caller`, each node's in one go.
    pub(crate) fn write(
        &self,
        caller: usize,
        entries: &[Entry<'_>],
        deadline: Deadline,
    ) -> Written {
        let slot = |entry: &Entry<'_>| HashSlot::of(entry.key);
        let answers = ask_each(&self.router, entries, slot, |batch, own| {
            let options = CallOptions::unwaited(caller, deadline, batch.asking);
            write_to_node(&batch.node, own, options)
        });
        let mut written = Written::default();
        for (at, answer) in answers.into_iter().enumerate() {
            match answer {
                Some(taken) => written.taken += usize::from(taken),
                None => written.refused.push(at),
            }
        }
        written
    }

    /// Writes those of `entries` that would live longer than what Redis has of the same key: what
    /// lives longer was written later, by us or by another service.
    pub(crate) fn write_unless_younger(
        &self,
        caller: usize,
        entries: &[Entry<'_>],
        deadline: Deadline,
    ) -> Written {
        let keys: Vec<&str> = entries.iter().map(|entry| entry.key).collect();
        let ttls = self.ttls(caller, &keys, deadline);
        let (mut older, mut numbers, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (entry, ttl)) in entries.iter().zip(ttls).enumerate() {
            let is_older = match ttl {
                Some(KeyTtl::Left(left)) => left < entry.ttl,
                Some(KeyTtl::Endless) => false,
                Some(KeyTtl::Gone | KeyTtl::Unknown) => true,
                None => {
                    refused.push(at);
                    continue;
                }
            };
            if is_older {
                older.push(entry.clone());
                numbers.push(at);
            }
        }
        let written = self.write(caller, &older, deadline);
        refused.extend(written.refused.into_iter().map(|at| numbers[at]));
        Written {
            taken: written.taken,
            refused,
        }
    }

    /// How long each of `keys` will live, asked on behalf of thread `caller`, each node's in one go.
    /// None: its node is not to be asked, or the call failed.
    pub(crate) fn ttls(
        &self,
        caller: usize,
        keys: &[&str],
        deadline: Deadline,
    ) -> Vec<Option<KeyTtl>> {
        let slot = |key: &&str| HashSlot::of(key);
        ask_each(&self.router, keys, slot, |batch, own| {
            let options = CallOptions::unwaited(caller, deadline, batch.asking);
            ttls_of_node(&batch.node, own, options)
        })
    }

    /// Whether a write of a key would be tried now.
    pub(crate) fn takes_writes(&self, slot: impl FnOnce() -> HashSlot, now: Instant) -> bool {
        let slot_map = self.slot_map();
        let node = slot_map.node(slot);
        node.is_some_and(|node| node.takes_writes(now))
    }

    /// Whether there is a node that would be written to now.
    pub(crate) fn takes_any_writes(&self, now: Instant) -> bool {
        let slot_map = self.slot_map();
        slot_map.nodes().iter().any(|node| node.takes_writes(now))
    }

    /// Since when the node of a key is of use again, if it was ever lost: what it had may be gone.
    pub(crate) fn back_since(&self, slot: impl FnOnce() -> HashSlot) -> Option<Instant> {
        self.slot_map().node(slot)?.log.back_since()
    }

    /// Looks at the calls in flight, and gives up nodes that stall; of each node's lookups so many
    /// `waiting` ones wait for a reader for too long.
    pub(crate) fn watch(&self, waiting: impl Fn(&Node) -> usize, now: Instant) {
        for node in self.slot_map().nodes() {
            node.watch(waiting(node), now);
        }
    }

    /// Whether a call is in flight.
    pub(crate) fn is_calling(&self) -> bool {
        self.slot_map().nodes().iter().any(|node| node.is_calling())
    }
}
