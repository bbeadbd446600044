//! One snapshot of what is known of Redis, without asking anybody: for health, metrics and systemd.

use std::iter::Sum;
use std::time::Duration;

use crate::base::breaker::State;
use crate::cache::routing::hash_slot::SLOTS;
use crate::config::{BreakerMode, Mode};

/// What is known of Redis as a whole.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    /// `[redis] mode`.
    pub mode: Mode,
    /// `[breaker] mode`.
    pub breaker_mode: BreakerMode,
    /// Of every node that is asked for keys.
    pub nodes: Vec<NodeStatus>,
    /// How many slots have a node that serves them: of a cluster, or all.
    pub slots_covered: usize,
    /// How often breakers have gone into each state, in the order of [`State::ALL`].
    pub entered: [u64; State::ALL.len()],
    /// With Sentinels: each of them.
    pub sentinels: Vec<SentinelStatus>,
    /// Why it is not known where the nodes are, or not for certain.
    pub fault: Option<String>,
}

/// What is known of a Sentinel.
#[derive(Debug, Clone)]
pub(crate) struct SentinelStatus {
    pub address: String,
    /// Why it is of no use, if it is of none.
    pub fault: Option<String>,
}

/// What is known of one node.
#[derive(Debug, Clone)]
pub(crate) struct NodeStatus {
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
    pub connections: Connections,
}

/// How many connections there are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Connections {
    /// Slots of the pool: open connections, and room for closed ones.
    pub made: u32,
    /// Slots that no call uses.
    pub unused: u32,
    pub max: u32,
}

impl Sum for Connections {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            made: sum.made + one.made,
            unused: sum.unused + one.unused,
            max: sum.max + one.max,
        })
    }
}

impl Status {
    /// Whether every key can be asked for.
    pub(crate) fn is_up(&self) -> bool {
        self.slots_covered == SLOTS && self.nodes_used() == self.nodes.len()
    }

    /// Whether no key can be asked for.
    pub(crate) fn is_down(&self) -> bool {
        self.nodes_used() == 0
    }

    /// How many nodes are asked, their breakers being closed.
    pub(crate) fn nodes_used(&self) -> usize {
        let used = |node: &&NodeStatus| node.state == State::Closed;
        self.nodes.iter().filter(used).count()
    }

    /// The node that has been away the longest; if none is, the one that has been there the longest.
    pub(crate) fn worst(&self) -> Option<&NodeStatus> {
        let nodes = self.nodes.iter();
        nodes.max_by_key(|node| (node.state != State::Closed, node.since))
    }

    /// Whether a node refused the last write, though it may serve reads.
    pub(crate) fn refuses_writes(&self) -> bool {
        self.nodes.iter().any(|node| node.refuses_writes)
    }

    /// Of all nodes.
    pub(crate) fn connections(&self) -> Connections {
        self.nodes.iter().map(|node| node.connections).sum()
    }
}
