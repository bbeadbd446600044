//! A batch in parts, one for each node that serves some of it: what one node is asked at once. What a
//! node of a cluster sends elsewhere becomes a part for another one.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::cache::RedisCache;
use crate::cache::node::Node;
use crate::cache::routing::hash_slot::{HashSlot, Redirect};

/// How often an item may be sent on: to the new owner of its slot, and from there to where the slot
/// moves. More of it are servers that disagree.
const HOPS_MAX: u8 = 4;

/// What one node is to be asked for.
pub(crate) struct NodeBatch<T> {
    /// The node.
    pub node: Arc<Node>,
    /// With ASKING before each command.
    pub asking: bool,
    /// What for, in the order of the batch.
    pub items: Vec<T>,
    /// How often the items were sent on.
    hops: u8,
}

/// The parts of a batch that are still to be asked for.
pub(crate) struct FanOut<T> {
    waiting: VecDeque<NodeBatch<T>>,
}

impl<T> FanOut<T> {
    /// Divides `items` by the nodes that serve them. Returns too what no node serves.
    pub(crate) fn of(
        cache: &RedisCache,
        items: impl IntoIterator<Item = T>,
        slot: impl Fn(&T) -> HashSlot,
    ) -> (Self, Vec<T>) {
        let slot_map = cache.slot_map();
        let mut parts = Self {
            waiting: VecDeque::new(),
        };
        let mut unserved = Vec::new();
        for item in items {
            match slot_map.node(|| slot(&item)) {
                Some(node) => parts.put(node, false, 0, item),
                None => unserved.push(item),
            }
        }
        (parts, unserved)
    }

    /// The next one.
    pub(crate) fn take(&mut self) -> Option<NodeBatch<T>> {
        self.waiting.pop_front()
    }

    /// Sends items of a part that had been sent on `hops` times to where their nodes said. Returns
    /// what cannot be sent on.
    pub(crate) fn send_on(
        &mut self,
        cache: &RedisCache,
        hops: u8,
        items: Vec<(T, Redirect)>,
    ) -> Vec<T> {
        let mut stuck = Vec::new();
        for (item, redirect) in items {
            match cache.follow(&redirect).filter(|_| hops < HOPS_MAX) {
                Some(node) => self.put(&node, redirect.asking, hops + 1, item),
                None => stuck.push(item),
            }
        }
        stuck
    }

    fn put(&mut self, node: &Arc<Node>, asking: bool, hops: u8, item: T) {
        let is_its = |part: &&mut NodeBatch<T>| {
            Arc::ptr_eq(&part.node, node) && part.asking == asking && part.hops == hops
        };
        match self.waiting.iter_mut().find(is_its) {
            Some(part) => part.items.push(item),
            None => self.waiting.push_back(NodeBatch {
                node: Arc::clone(node),
                asking,
                items: vec![item],
                hops,
            }),
        }
    }
}

impl<T> NodeBatch<T> {
    /// How often its items were sent on.
    #[must_use]
    pub(crate) fn hops(&self) -> u8 {
        self.hops
    }
}
