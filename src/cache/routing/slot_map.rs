//! Which node serves a key. A slot map is never changed, only replaced: a thread that holds one sees all of
//! it as it was at one moment, and takes the new one for its next request.

use std::sync::Arc;
use std::time::Instant;

use crate::cache::node::Node;
use crate::cache::routing::hash_slot::{HashSlot, SLOTS};

/// The nodes of one moment, and which of them serves what.
#[derive(Clone)]
pub(crate) struct SlotMap {
    nodes: Vec<Arc<Node>>,
    map: Map,
}

#[derive(Clone)]
enum Map {
    /// The first node, if there is one, serves everything.
    First,
    /// The index of the node that serves each slot, if there is one.
    Slots(Arc<[Option<u16>]>),
}

impl SlotMap {
    /// Without nodes: no slot is served.
    pub(crate) fn of_none() -> Self {
        Self {
            nodes: Vec::new(),
            map: Map::First,
        }
    }

    /// `node` serves every key.
    pub(crate) fn of_one(node: Arc<Node>) -> Self {
        Self {
            nodes: vec![node],
            map: Map::First,
        }
    }

    /// `owners` serve the slots, each by its index; `others` are asked only where an owner says so.
    pub(crate) fn of_slots(
        owners: Vec<Arc<Node>>,
        others: impl IntoIterator<Item = Arc<Node>>,
        slots: Vec<Option<u16>>,
    ) -> Self {
        let mut nodes = owners;
        nodes.extend(others);
        Self {
            nodes,
            map: Map::Slots(slots.into()),
        }
    }

    /// The same, with one more node that owns nothing: slots may be on the way to it.
    pub(crate) fn with_importing(&self, importing: Arc<Node>) -> Self {
        let mut slot_map = self.clone();
        slot_map.nodes.push(importing);
        slot_map
    }

    /// The same, where `node`, which is in it, owns `slot`.
    pub(crate) fn with_owner(&self, slot: HashSlot, node: &Arc<Node>) -> Self {
        let mut slot_map = self.clone();
        let index = self.nodes.iter().position(|known| Arc::ptr_eq(known, node));
        if let (Map::Slots(slots), Some(index)) = (&mut slot_map.map, index) {
            let mut changed = slots.to_vec();
            changed[slot.number()] = u16::try_from(index).ok();
            *slots = changed.into();
        }
        slot_map
    }

    /// The same, where the slots of nodes that are not worth asking go to the others, in turn: each of
    /// them knows the owner, if there is one, and sends us there.
    pub(crate) fn with_usable_owners(&self, now: Instant) -> Self {
        let mut slot_map = self.clone();
        let is_usable: Vec<bool> = self.nodes.iter().map(|node| node.is_usable(now)).collect();
        let usable: Vec<u16> = (0_u16..)
            .zip(&is_usable)
            .filter(|(_, is)| **is)
            .map(|(n, _)| n)
            .collect();
        if let (Map::Slots(slots), false) = (&mut slot_map.map, usable.is_empty()) {
            let mut changed = slots.to_vec();
            for (number, owner) in changed.iter_mut().enumerate() {
                if !owner.is_some_and(|owner| is_usable[usize::from(owner)]) {
                    *owner = Some(usable[number % usable.len()]);
                }
            }
            *slots = changed.into();
        }
        slot_map
    }

    /// The node that serves a slot, if there is one. `slot` is called only where it makes a difference.
    pub(crate) fn node(&self, slot: impl FnOnce() -> HashSlot) -> Option<&Arc<Node>> {
        match &self.map {
            Map::First => self.nodes.first(),
            Map::Slots(slots) => {
                let index = slots.get(slot().number()).copied().flatten()?;
                self.nodes.get(usize::from(index))
            }
        }
    }

