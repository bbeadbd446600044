//! Discovery with a cluster: one of its nodes is asked which node serves which slot, and its answer is
//! installed, unless it is older than what we know.

pub(crate) mod change;
pub(crate) mod layout;
pub(crate) mod seed;

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, warn};

use crate::base::clock::{self, Deadline};
use crate::cache::node::Node;
use crate::cache::routing::hash_slot::SLOTS;
use crate::cache::routing::router::{NODES_MAX, Router};
use crate::cache::routing::slot_map::SlotMap;
use crate::cache::topology::cluster::change::Change;
use crate::cache::topology::cluster::layout::Layout;
use crate::cache::topology::cluster::seed::SeedConnection;
use crate::cache::topology::rounds::{Discovery, Pace};
use crate::cache::wire::fault::Fault;
use crate::config::{HostPort, RedisAddress};

/// What a round may take, however many nodes do not answer.
const ROUND_LIMIT: Duration = Duration::from_millis(1500);
/// When for so long only nodes with an older layout answer, theirs is taken for that of another cluster.
/// Longer than a node that is cut off takes to notice (`cluster-node-timeout`, 15 s by default).
const OLDER_AFTER: Duration = Duration::from_secs(30);
/// A node that owns nothing is kept for so long after it was last of use.
const IMPORTING_KEPT_FOR: Duration = Duration::from_secs(10);

pub(crate) struct ClusterTopology {
    router: Arc<Router>,
    /// Those that are configured.
    seeds: Vec<HostPort>,
    /// The node that answered last: the first to be asked.
    seed: Option<SeedConnection>,
    /// What was told last.
    layout: Layout,
    /// Since when there have been nothing but older layouts.
    older_since: Option<Instant>,
    /// What was said last of why there is no layout.
    said: Option<Fault>,
    /// It was said that no node tells us a layout.
    is_untold: bool,
}

impl ClusterTopology {
    /// The cluster to which the nodes at `seeds` belong.
    pub(crate) fn new(router: Arc<Router>, seeds: &[HostPort]) -> Self {
        Self {
            router,
            seeds: seeds.to_vec(),
            seed: None,
            layout: Layout::default(),
            older_since: None,
            said: None,
            is_untold: false,
        }
    }

    /// Asks one node after the other for a layout that is no older than the last one. When all layouts have
    /// been older for long, and their cluster works by its own word, it is another cluster now: the latest
    /// of them. `None`: nodes answer, but none tells us.
    fn ask_around(&mut self) -> Result<Option<(Layout, HostPort)>, Fault> {
        let deadline = Deadline::after(clock::now(), ROUND_LIMIT);
        let mut older: Option<(Layout, HostPort)> = None;
        let mut fault = Fault::NoConnection;
        let mut is_untold = false;
        let kept = self.seed.take().map(Ok);
        let others = self.candidates().into_iter().map(Err);
        for candidate in kept.into_iter().chain(others) {
            if self.router.factory.notify.is_closed() || deadline.passed(clock::now()) {
                break;
            }
            let seed = candidate.or_else(|server| {
                let dial = self.router.factory.dial(&RedisAddress::Tcp(server.clone()));
                SeedConnection::connect(server, &dial)
            });
            let asked = seed.and_then(|mut seed| Ok((seed.ask()?, seed)));
            match asked {
                Ok((Some(layout), seed)) if !layout.ranges.is_empty() => {
                    let server = seed.server.clone();
                    if layout.epoch >= self.layout.epoch {
                        self.seed = Some(seed);
                        self.older_since = None;
                        return Ok(Some((layout, server)));
                    }
                    let is_later = older
                        .as_ref()
                        .is_none_or(|(known, _)| known.epoch < layout.epoch);
                    if layout.is_ok && is_later {
                        older = Some((layout, server));
                    }
                }
                Ok((Some(_), seed)) => {
                    fault = Fault::Refused(format!("{} knows of no slots", seed.server));
                }
                Ok((None, _)) => is_untold = true,
                Err(why) => fault = why,
            }
        }
        let now = clock::now();
        match older {
            Some(older) => {
                let since = *self.older_since.get_or_insert(now);
                match now.saturating_duration_since(since) >= OLDER_AFTER {
                    true => Ok(Some(older)),
                    false => Err(Fault::Refused("what they tell is older".to_owned())),
                }
            }
            None if is_untold => Ok(None),
            None => Err(fault),
        }
    }

    /// The nodes to ask: usable ones, then replicas, which have nothing else to do, then the configured
    /// ones, then the rest.
    fn candidates(&self) -> Vec<HostPort> {
        let slot_map = self.router.slot_map();
        let now = clock::now();
        let nodes = slot_map
            .nodes()
            .iter()
            .filter_map(|node| Some((node, node.server()?)));
        let (mut usable, mut others) = (Vec::new(), Vec::new());
        for (node, server) in nodes {
            match node.is_usable(now) {
                true => usable.push(server.clone()),
                false => others.push(server.clone()),
            }
        }
        let mut replicas = self.layout.replicas.clone();
        // Many instances must not all ask the same one.
        fastrand::shuffle(&mut usable);
        fastrand::shuffle(&mut replicas);
        let all = [usable, replicas, self.seeds.clone(), others].concat();
        let mut candidates: Vec<HostPort> = Vec::with_capacity(all.len());
        for server in all {
            if !candidates.contains(&server) {
                candidates.push(server);
            }
        }
        candidates
    }

