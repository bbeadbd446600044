//! Redis as a cache that may be gone at any moment: lookups, writes, and whether it is worth asking.
//! Everything that knows the Redis protocol or its client crates is in this folder; nothing here
//! knows routes, sources or HTTP.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use crate::config::{self, RedisAddress, Servers};

pub mod blueprint;
pub mod calls;
pub mod fault;
pub mod limits;
pub mod link;
pub mod lives;
pub mod node;
pub mod parts;
pub mod pool;
pub mod prober;
pub mod read;
pub mod slots;
pub mod status;
pub mod table;
pub mod write;

use blueprint::Blueprint;
use limits::Limits;
use slots::Slot;
use table::Table;

/// Redis, as one process sees it.
pub struct Cache {
    limits: Arc<Limits>,
    /// Guards which table is in force; held for nanoseconds.
    table: RwLock<Arc<Table>>,
}

/// The call brought nothing: Redis is not to be asked again by the same request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unusable;

impl Cache {
    /// For `callers` threads that make calls. Opens no connection.
    #[must_use]
    pub fn new(redis: &config::Redis, breaker: &config::Breaker, callers: usize) -> Self {
        let blueprint = Blueprint::new(redis, breaker, callers);
        let address = match &redis.servers {
            Servers::Single { address, .. } => address.clone(),
            // Not found out yet; whatever the first one is, it answers for no key that is not its own.
            Servers::Sentinel { nodes, .. } | Servers::Cluster { nodes } => {
                RedisAddress::Tcp(nodes[0].clone())
            }
        };
        let node = blueprint.node(&address);
        Self {
            limits: Arc::clone(blueprint.limits()),
            table: RwLock::new(Arc::new(Table::of_one(Arc::new(node)))),
        }
    }

    /// What it may cost, and how much is asked of it at once.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Which node serves which key, now.
    #[must_use]
    pub fn table(&self) -> Arc<Table> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&table)
    }

    /// Whether there is a node that is worth asking.
    #[must_use]
    pub fn is_usable(&self, now: Instant) -> bool {
        self.table().nodes().iter().any(|node| node.is_usable(now))
    }

    /// Whether a write of a key would be tried now.
    #[must_use]
    pub fn takes_writes(&self, slot: impl FnOnce() -> Slot, now: Instant) -> bool {
        let table = self.table();
        table.node(slot).is_some_and(|node| node.takes_writes(now))
    }

    /// Whether there is a node that would be written to now.
    #[must_use]
    pub fn takes_any_writes(&self, now: Instant) -> bool {
        self.table()
            .nodes()
            .iter()
            .any(|node| node.takes_writes(now))
    }

    /// Since when the node of a key is of use again, if it was ever lost: what it had may be gone.
    #[must_use]
    pub fn back_since(&self, slot: impl FnOnce() -> Slot) -> Option<Instant> {
        self.table().node(slot)?.back_since()
    }

    /// Looks at the calls in flight, and gives up nodes that stall; `waiting` lookups wait for a
    /// reader for too long.
    pub fn watch(&self, waiting: usize, now: Instant) {
        for node in self.table().nodes() {
            node.watch(waiting, now);
        }
    }

    /// Whether a call is in flight.
    #[must_use]
    pub fn is_calling(&self) -> bool {
        self.table().nodes().iter().any(|node| node.is_calling())
    }
}
