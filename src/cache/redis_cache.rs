//! Redis, as one process sees it: what others ask of it. Every decision about one server is its node's.

use std::sync::Arc;
use std::time::Instant;

use crate::base::clock::Deadline;
use crate::cache::limits::Limits;
use crate::cache::node::Node;
use crate::cache::node::factory::NodeFactory;
use crate::cache::routing::hash_slot::HashSlot;
use crate::cache::routing::router::Router;
use crate::cache::routing::slot_map::SlotMap;
use crate::cache::status::Status;
use crate::cache::ttl::{KeyTtl, ttls};
use crate::cache::write::{Entry, Written, write, write_unless_younger};
use crate::config;
use crate::observe::metrics::Metrics;

pub(crate) struct RedisCache {
    router: Router,
}

impl RedisCache {
    /// For `callers` threads that make calls. Opens no connection. Where the nodes have to be found
    /// first, it has none until [`Topology`](crate::cache::topology::Topology) has found them.
    #[must_use]
    pub(crate) fn new(
        redis: &config::Redis,
        breaker: &config::Breaker,
        callers: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        let factory = NodeFactory::new(redis, breaker, callers, metrics);
        Self {
            router: Router::new(&redis.servers, factory),
        }
    }

    /// Who serves what, for those who ask the nodes themselves.
    #[must_use]
    pub(crate) fn router(&self) -> &Router {
        &self.router
    }

    /// What Redis may cost, and how much is asked of it at once.
    #[must_use]
    pub(crate) fn limits(&self) -> &Limits {
        &self.router.factory.limits
    }

    /// Which node serves which key, now.
    #[must_use]
    pub(crate) fn slot_map(&self) -> Arc<SlotMap> {
        self.router.slot_map()
    }

    /// What is known, without asking anybody.
    #[must_use]
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
        write(&self.router, caller, entries, deadline)
    }

    /// Writes those of `entries` that would live longer than what Redis has of the same key: what
    /// lives longer was written later, by us or by another service.
    pub(crate) fn write_unless_younger(
        &self,
        caller: usize,
        entries: &[Entry<'_>],
        deadline: Deadline,
    ) -> Written {
        write_unless_younger(&self.router, caller, entries, deadline)
    }

    /// How long each of `keys` will live, asked on behalf of thread `caller`, each node's in one go.
    /// None: its node is not to be asked, or the call failed.
    #[must_use]
    pub(crate) fn ttls(
        &self,
        caller: usize,
        keys: &[&str],
        deadline: Deadline,
    ) -> Vec<Option<KeyTtl>> {
        ttls(&self.router, caller, keys, deadline)
    }

    /// Whether a write of a key would be tried now.
    #[must_use]
    pub(crate) fn takes_writes(&self, slot: impl FnOnce() -> HashSlot, now: Instant) -> bool {
        let slot_map = self.slot_map();
        let node = slot_map.node(slot);
        node.is_some_and(|node| node.takes_writes(now))
    }

    /// Whether there is a node that would be written to now.
    #[must_use]
    pub(crate) fn takes_any_writes(&self, now: Instant) -> bool {
        let slot_map = self.slot_map();
        slot_map.nodes().iter().any(|node| node.takes_writes(now))
    }

    /// Since when the node of a key is of use again, if it was ever lost: what it had may be gone.
    #[must_use]
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
    #[must_use]
    pub(crate) fn is_calling(&self) -> bool {
        self.slot_map().nodes().iter().any(|node| node.is_calling())
    }
}