    /// From now on the nodes of `layout`, as `by` has told it, serve the slots.
    fn install(&mut self, layout: Layout, by: &HostPort) {
        let (owners, slots) = layout.owners();
        if owners.len() >= NODES_MAX {
            warn!(
                "redis cluster: {by} names {} nodes, which cannot be",
                owners.len()
            );
            return;
        }
        let now = clock::now();
        let nodes = self.router.slot_map();
        self.router
            .install(|old| self.slot_map(old, &owners, slots.clone(), now));
        let change = Change {
            old: &self.layout,
            new: &layout,
            nodes,
        };
        change.say(by);
        for (new, _) in change.replacements() {
            if let Some(node) = self.router.slot_map().at(&new.to_string()) {
                node.take_over(now);
                node.metrics.redis.failovers.inc();
            }
        }
        self.layout = layout;
    }

    /// The new slot map: nodes that stay are the same, and those that own nothing stay while they are of
    /// use.
    fn slot_map(
        &self,
        old: &SlotMap,
        owners: &[&HostPort],
        slots: Vec<Option<u16>>,
        now: Instant,
    ) -> SlotMap {
        let mut free_ids = old.free_ids();
        let mut new_id = || free_ids.next().unwrap_or(1);
        let node = |server: &&HostPort| {
            let known = old.at(&server.to_string()).cloned();
            known.unwrap_or_else(|| {
                let address = RedisAddress::Tcp((*server).clone());
                Arc::new(Node::new(new_id(), &address, &self.router.factory))
            })
        };
        let owners: Vec<_> = owners.iter().map(node).collect();
        let is_importing = |node: &&Arc<Node>| {
            let limit = now.checked_sub(IMPORTING_KEPT_FOR);
            let owns = owners.iter().any(|owner| Arc::ptr_eq(owner, node));
            !owns && limit.is_some_and(|limit| node.was_used_after(limit)) && !old.owns(node)
        };
        let others: Vec<_> = old.nodes().iter().filter(is_importing).cloned().collect();
        SlotMap::of_slots(owners, others, slots)
    }

    /// No node tells us who serves what: a node that is asked for a key of another sends us on, and we
    /// remember that.
    fn learn_by_asking(&mut self) {
        if !std::mem::replace(&mut self.is_untold, true) {
            warn!(
                "redis cluster: CLUSTER SLOTS is refused us, so its nodes are learned from where they \
                 send us; grant our user +cluster|slots and +cluster|info"
            );
        }
        let now = clock::now();
        if self.router.slot_map().nodes().is_empty() {
            let count = self.seeds.len();
            let share = |n: usize| n * SLOTS / count;
            let seeds = self.seeds.iter().enumerate();
            let layout = Layout {
                ranges: seeds
                    .map(|(n, seed)| (share(n), share(n + 1) - 1, seed.clone()))
                    .collect(),
                is_ok: true,
                ..Layout::default()
            };
            let by = self.seeds[0].clone();
            self.install(layout, &by);
        } else if !self.router.is_well() {
            self.router
                .install(|slot_map| slot_map.with_usable_owners(now));
        }
    }

    /// Why there is no layout to be had, once.
    fn say(&mut self, fault: &Fault) {
        if self.said.as_ref() == Some(fault) {
            return;
        }
        self.said = Some(fault.clone());
        let seeds: Vec<_> = self.seeds.iter().map(HostPort::to_string).collect();
        let seeds = seeds.join(", ");
        if fault.is_misconfiguration() {
            let (complaint, remedy) = fault.for_a_person();
            error!("redis cluster at {seeds} {complaint}: {fault}; check {remedy}");
        } else {
            warn!("redis cluster at {seeds}: nobody tells who serves what: {fault}");
        }
    }
}

impl Discovery for ClusterTopology {
    fn pace(&self) -> Pace {
        Pace {
            rest: Duration::from_millis(200),
            calm: Duration::from_secs(5),
            alert: Duration::from_millis(200),
            patient: Duration::from_secs(1),
        }
    }

    fn refresh(&mut self) -> bool {
        let fault = match self.ask_around() {
            Ok(Some((layout, by))) => {
                self.said = None;
                self.install(layout, &by);
                None
            }
            Ok(None) => {
                self.learn_by_asking();
                None
            }
            Err(fault) => {
                self.say(&fault);
                Some(format!("nobody tells who serves what: {fault}"))
            }
        };
        let is_told = fault.is_none();
        self.router.discovery().fault = fault;
        is_told && self.router.is_well()
    }
}
