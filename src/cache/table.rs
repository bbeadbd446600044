//! Which node serves a key. A table is never changed, only replaced: whoever holds one has a whole
//! one, and asks the next time with the new one.

use std::sync::Arc;
use std::time::Instant;

use super::node::Node;
use super::slots::{SLOTS, Slot};

/// The nodes of one moment, and which of them serves what.
#[derive(Clone)]
pub struct Table {
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

impl Table {
    /// Nobody serves anything.
    #[must_use]
    pub fn of_none() -> Self {
        Self {
            nodes: Vec::new(),
            map: Map::First,
        }
    }

    /// `node` serves every key.
    #[must_use]
    pub fn of_one(node: Arc<Node>) -> Self {
        Self {
            nodes: vec![node],
            map: Map::First,
        }
    }

    /// `owners` serve the slots, each by its index; `guests` are asked only where an owner says so.
    #[must_use]
    pub fn of_slots(
        owners: Vec<Arc<Node>>,
        guests: impl IntoIterator<Item = Arc<Node>>,
        slots: Vec<Option<u16>>,
    ) -> Self {
        let mut nodes = owners;
        nodes.extend(guests);
        Self {
            nodes,
            map: Map::Slots(slots.into()),
        }
    }

    /// The same, with one more node that owns nothing.
    #[must_use]
    pub fn with_guest(&self, guest: Arc<Node>) -> Self {
        let mut table = self.clone();
        table.nodes.push(guest);
        table
    }

    /// The same, where `node`, which is in it, owns `slot`.
    #[must_use]
    pub fn with_owner(&self, slot: Slot, node: &Arc<Node>) -> Self {
        let mut table = self.clone();
        let index = self.nodes.iter().position(|known| Arc::ptr_eq(known, node));
        if let (Map::Slots(slots), Some(index)) = (&mut table.map, index) {
            let mut changed = slots.to_vec();
            changed[slot.number()] = u16::try_from(index).ok();
            *slots = changed.into();
        }
        table
    }

    /// The same, where what nodes own that are not worth asking goes to the others, in turn: each of
    /// them knows who owns it, if anybody does.
    #[must_use]
    pub fn with_usable_owners(&self, now: Instant) -> Self {
        let mut table = self.clone();
        let is_usable: Vec<bool> = self.nodes.iter().map(|node| node.is_usable(now)).collect();
        let usable: Vec<u16> = (0_u16..)
            .zip(&is_usable)
            .filter(|(_, is)| **is)
            .map(|(n, _)| n)
            .collect();
        if let (Map::Slots(slots), false) = (&mut table.map, usable.is_empty()) {
            let mut changed = slots.to_vec();
            for (number, owner) in changed.iter_mut().enumerate() {
                if !owner.is_some_and(|owner| is_usable[usize::from(owner)]) {
                    *owner = Some(usable[number % usable.len()]);
                }
            }
            *slots = changed.into();
        }
        table
    }

    /// The node that serves a slot, if there is one. `slot` is called only where it makes a difference.
    #[must_use]
    pub fn node(&self, slot: impl FnOnce() -> Slot) -> Option<&Arc<Node>> {
        match &self.map {
            Map::First => self.nodes.first(),
            Map::Slots(slots) => {
                let index = slots.get(slot().number()).copied().flatten()?;
                self.nodes.get(usize::from(index))
            }
        }
    }

    /// The node at an address, if it is known.
    #[must_use]
    pub fn at(&self, address: &str) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|node| node.address() == address)
    }

    /// Every node.
    #[must_use]
    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// Those that are worth asking.
    pub fn usable(&self, now: Instant) -> impl Iterator<Item = &Node> {
        let nodes = self.nodes.iter().map(AsRef::as_ref);
        nodes.filter(move |node: &&Node| node.is_usable(now))
    }

    /// Whether `node` serves anything.
    #[must_use]
    pub fn owns(&self, node: &Arc<Node>) -> bool {
        let nodes = self.nodes.iter().zip(self.slots());
        let mut its = nodes.filter(|(known, _)| Arc::ptr_eq(known, node));
        its.any(|(_, count)| count > 0)
    }

    /// How many slots each node serves, in their order.
    #[must_use]
    pub fn slots(&self) -> Vec<usize> {
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
    #[must_use]
    pub fn free_place(&self) -> usize {
        let is_free = |place: &usize| self.nodes.iter().all(|node| node.place() != *place);
        (1..).find(is_free).unwrap_or(1)
    }
}
