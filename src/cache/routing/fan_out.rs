//! Asking several nodes at once: a batch is divided by the nodes that serve its items, and each node is
//! asked for its own in one call. What a node of a cluster sends elsewhere is asked for there.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::cache::node::{Node, Unusable};
use crate::cache::routing::hash_slot::HashSlot;
use crate::cache::routing::redirect::{Redirect, Reply};
use crate::cache::routing::router::Router;

/// How often an item may be sent on: to the new owner of its slot, and from there to where the slot
/// moves. After more hops than that the servers disagree.
const HOPS_MAX: u8 = 4;

/// What one node is to be asked for.
pub(crate) struct NodeBatch<T> {
    pub node: Arc<Node>,
    /// With ASKING before each command.
    pub asking: bool,
    /// In the order of the whole batch.
    pub items: Vec<T>,
    /// How often the items were sent on.
    hops: u8,
}

/// What is to be done with some of the items.
pub(crate) enum Turn<T> {
    Ask(NodeBatch<T>),
    /// They cannot be asked for: no node serves them, or they were sent on too often. Maybe none.
    GiveUp(Vec<T>),
}

/// The batches that are still to be asked for.
struct Waiting<T>(VecDeque<NodeBatch<T>>);

/// Has `perform` ask one node after the other for those of `items` that it serves. It returns what a node
/// sends elsewhere, which is asked for there, last; of [`Turn::GiveUp`] what it returns is not looked at.
pub(crate) fn fan_out<T>(
    router: &Router,
    items: impl IntoIterator<Item = T>,
    slot: impl Fn(&T) -> HashSlot,
    mut perform: impl FnMut(Turn<T>) -> Vec<(T, Redirect)>,
) {
    let slot_map = router.slot_map();
    let mut waiting = Waiting(VecDeque::new());
    let mut unserved = Vec::new();
    for item in items {
        match slot_map.node(|| slot(&item)) {
            Some(node) => waiting.put(node, false, 0, item),
            None => unserved.push(item),
        }
    }
    perform(Turn::GiveUp(unserved));
    while let Some(batch) = waiting.0.pop_front() {
        let hops = batch.hops;
        let mut stuck = Vec::new();
        for (item, redirect) in perform(Turn::Ask(batch)) {
            match router.follow(&redirect).filter(|_| hops < HOPS_MAX) {
                Some(node) => waiting.put(&node, redirect.asking, hops + 1, item),
                None => stuck.push(item),
            }
        }
        perform(Turn::GiveUp(stuck));
    }
}

/// An answer to each of `items`; `call` makes the call for those that one node serves. None: no node serves
/// the item, its node is not to be asked, or the call failed.
pub(crate) fn ask_each<T, A>(
    router: &Router,
    items: &[T],
    slot: impl Fn(&T) -> HashSlot,
    call: impl Fn(&NodeBatch<usize>, &[&T]) -> Result<Vec<Reply<A>>, Unusable>,
) -> Vec<Option<A>> {
    let mut answers: Vec<Option<A>> = items.iter().map(|_| None).collect();
    let ask = |turn| {
        let mut elsewhere = Vec::new();
        let Turn::Ask(batch) = turn else {
            return elsewhere;
        };
        let own: Vec<&T> = batch.items.iter().map(|&at| &items[at]).collect();
        let replies = call(&batch, &own).unwrap_or_default();
        for (at, reply) in batch.items.into_iter().zip(replies) {
            match reply {
                Reply::Here(answer) => answers[at] = Some(answer),
                Reply::Elsewhere(redirect) => elsewhere.push((at, redirect)),
                Reply::Nowhere => {}
            }
        }
        elsewhere
    };
    fan_out(router, 0..items.len(), |&at| slot(&items[at]), ask);
    answers
}

impl<T> Waiting<T> {
    fn put(&mut self, node: &Arc<Node>, asking: bool, hops: u8, item: T) {
        let is_its = |batch: &&mut NodeBatch<T>| {
            Arc::ptr_eq(&batch.node, node) && batch.asking == asking && batch.hops == hops
        };
        match self.0.iter_mut().find(is_its) {
            Some(batch) => batch.items.push(item),
            None => self.0.push_back(NodeBatch {
                node: Arc::clone(node),
                asking,
                items: vec![item],
                hops,
            }),
        }
    }
}
