//! Redis as a cache that may be gone at any moment: lookups, writes, and whether it is worth asking.
//! Everything that knows the Redis protocol or its client crates is in this folder; nothing here
//! knows routes, sources or HTTP.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use scheduled_thread_pool::ScheduledThreadPool;

use crate::breaker::Breaker;
use crate::clock;
use crate::config::{self, RedisAddress};
use crate::resolver::HostResolver;

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

use limits::Limits;
use link::{Endpoint, Handshake};
use node::Node;
use pool::{Dial, Pool};
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
        let url = &redis.url;
        let (endpoint, address) = match &url.address {
            RedisAddress::Tcp(host, port) => {
                let address = match host.contains(':') {
                    true => format!("[{host}]:{port}"),
                    false => format!("{host}:{port}"),
                };
                // An address may change with a fail-over: every connect looks again.
                let resolver = HostResolver::new(address.clone(), Duration::ZERO);
                (Endpoint::Tcp(resolver), address)
            }
            RedisAddress::Unix(path) => (
                Endpoint::Unix(path.clone().into_boxed_path()),
                path.display().to_string(),
            ),
        };
        let dial = Arc::new(Dial {
            endpoint,
            handshake: Handshake {
                username: url.username.clone(),
                password: url.password.clone(),
                db: url.db,
            },
        });
        let limits = Arc::new(Limits::new(redis, breaker));
        let breaker = Breaker::new(breaker, clock::now());
        // r2d2 would start three threads for each pool; what they do takes microseconds.
        let threads = Arc::new(
            ScheduledThreadPool::builder()
                .num_threads(1)
                .thread_name_pattern("pool-{}")
                .build(),
        );
        let pool = Pool::new(Arc::clone(&dial), redis.pool_size, threads);
        let node = Node::new(address, dial, breaker, pool, Arc::clone(&limits), callers);
        Self {
            limits,
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
