//! A batch in parts, one for each node that serves some of it: what one node is asked at once.

use std::collections::VecDeque;
use std::sync::Arc;

use super::node::Node;
use super::slots::Slot;
use super::table::Table;

/// What one node is to be asked for.
pub struct Part<T> {
    /// The node.
    pub node: Arc<Node>,
    /// What for, in the order of the batch.
    pub items: Vec<T>,
}

/// The parts of a batch that are still to be asked for.
pub struct Parts<T> {
    waiting: VecDeque<Part<T>>,
}

impl<T> Parts<T> {
    /// Divides `items` by the nodes that serve them. Returns too what no node serves.
    pub fn of(
        table: &Table,
        items: impl IntoIterator<Item = T>,
        slot: impl Fn(&T) -> Slot,
    ) -> (Self, Vec<T>) {
        let mut waiting: VecDeque<Part<T>> = VecDeque::new();
        let mut unserved = Vec::new();
        for item in items {
            let Some(node) = table.node(|| slot(&item)) else {
                unserved.push(item);
                continue;
            };
            match waiting
                .iter_mut()
                .find(|part| Arc::ptr_eq(&part.node, node))
            {
                Some(part) => part.items.push(item),
                None => waiting.push_back(Part {
                    node: Arc::clone(node),
                    items: vec![item],
                }),
            }
        }
        (Self { waiting }, unserved)
    }
}

impl<T> Iterator for Parts<T> {
    type Item = Part<T>;

    fn next(&mut self) -> Option<Part<T>> {
        self.waiting.pop_front()
    }
}
