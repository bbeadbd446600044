//! What is known of Redis, without asking anybody: for `/healthz`, metrics and systemd.

use std::time::{Duration, Instant};

use crate::base::breaker::State;
use crate::cache::RedisCache;
use crate::cache::node::Node;
use crate::cache::routing::hash_slot::SLOTS;
use crate::cache::wire::fault::Fault;
use crate::config::{BreakerMode, Servers};

/// What is known of Redis as a whole.
#[derive(Debug, Clone)]
pub struct Status {
    /// `[redis] mode`.
    pub mode: Mode,
    /// What the settings let the breakers do.
    pub breaker_mode: BreakerMode,
    /// Of every node that is asked for keys.
    pub nodes: Vec<NodeStatus>,
    /// How many slots have a node that serves them: of a cluster, or all.
    pub slots_covered: usize,
    /// How often breakers have gone into each state, in the order of [`State::ALL`].
    pub entered: [u64; State::ALL.len()],
    /// Of those who tell where the nodes are: Sentinels.
    pub guides: Vec<SentinelStatus>,
    /// Why it is not known where the nodes are, or not for certain.
    pub fault: Option<String>,
}

/// How the nodes are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// There is one, and its address is configured.
    Single,
    /// Sentinels name the master.
    Sentinel,
    /// The nodes of a cluster name each other.
    Cluster,
}

impl Mode {
    /// The mode of `servers`.
    #[must_use]
    pub fn of(servers: &Servers) -> Self {
        match servers {
            Servers::Single { .. } => Self::Single,
            Servers::Sentinel { .. } => Self::Sentinel,
            Servers::Cluster { .. } => Self::Cluster,
        }
    }

    /// The word for it in settings, `/healthz` and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }
}

/// What the topology thread has found out, beside the table.
#[derive(Debug, Clone, Default)]
pub(crate) struct DiscoveryState {
    /// Why it is not known where the nodes are, or not for certain.
    pub fault: Option<String>,
    /// Whom it asks.
    pub guides: Vec<SentinelStatus>,
    /// How often breakers of nodes that were let go had gone into each state.
    pub entered_before: [u64; State::ALL.len()],
}

impl DiscoveryState {
    /// A node is let go, whose breaker had gone into each state so often.
    pub(crate) fn remember(&mut self, entered: [u64; State::ALL.len()]) {
        self.entered_before = add(self.entered_before, entered);
    }
}

/// Each figure of one with that of the other.
fn add<const N: usize>(mut these: [u64; N], those: [u64; N]) -> [u64; N] {
    these
        .iter_mut()
        .zip(those)
        .for_each(|(this, that)| *this += that);
    these
}

/// One who is asked where the nodes are.
#[derive(Debug, Clone)]
pub struct SentinelStatus {
    /// Where it is.
    pub address: String,
    /// Why it is of no use, if it is of none.
    pub fault: Option<String>,
}

/// What is known of one node.
#[derive(Debug, Clone)]
pub struct NodeStatus {
    /// Without credentials.
    pub address: String,
    /// How many slots of a cluster it serves.
    pub slots: usize,
    /// Of the breaker.
    pub state: State,
    /// How long the breaker has been in it.
    pub since: Duration,
    /// In words, the last one met.
    pub last_fault: Option<String>,
    /// Whether it refused the last write, though it may serve reads.
    pub refuses_writes: bool,
    /// Connections: slots made, unused, at most.
    pub connections: (u32, u32, u32),
}

impl Status {
    /// Whether every key can be asked for.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.slots_covered == SLOTS && self.nodes.iter().all(|node| node.state == State::Closed)
    }

    /// Whether no key can be asked for.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.nodes.iter().all(|node| node.state != State::Closed)
    }

    /// The node that has been away the longest; if none is, the one that has been there the longest.
    #[must_use]
    pub fn worst(&self) -> Option<&NodeStatus> {
        let nodes = self.nodes.iter();
        nodes.max_by_key(|node| (node.state != State::Closed, node.since))
    }

    /// Whether a node refused the last write, though it may serve reads.
    #[must_use]
    pub fn refuses_writes(&self) -> bool {
        self.nodes.iter().any(|node| node.refuses_writes)
    }

    /// Connections of all nodes: slots made, unused, at most.
    #[must_use]
    pub fn connections(&self) -> (u32, u32, u32) {
        let connections = self.nodes.iter().map(|node| node.connections);
        connections.fold((0, 0, 0), |sum, one| {
            (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2)
        })
    }
}

impl RedisCache {
    /// What is known, without asking anybody.
    #[must_use]
    pub fn status(&self, now: Instant) -> Status {
        let slot_map = self.slot_map();
        let slots = slot_map.slots();
        let nodes = slot_map.nodes().iter().zip(&slots);
        let nodes = nodes.map(|(node, &slots)| node.status(slots, now));
        let discovery = self.discovery().clone();
        let entered = slot_map
            .nodes()
            .iter()
            .fold(discovery.entered_before, |sum, node| {
                add(sum, node.breaker.entered())
            });
        Status {
            entered,
            mode: self.factory.mode,
            breaker_mode: self.factory.breaker_mode,
            guides: discovery.guides,
            fault: discovery.fault,
            nodes: nodes.collect(),
            slots_covered: slots.iter().sum(),
        }
    }
}

impl Node {
    fn status(&self, slots: usize, now: Instant) -> NodeStatus {
        let (state, since) = self.breaker.state();
        let (made, idle) = self.pool.slots();
        NodeStatus {
            address: self.address.clone(),
            slots,
            state,
            since: now.saturating_duration_since(since),
            last_fault: self.report().last_fault.as_ref().map(Fault::to_string),
            refuses_writes: self.refuses_writes(),
            connections: (made, idle, self.pool.size()),
        }
    }
}