    /// The node at an address, if it is known.
    pub(crate) fn at(&self, address: &str) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|node| node.address() == address)
    }

    pub(crate) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// Whether `node` serves anything.
    pub(crate) fn owns(&self, node: &Arc<Node>) -> bool {
        let nodes = self.nodes.iter().zip(self.slots());
        let mut its = nodes.filter(|(known, _)| Arc::ptr_eq(known, node));
        its.any(|(_, count)| count > 0)
    }

    /// How many slots each node serves, in their order.
    pub(crate) fn slots(&self) -> Vec<usize> {
        let mut counts = vec![0; self.nodes.len()];
        match &self.map {
            Map::First => counts.iter_mut().take(1).for_each(|count| *count = SLOTS),
            Map::Slots(slots) => {
                for &index in slots.iter().flatten() {
                    counts[usize::from(index)] += 1;
                }
            }
        }
        counts
    }

    /// The number of a new node: the smallest that none has.
    pub(crate) fn free_id(&self) -> usize {
        self.free_ids().next().unwrap_or(1)
    }

    /// Numbers of new nodes, from the smallest on.
    pub(crate) fn free_ids(&self) -> impl Iterator<Item = usize> {
        (1..).filter(|id| self.nodes.iter().all(|node| node.id() != *id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;
    use crate::cache::node::factory::NodeFactory;
    use crate::config;
    use crate::config::{HostPort, NO_ENVIRONMENT, RedisAddress};
    use crate::observe::metrics::Metrics;

    fn nodes(count: u16) -> Vec<Arc<Node>> {
        let text = "[redis]\nmode = cluster\nnodes = a:1\n[breaker]\nfail_max = 1";
        let config = config::parse(text, "test.ini", NO_ENVIRONMENT).expect("a configuration");
        let config = config.config;
        let metrics = Arc::new(Metrics::new(&config).expect("metrics"));
        let factory = NodeFactory::new(&config.redis, &config.breaker, 1, metrics);
        let node = |number| {
            let host = "10.0.0.1".to_owned();
            let address = RedisAddress::Tcp(HostPort {
                host,
                port: 1 + number,
            });
            Arc::new(Node::new(usize::from(number) + 1, &address, &factory))
        };
        (0..count).map(node).collect()
    }

    fn slot(number: u64) -> HashSlot {
        HashSlot::numbered(number).expect("a slot")
    }

    fn owner(slot_map: &SlotMap, number: u64) -> Option<usize> {
        slot_map.node(|| slot(number)).map(|node| node.id())
    }

    /// The first node has the first half of the slots, the second one the rest but for the last.
    fn halves(nodes: &[Arc<Node>]) -> SlotMap {
        let mut slots: Vec<_> = (0..SLOTS)
            .map(|n| Some(u16::from(n >= SLOTS / 2)))
            .collect();
        slots[SLOTS - 1] = None;
        SlotMap::of_slots(nodes[..2].to_vec(), nodes[2..].to_vec(), slots)
    }

    #[test]
    fn every_slot_has_its_owner_and_one_that_nobody_serves_has_none() {
        let nodes = nodes(3);
        let slot_map = halves(&nodes);
        assert_eq!(owner(&slot_map, 0), Some(1));
        assert_eq!(owner(&slot_map, 16_382), Some(2));
        assert_eq!(owner(&slot_map, 16_383), None);
        assert_eq!(slot_map.slots(), [8192, 8191, 0]);
        assert!(slot_map.owns(&nodes[1]) && !slot_map.owns(&nodes[2]));
        assert_eq!(slot_map.at("10.0.0.1:3").map(|node| node.id()), Some(3));
        assert_eq!(
            owner(&SlotMap::of_one(Arc::clone(&nodes[0])), 16_383),
            Some(1)
        );
        assert!(SlotMap::of_none().node(|| slot(0)).is_none());
    }

    #[test]
    fn what_a_redirect_teaches_changes_one_slot() {
        let nodes = nodes(3);
        let slot_map = halves(&nodes).with_owner(slot(7), &nodes[2]);
        let owners = [6, 7, 8].map(|number| owner(&slot_map, number));
        assert_eq!(owners, [Some(1), Some(3), Some(1)]);
        assert_eq!(slot_map.slots(), [8191, 8191, 1]);
    }

    #[test]
    fn slots_of_nodes_that_are_away_and_of_nobody_go_to_the_others() {
        let nodes = nodes(2);
        let now = clock::now();
        let _ = nodes[0].breaker.trip(now);
        let slot_map = halves(&nodes).with_usable_owners(now);
        assert_eq!(slot_map.slots(), [0, SLOTS]);
        let _ = nodes[1].breaker.trip(now);
        assert_eq!(halves(&nodes).with_usable_owners(now).slots(), [8192, 8191]);
    }

    #[test]
    fn a_new_node_has_the_smallest_number_that_is_free() {
        let nodes = nodes(3);
        assert_eq!(SlotMap::of_none().free_id(), 1);
        assert_eq!(halves(&nodes).free_id(), 4);
        assert_eq!(SlotMap::of_one(Arc::clone(&nodes[1])).free_id(), 1);
    }
}
