//! Redis as a cache that may be gone at any moment: lookups, writes, and whether it is worth asking.
//! Everything that knows the Redis protocol or its client crates is in this folder; nothing here
//! knows routes, sources or HTTP.

pub mod routing;
pub(crate) mod ttl;
pub(crate) mod wire;
pub(crate) mod limits;
pub(crate) mod lookup;
pub(crate) mod node;
pub(crate) mod prober;
pub(crate) mod read;
pub(crate) mod status;
pub(crate) mod topology;
pub(crate) mod write;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use crate::base::breaker::State;
use crate::config::{self, RedisAddress, Servers};

use crate::observe::metrics::Metrics;
use limits::Limits;
use node::Node;
use node::factory::NodeFactory;
use routing::hash_slot::{HashSlot, Redirect, SLOTS};
use routing::slot_map::SlotMap;
use status::DiscoveryState;

/// Nodes at most: a cluster of Redis has no more than some 1000.
const NODES_MAX: usize = 2000;

/// Redis, as one process sees it.
pub(crate) struct RedisCache {
    factory: NodeFactory,
    /// Guards which table is in force; held for nanoseconds.
    slot_map: RwLock<Arc<SlotMap>>,
    /// Guards what the topology thread has found out; held for nanoseconds.
    discovery: Mutex<DiscoveryState>,
}

/// The call brought nothing: Redis is not to be asked again by the same request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unusable;

impl RedisCache {
    /// For `callers` threads that make calls. Opens no connection. Where the nodes have to be found
    /// first, it has none until [`topology::Topology`] has found them.
    #[must_use]
    pub(crate) fn new(
        redis: &config::Redis,
        breaker: &config::Breaker,
        callers: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        let factory = NodeFactory::new(redis, breaker, callers, metrics);
        let slot_map = match &redis.servers {
            Servers::Single { address, .. } => {
                SlotMap::of_one(Arc::new(Node::new(1, address, &factory)))
            }
            Servers::Sentinel { .. } | Servers::Cluster { .. } => SlotMap::of_none(),
        };
        let discovery = DiscoveryState {
            fault: slot_map
                .nodes()
                .is_empty()
                .then(|| "nobody was asked yet".to_owned()),
            ..DiscoveryState::default()
        };
        Self {
            factory,
            slot_map: RwLock::new(Arc::new(slot_map)),
            discovery: Mutex::new(discovery),
        }
    }

    /// From now on what `change` makes of the table says who serves what. Nodes that are not in it any
    /// more are let go: no connection to them stays open. `change` is called again when somebody else
    /// has been faster.
    fn install(&self, mut change: impl FnMut(&SlotMap) -> SlotMap) {
        let (old, new) = loop {
            let old = self.slot_map();
            let new = Arc::new(change(&old));
            let mut in_force = self
                .slot_map
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&in_force, &old) {
                *in_force = Arc::clone(&new);
                break (old, new);
            }
        };
        for node in old.nodes() {
            if !new.nodes().iter().any(|kept| Arc::ptr_eq(kept, node)) {
                node.retire();
                let entered = node.breaker.entered();
                self.discovery().remember(entered);
            }
        }
    }

    /// The node of a cluster that another one names. One that is not known yet is taken in: until the
    /// topology thread knows of it, or for ever if it owns nothing, it is a importing.
    fn follow(&self, redirect: &Redirect) -> Option<Arc<Node>> {
        let address = redirect.to.to_string();
        let slot_map = self.slot_map();
        let metrics = &self.factory.metrics.redis;
        if redirect.asking {
            metrics.asked.inc();
        } else {
            metrics.moved.inc();
            self.factory.notify.notify();
        }
        let is_owner = |node: &Arc<Node>| {
            let owner = slot_map.node(|| redirect.slot);
            owner.is_some_and(|owner| Arc::ptr_eq(owner, node))
        };
        if let Some(node) = slot_map.at(&address)
            && (redirect.asking || is_owner(node))
        {
            return Some(Arc::clone(node));
        }
        let mut found = None;
        self.install(|slot_map| {
            let slot_map = match slot_map.at(&address) {
                Some(_) => slot_map.clone(),
                None if slot_map.nodes().len() >= NODES_MAX => return slot_map.clone(),
                None => {
                    let to = RedisAddress::Tcp(redirect.to.clone());
                    let importing = Node::new(slot_map.free_place(), &to, &self.factory);
                    slot_map.with_guest(Arc::new(importing))
                }
            };
            found = slot_map.at(&address).cloned();
            match &found {
                Some(node) if !redirect.asking => slot_map.with_owner(redirect.slot, node),
                _ => slot_map,
            }
        });
        found
    }

    fn discovery(&self) -> MutexGuard<'_, DiscoveryState> {
        self.discovery
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is nothing to be found out.
    fn is_well(&self) -> bool {
        let slot_map = self.slot_map();
        let is_well = |node: &Arc<Node>| node.breaker.state().0 == State::Closed;
        slot_map.slots().iter().sum::<usize>() == SLOTS && slot_map.nodes().iter().all(is_well)
    }

    /// What it may cost, and how much is asked of it at once.
    #[must_use]
    pub(crate) fn limits(&self) -> &Limits {
        self.factory.limits()
    }

    /// Which node serves which key, now.
    #[must_use]
    pub(crate) fn slot_map(&self) -> Arc<SlotMap> {
        let slot_map = self.slot_map.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&slot_map)
    }

    /// Whether a write of `key` would be tried now.
    #[must_use]
    pub(crate) fn takes_writes(&self, key: &str, now: Instant) -> bool {
        let slot_map = self.slot_map();
        let node = slot_map.node(|| HashSlot::of(key));
        node.is_some_and(|node| node.takes_writes(now))
    }

    /// Whether there is a node that would be written to now.
    #[must_use]
    pub(crate) fn takes_any_writes(&self, now: Instant) -> bool {
        self.slot_map()
            .nodes()
            .iter()
            .any(|node| node.takes_writes(now))
    }

    /// Since when the node of `key` is of use again, if it was ever lost: what it had may be gone.
    #[must_use]
    pub(crate) fn back_since(&self, key: &str) -> Option<Instant> {
        self.slot_map().node(|| HashSlot::of(key))?.back_since()
    }

    /// Whether a call is in flight.
    #[must_use]
    pub(crate) fn is_calling(&self) -> bool {
        self.slot_map().nodes().iter().any(|node| node.is_calling())
    }
}
