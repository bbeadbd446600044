//! Which node serves a key. A table is never changed, only replaced: whoever holds one has a whole
//! one, and asks the next time with the new one.

use std::sync::Arc;

use super::node::Node;
use super::slots::Slot;

/// The nodes of one moment, and which of them serves what.
pub struct Table {
    nodes: Vec<Arc<Node>>,
}

impl Table {
    /// Nobody serves anything.
    #[must_use]
    pub fn of_none() -> Self {
        Self { nodes: Vec::new() }
    }

    /// `node` serves every key.
    #[must_use]
    pub fn of_one(node: Arc<Node>) -> Self {
        Self { nodes: vec![node] }
    }

    /// The node that serves a slot, if there is one. `slot` is called only where it makes a difference.
    #[must_use]
    pub fn node(&self, _slot: impl FnOnce() -> Slot) -> Option<&Arc<Node>> {
        self.nodes.first()
    }

    /// Every node.
    #[must_use]
    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }
}
