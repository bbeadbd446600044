//! What the admin door shows to operators and to Prometheus, beside the health endpoints: everything
//! that is counted, and the last outages. From known state, never from a live call.

use std::io;
use std::sync::Arc;

use serde_json::Value;

use crate::base::breaker::State;
use crate::base::clock;
use crate::observe::metrics::{Seen, SeenBreaker};
use crate::ops::health::Health;

/// The pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    /// `/metrics`: in Prometheus' text format.
    Metrics,
    /// `/outages`: the last ones, as JSON.
    Outages,
}

impl Page {
    /// The one at `path`.
    #[must_use]
    pub(crate) fn find(path: &str) -> Option<Self> {
        match path {
            "/metrics" => Some(Self::Metrics),
            "/outages" => Some(Self::Outages),
            _ => None,
        }
    }
}

/// Everything that the pages look at.
pub(crate) struct Admin {
    health: Arc<Health>,
}

impl Admin {
    /// Shows what `health` looks at.
    #[must_use]
    pub(crate) fn new(health: Arc<Health>) -> Self {
        Self { health }
    }

    /// The page for Prometheus.
    ///
    /// # Errors
    /// As [`crate::observe::metrics::Metrics::page`].
    pub(crate) fn metrics(&self) -> io::Result<Vec<u8>> {
        self.health.metrics.page(&self.seen())
    }

    /// The last outages, the latest first.
    #[must_use]
    pub(crate) fn outages(&self) -> Value {
        let metrics = &self.health.metrics;
        metrics.outages.json(clock::now(), &metrics.tally())
    }

    fn seen(&self) -> Seen {
        let health = &self.health;
        let lookups = &health.lookups;
        let now = clock::now();
        let redis = lookups.cache().status(now);
        let connections = redis.connections();
        let redis_connections = (connections.made, connections.unused, connections.max);
        let redis_takes_writes = !redis.refuses_writes();
        let redis_nodes = (redis.nodes.len(), redis.nodes_used());
        let redis_slots = redis.slots_covered;
        // One for all nodes: addresses are no labels.
        let of_redis = SeenBreaker {
            name: "redis".to_owned(),
            state: redis.worst().map_or(State::Open, |node| node.state),
            entered: redis.entered,
        };
        let sources = lookups.sources();
        let of_sources = sources.iter().map(|source| SeenBreaker {
            name: format!("source:{}", source.name),
            state: source.breaker.state().0,
            entered: source.breaker.entered(),
        });
        let names = sources.iter().map(|source| source.name.clone());
        let (fills, under_way) = (lookups.fills.len(), lookups.fills.under_way());
        let memory = lookups.memory();
        Seen {
            breakers: std::iter::once(of_redis).chain(of_sources).collect(),
            queues: vec![
                ("redis", lookups.reads.len(), lookups.reads.max()),
                ("source", fills, lookups.fills.max()),
                ("write", lookups.writes.len(), lookups.writes.max()),
                ("life", lookups.ttls.len(), lookups.ttls.max()),
            ],
            in_flight: names.zip(under_way).collect(),
            connections: health.room.taken(),
            redis_takes_writes,
            worker_busy: (health.progress.longest(now).1, health.stuck_after),
            redis_connections,
            redis_nodes,
            redis_slots,
            memory: (
                memory.entries(),
                memory.bytes(),
                memory.limit(),
                memory.evictions(),
            ),
            recovery: lookups.recovery.len(),
        }
    }
}
