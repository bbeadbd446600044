//! What is known of Redis, without asking anybody: for `/healthz`, metrics and systemd.

use std::time::{Duration, Instant};

use super::Cache;
use super::node::Node;
use crate::breaker::State;

/// What is known of Redis as a whole.
#[derive(Debug, Clone)]
pub struct Status {
    /// Of every node.
    pub nodes: Vec<NodeStatus>,
}

/// What is known of one node.
#[derive(Debug, Clone)]
pub struct NodeStatus {
    /// Without credentials.
    pub address: String,
    /// Of the breaker.
    pub state: State,
    /// How long the breaker has been in it.
    pub since: Duration,
    /// In words, the last one met.
    pub last_fault: Option<String>,
    /// Connections: slots made, unused, at most.
    pub connections: (u32, u32, u32),
}

impl Status {
    /// Whether every key can be asked for.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.nodes.iter().all(|node| node.state == State::Closed)
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

    /// Connections of all nodes: slots made, unused, at most.
    #[must_use]
    pub fn connections(&self) -> (u32, u32, u32) {
        let connections = self.nodes.iter().map(|node| node.connections);
        connections.fold((0, 0, 0), |sum, one| {
            (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2)
        })
    }
}

impl Cache {
    /// What is known, without asking anybody.
    #[must_use]
    pub fn status(&self, now: Instant) -> Status {
        let table = self.table();
        Status {
            nodes: table.nodes().iter().map(|node| node.status(now)).collect(),
        }
    }
}

impl Node {
    fn status(&self, now: Instant) -> NodeStatus {
        let (state, since) = self.breaker.state();
        let (slots, idle) = self.pool.slots();
        NodeStatus {
            address: self.address.clone(),
            state,
            since: now.saturating_duration_since(since),
            last_fault: self.report().last_fault.clone(),
            connections: (slots, idle, self.pool.size()),
        }
    }
}
