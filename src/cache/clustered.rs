//! Rounds with a cluster: one of its nodes is asked who serves what, and its answer is put in force,
//! unless it is an older one than we know.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, info, warn};

use super::cluster::{Guide, Layout};
use super::fault::Fault;
use super::node::Node;
use super::slots::{SLOTS, Slot};
use super::table::Table;
use super::topology::{Pace, Rounds};
use super::{Cache, NODES_MAX};
use crate::clock::{self, Deadline};
use crate::config::{HostPort, RedisAddress};

/// What a round may take, however many nodes do not answer.
const ROUND_LIMIT: Duration = Duration::from_millis(1500);
/// A node that owns nothing is kept for so long after it was last of use.
const GUEST_KEPT_FOR: Duration = Duration::from_secs(10);

/// The nodes of a cluster.
pub(super) struct Clustered {
    cache: Arc<Cache>,
    /// Those that are configured.
    seeds: Vec<HostPort>,
    /// Those that own nothing, as far as is known.
    replicas: Vec<HostPort>,
    /// Whom to ask first: who answered last.
    guide: Option<Guide>,
    /// Of the layout in force.
    epoch: u64,
    /// What was said last of why there is no layout.
    said: Option<Fault>,
    /// It was said that nobody tells us a layout.
    is_untold: bool,
}

/// What became of the nodes in a new table.
#[derive(Default)]
struct Change {
    owners: usize,
    covered_before: usize,
    covered: usize,
    /// New nodes, and the node each of them has replaced, if it is gone.
    new: Vec<(Arc<Node>, Option<Arc<Node>>)>,
    gone: Vec<Arc<Node>>,
}

impl Clustered {
    /// The cluster to which the nodes at `seeds` belong.
    pub(super) fn new(cache: Arc<Cache>, seeds: &[HostPort]) -> Self {
        Self {
            cache,
            seeds: seeds.to_vec(),
            replicas: Vec::new(),
            guide: None,
            epoch: 0,
            said: None,
            is_untold: false,
        }
    }

    /// Asks one node after the other for a layout that is no older than the one in force. When all that
    /// answer are older and say that their cluster works, it is another cluster now: the latest of these.
    /// `None`: none of those that answer tells us.
    fn ask_around(&mut self) -> Result<Option<(Layout, HostPort)>, Fault> {
        let deadline = Deadline::after(clock::now(), ROUND_LIMIT);
        let mut older: Option<(Layout, HostPort)> = None;
        let mut fault = Fault::NoConnection;
        let mut is_untold = false;
        let kept = self.guide.take().map(Ok);
        let others = self.candidates().into_iter().map(Err);
        for candidate in kept.into_iter().chain(others) {
            if self.cache.blueprint.bell.is_over() || deadline.passed(clock::now()) {
                break;
            }
            let guide = candidate.or_else(|server| {
                let dial = self
                    .cache
                    .blueprint
                    .dial(&RedisAddress::Tcp(server.clone()));
                Guide::connect(server, &dial)
            });
            let asked = guide.and_then(|mut guide| Ok((guide.ask()?, guide)));
            match asked {
                Ok((Some(layout), guide)) if !layout.ranges.is_empty() => {
                    let server = guide.server.clone();
                    if layout.epoch >= self.epoch {
                        self.guide = Some(guide);
                        return Ok(Some((layout, server)));
                    }
                    let is_later = older
                        .as_ref()
                        .is_none_or(|(known, _)| known.epoch < layout.epoch);
                    if layout.is_ok && is_later {
                        older = Some((layout, server));
                    }
                }
                Ok((Some(_), guide)) => {
                    fault = Fault::Refused(format!("{} knows of no slots", guide.server));
                }
                Ok((None, _)) => is_untold = true,
                Err(why) => fault = why,
            }
        }
        match older {
            Some(older) => Ok(Some(older)),
            None if is_untold => Ok(None),
            None => Err(fault),
        }
    }

