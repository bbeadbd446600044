//! What has become of the nodes of a cluster from one layout to the next, and the lines about it.

use std::sync::Arc;

use log::{info, warn};

use crate::cache::routing::hash_slot::SLOTS;
use crate::cache::routing::slot_map::SlotMap;
use crate::cache::topology::cluster::layout::Layout;
use crate::config::HostPort;

pub(crate) struct Change<'a> {
    pub old: &'a Layout,
    pub new: &'a Layout,
    /// The slot map of the moment before.
    pub nodes: Arc<SlotMap>,
}

impl Change<'_> {
    /// Who serves now what another node served that serves nothing any more, and that other node.
    pub(crate) fn replacements(&self) -> Vec<(&HostPort, &HostPort)> {
        let new = self
            .new
            .ranges
            .iter()
            .filter(|(.., owner)| !self.old.has(owner));
        let mut replacements: Vec<(&HostPort, &HostPort)> = Vec::new();
        for (begin, _, owner) in new {
            let before = self
                .old
                .owner(*begin)
                .filter(|before| !self.new.has(before));
            if let Some(before) = before
                && !replacements.iter().any(|(known, _)| *known == owner)
            {
                replacements.push((owner, before));
            }
        }
        replacements
    }

    /// A failover is one line, and so is whatever else happens to nodes. That slots go from one node to
    /// another is none.
    pub(crate) fn say(&self, by: &HostPort) {
        let (owners, slots) = self.new.owners();
        let (old_owners, old_slots) = self.old.owners();
        let covered = slots.iter().flatten().count();
        if old_owners.is_empty() {
            let count = owners.len();
            info!("redis cluster of {count} masters serves {covered} of {SLOTS} slots, says {by}");
            return;
        }
        let replacements = self.replacements();
        for (new, old) in &replacements {
            let node = self.nodes.at(&old.to_string());
            let state = node.map_or("gone", |node| node.breaker.state().0.word());
            let bypassed = node.map_or(0, |node| node.bypassed());
            warn!(
                "redis cluster: {new} has taken the place of {old} (breaker {state}), says {by}; \
                 {bypassed} lookups went without it"
            );
        }
        let joined = owners.iter().filter(|owner| !self.old.has(owner));
        for owner in joined.filter(|owner| !replacements.iter().any(|(new, _)| new == *owner)) {
            info!("redis cluster: {owner} has joined, says {by}");
        }
        let left = old_owners.iter().filter(|owner| !self.new.has(owner));
        for owner in left.filter(|owner| !replacements.iter().any(|(_, old)| old == *owner)) {
            info!("redis cluster: {owner} serves nothing any more, says {by}");
        }
        let covered_before = old_slots.iter().flatten().count();
        match (covered_before == SLOTS, covered == SLOTS) {
            (true, false) => {
                warn!("redis cluster: only {covered} of {SLOTS} slots are served, says {by}");
            }
            (false, true) => info!("redis cluster: all {SLOTS} slots are served, says {by}"),
            _ => {}
        }
    }
}
