//! How a node is made from the settings and an address: all nodes of a topology are made alike.

use std::sync::Arc;
use std::time::Duration;

use scheduled_thread_pool::ScheduledThreadPool;

use super::bell::Bell;
use super::limits::Limits;
use super::link::{Endpoint, Handshake};
use super::node::Node;
use super::pool::{Dial, Pool};
use crate::breaker::Breaker;
use crate::clock;
use crate::config::{self, HostPort, Login, RedisAddress, Servers};
use crate::resolver::HostResolver;

/// What all nodes have in common.
pub struct Blueprint {
    handshake: Handshake,
    breaker: config::Breaker,
    pool_size: usize,
    callers: usize,
    limits: Arc<Limits>,
    /// Rung by nodes that are not what they were.
    pub(super) bell: Arc<Bell>,
    /// r2d2 would start three threads for each pool; what they do takes microseconds.
    threads: Arc<ScheduledThreadPool>,
}

impl Blueprint {
    /// From the settings, for `callers` threads that make calls.
    #[must_use]
    pub fn new(redis: &config::Redis, breaker: &config::Breaker, callers: usize) -> Self {
        let db = match &redis.servers {
            Servers::Single { db, .. } | Servers::Sentinel { db, .. } => *db,
            Servers::Cluster { .. } => 0,
        };
        let threads = ScheduledThreadPool::builder()
            .num_threads(1)
            .thread_name_pattern("pool-{}")
            .build();
        Self {
            handshake: Handshake {
                login: redis.login.clone(),
                db,
                master: matches!(redis.servers, Servers::Sentinel { .. }),
            },
            breaker: breaker.clone(),
            pool_size: redis.pool_size,
            callers,
            limits: Arc::new(Limits::new(redis, breaker)),
            bell: Arc::default(),
            threads: Arc::new(threads),
        }
    }

    /// The figures that all nodes share.
    #[must_use]
    pub fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// The node at `address`, with a breaker that has seen nothing yet. Opens no connection.
    #[must_use]
    pub fn node(&self, address: &RedisAddress) -> Node {
        let dial = Arc::new(self.dial(address, self.handshake.clone()));
        Node::new(
            address.to_string(),
            Arc::clone(&dial),
            Breaker::new(&self.breaker, clock::now()),
            Pool::new(dial, self.pool_size, Arc::clone(&self.threads)),
            Arc::clone(&self.limits),
            self.callers,
            Arc::clone(&self.bell),
        )
    }

    /// How the Sentinel at `address` is reached.
    #[must_use]
    pub fn sentinel(&self, address: &HostPort, login: &Login) -> Dial {
        let handshake = Handshake {
            login: login.clone(),
            db: 0,
            master: false,
        };
        self.dial(&RedisAddress::Tcp(address.clone()), handshake)
    }

    /// How the server at `address` is reached.
    fn dial(&self, address: &RedisAddress, handshake: Handshake) -> Dial {
        let endpoint = match address {
            // An address may change with a fail-over: every connect looks again.
            RedisAddress::Tcp(server) => {
                Endpoint::Tcp(HostResolver::new(server.to_string(), Duration::ZERO))
            }
            RedisAddress::Unix(path) => Endpoint::Unix(path.clone().into_boxed_path()),
        };
        Dial {
            endpoint,
            handshake,
        }
    }
}