    /// Whom to ask: nodes that are of use, then who has nothing else to do, then whoever was configured.
    fn candidates(&self) -> Vec<HostPort> {
        let table = self.cache.table();
        let now = clock::now();
        let nodes = table
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
        let mut replicas = self.replicas.clone();
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

    /// From now on the slots are served as `layout` says, which `by` has told.
    fn put_in_force(&mut self, layout: Layout, by: &HostPort) {
        let (owners, slots) = layout.owners();
        if owners.len() >= NODES_MAX {
            warn!(
                "redis cluster: {by} names {} nodes, which cannot be",
                owners.len()
            );
            return;
        }
        let now = clock::now();
        let cache = Arc::clone(&self.cache);
        let is_first = cache.table().nodes().is_empty();
        let mut change = Change::default();
        cache.put_in_force(|old| {
            let table = self.table(old, &owners, slots, now);
            change = Change::between(old, &table, now);
            table
        });
        (self.epoch, self.replicas) = (layout.epoch, layout.replicas);
        change.say(by, is_first);
    }

    /// The new table: nodes that stay are the same, and guests stay while they are of use.
    fn table(
        &self,
        old: &Table,
        owners: &[&HostPort],
        slots: Vec<Option<u16>>,
        now: Instant,
    ) -> Table {
        let mut place = 0;
        let mut new_place = || {
            place += 1;
            while old.nodes().iter().any(|node| node.place() == place) {
                place += 1;
            }
            place
        };
        let node = |server: &&HostPort| {
            let known = old.at(&server.to_string()).cloned();
            known.unwrap_or_else(|| {
                let address = RedisAddress::Tcp((*server).clone());
                Arc::new(Node::new(new_place(), &address, &self.cache.blueprint))
            })
        };
        let owners: Vec<_> = owners.iter().map(node).collect();
        let is_guest = |node: &&Arc<Node>| {
            let limit = now.checked_sub(GUEST_KEPT_FOR);
            let owns = owners.iter().any(|owner| Arc::ptr_eq(owner, node));
            !owns && limit.is_some_and(|limit| node.was_used_after(limit)) && !old.owns(node)
        };
        let guests: Vec<_> = old.nodes().iter().filter(is_guest).cloned().collect();
        Table::of_slots(owners, guests, slots)
    }

    /// Nobody tells us who serves what: whoever is asked for a key sends us on, and we remember that.
    fn learn_by_asking(&mut self) {
        if !std::mem::replace(&mut self.is_untold, true) {
            warn!(
                "redis cluster: CLUSTER SLOTS is refused us, so its nodes are learned from where they \
                 send us; grant our user +cluster|slots and +cluster|info"
            );
        }
        let now = clock::now();
        if self.cache.table().nodes().is_empty() {
            let count = self.seeds.len();
            let share = |n: usize| n * SLOTS / count;
            let seeds = self.seeds.iter().enumerate();
            let layout = Layout {
                ranges: seeds
                    .map(|(n, seed)| (share(n), share(n + 1) - 1, seed.clone()))
                    .collect(),
                replicas: Vec::new(),
                epoch: 0,
                is_ok: true,
            };
            let by = self.seeds[0].clone();
            self.put_in_force(layout, &by);
        } else if !self.cache.is_well() {
            self.cache
                .put_in_force(|table| table.with_usable_owners(now));
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

impl Rounds for Clustered {
    fn pace(&self) -> Pace {
        Pace {
            rest: Duration::from_millis(200),
            calm: Duration::from_secs(5),
            alert: Duration::from_millis(200),
            patient: Duration::from_secs(1),
        }
    }

    fn go(&mut self) -> bool {
        let fault = match self.ask_around() {
            Ok(Some((layout, by))) => {
                self.said = None;
                self.put_in_force(layout, &by);
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
        self.cache.survey().fault = fault;
        is_told && self.cache.is_well()
    }
}

impl Change {
    fn between(old: &Table, new: &Table, now: Instant) -> Self {
        let is_in = |table: &Table, node: &Arc<Node>| {
            table.nodes().iter().any(|known| Arc::ptr_eq(known, node))
        };
        let new_nodes = new.nodes().iter().filter(|node| !is_in(old, node));
        let replaced = |node: &Arc<Node>| {
            let before = predecessor(old, new, node)?;
            (!is_in(new, &before)).then_some(before)
        };
        let new_nodes: Vec<_> = new_nodes
            .map(|node| (Arc::clone(node), replaced(node)))
            .collect();
        for (node, replaced) in &new_nodes {
            if replaced.is_some() {
                node.takes_over(now);
            }
        }
        let gone = old.nodes().iter().filter(|node| !is_in(new, node)).cloned();
        Self {
            owners: new.slots().iter().filter(|&&count| count > 0).count(),
            covered_before: old.slots().iter().sum(),
            covered: new.slots().iter().sum(),
            new: new_nodes,
            gone: gone.collect(),
        }
    }

    /// A failover is one line, and so is whatever else happens to nodes. That slots go from one node to
    /// another is none.
    fn say(self, by: &HostPort, is_first: bool) {
        let Self {
            owners,
            covered,
            covered_before,
            new,
            mut gone,
        } = self;
        if is_first {
            info!("redis cluster of {owners} masters serves {covered} of {SLOTS} slots, says {by}");
            return;
        }
        for (node, replaced) in new {
            let Some(old) = replaced else {
                info!("redis cluster: {} has joined, says {by}", node.address());
                continue;
            };
            gone.retain(|node| !Arc::ptr_eq(node, &old));
            warn!(
                "redis cluster: {} has taken the place of {} (breaker {}), says {by}; {} lookups went \
                 without it",
                node.address(),
                old.address(),
                old.breaker.state().0.word(),
                old.bypassed(),
            );
        }
        for node in gone {
            info!(
                "redis cluster: {} serves nothing any more, says {by}",
                node.address()
            );
        }
        match (covered_before == SLOTS, covered == SLOTS) {
            (true, false) => {
                warn!("redis cluster: only {covered} of {SLOTS} slots are served, says {by}");
            }
            (false, true) => info!("redis cluster: all {SLOTS} slots are served, says {by}"),
            _ => {}
        }
    }
}

/// Who owned in `old` the first of the slots that `node` owns in `new`.
fn predecessor(old: &Table, new: &Table, node: &Arc<Node>) -> Option<Arc<Node>> {
    let mut slots = (0..SLOTS as u64).filter_map(Slot::numbered);
    let is_its = |slot: &Slot| {
        new.node(|| *slot)
            .is_some_and(|owner| Arc::ptr_eq(owner, node))
    };
    let first = slots.find(is_its)?;
    old.node(|| first).cloned()
}
