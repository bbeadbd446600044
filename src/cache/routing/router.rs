//! Which nodes there are and what each of them serves, at this moment: the slot map in force, which is
//! never changed but replaced as a whole, and what is known of how it came about.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use crate::base::breaker::State;
use crate::cache::node::Node;
use crate::cache::node::factory::NodeFactory;
use crate::cache::routing::hash_slot::SLOTS;
use crate::cache::routing::redirect::Redirect;
use crate::cache::routing::slot_map::SlotMap;
use crate::cache::status::{SentinelStatus, Status};
use crate::config::{RedisAddress, Servers};

/// Nodes at most: a cluster of Redis has no more than some 1000.
pub(crate) const NODES_MAX: usize = 2000;

pub(crate) struct Router {
    pub(crate) factory: NodeFactory,
    /// Guards which slot map is in force; held for nanoseconds.
    slot_map: RwLock<Arc<SlotMap>>,
    /// Guards what the topology thread has found out; held for nanoseconds.
    discovery: Mutex<DiscoveryState>,
}

/// What the topology thread has found out, beside the slot map.
#[derive(Debug, Clone, Default)]
pub(crate) struct DiscoveryState {
    /// Why it is not known where the nodes are, or not for certain.
    pub fault: Option<String>,
    pub sentinels: Vec<SentinelStatus>,
    /// How often breakers of nodes that were let go had gone into each state.
    entered_before: [u64; State::ALL.len()],
}

impl Router {
    /// Where the nodes of `servers` have to be found first, it has none until a slot map is installed.
    pub(crate) fn new(servers: &Servers, factory: NodeFactory) -> Self {
        let (slot_map, fault) = match servers {
            Servers::Single { address, .. } => {
                let node = Arc::new(Node::new(1, address, &factory));
                (SlotMap::of_one(node), None)
            }
            Servers::Sentinel { .. } | Servers::Cluster { .. } => {
                let fault = "nobody was asked yet".to_owned();
                (SlotMap::of_none(), Some(fault))
            }
        };
        Self {
            factory,
            slot_map: RwLock::new(Arc::new(slot_map)),
            discovery: Mutex::new(DiscoveryState {
                fault,
                ..DiscoveryState::default()
            }),
        }
    }

    /// Which node serves which key, now.
    pub(crate) fn slot_map(&self) -> Arc<SlotMap> {
        let slot_map = self.slot_map.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&slot_map)
    }

    /// From now on what `change` makes of the slot map says who serves what. Nodes that are not in it
    /// any more are let go: no connection to them stays open. `change` is called again when somebody
    /// else has been faster.
    pub(crate) fn install(&self, mut change: impl FnMut(&SlotMap) -> SlotMap) {
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
                add(&mut self.discovery().entered_before, entered);
            }
        }
    }

    /// The node of a cluster that another one names. One that is not known yet is taken in as one that
    /// serves nothing, until the topology thread knows better.
    pub(crate) fn follow(&self, redirect: &Redirect) -> Option<Arc<Node>> {
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
                    let importing = Node::new(slot_map.free_id(), &to, &self.factory);
                    slot_map.with_importing(Arc::new(importing))
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

    pub(crate) fn discovery(&self) -> MutexGuard<'_, DiscoveryState> {
        self.discovery
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is nothing to be found out.
    pub(crate) fn is_well(&self) -> bool {
        let slot_map = self.slot_map();
        let is_well = |node: &Arc<Node>| node.breaker.state().0 == State::Closed;
        slot_map.slots().iter().sum::<usize>() == SLOTS && slot_map.nodes().iter().all(is_well)
    }

    /// What is known, without asking anybody.
    pub(crate) fn status(&self, now: Instant) -> Status {
        let slot_map = self.slot_map();
        let slots = slot_map.slots();
        let discovery = self.discovery().clone();
        let mut entered = discovery.entered_before;
        for node in slot_map.nodes() {
            add(&mut entered, node.breaker.entered());
        }
        let nodes = slot_map.nodes().iter().zip(&slots);
        Status {
            mode: self.factory.mode,
            breaker_mode: self.factory.breaker_mode,
            nodes: nodes
                .map(|(node, &slots)| node.snapshot(slots, now))
                .collect(),
            slots_covered: slots.iter().sum(),
            entered,
            sentinels: discovery.sentinels,
            fault: discovery.fault,
        }
    }
}

/// Adds to each figure of `sum` that of `more`.
fn add<const N: usize>(sum: &mut [u64; N], more: [u64; N]) {
    sum.iter_mut()
        .zip(more)
        .for_each(|(sum, more)| *sum += more);
}
