//! How a node is made from the settings and an address: all nodes of a topology are made alike.

use std::sync::Arc;
use std::time::Duration;

use scheduled_thread_pool::ScheduledThreadPool;

use crate::base::breaker::{self, State};
use crate::base::notify::Notify;
use crate::base::resolver::HostResolver;
use crate::cache::limits::Limits;
use crate::cache::node::pool::{Dial, Pool};
use crate::cache::status::Mode;
use crate::cache::wire::connection::{Endpoint, Handshake};
use crate::cache::wire::tls::Connector;
use crate::config::{self, BreakerMode, HostPort, Login, RedisAddress, Servers};
use crate::observe::metrics::Metrics;

/// What all nodes have in common.
pub(crate) struct NodeFactory {
    pub(crate) mode: Mode,
    handshake: Handshake,
    pub(crate) breaker_mode: BreakerMode,
    pub(crate) breaker: breaker::Settings,
    pool_size: usize,
    /// Threads that make calls.
    pub(crate) callers: usize,
    pub(crate) metrics: Arc<Metrics>,
    limits: Arc<Limits>,
    /// Rung by nodes that are not what they were.
    pub(crate) notify: Arc<Notify>,
    /// r2d2 would start three threads for each pool; what they do takes microseconds.
    threads: Arc<ScheduledThreadPool>,
}

impl NodeFactory {
    /// From the settings, for `callers` threads that make calls.
    #[must_use]
    pub(crate) fn new(
        redis: &config::Redis,
        breaker: &config::Breaker,
        callers: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        let db = match &redis.servers {
            Servers::Single { db, .. } | Servers::Sentinel { db, .. } => *db,
            Servers::Cluster { .. } => 0,
        };
        let threads = ScheduledThreadPool::builder()
            .num_threads(1)
            .thread_name_pattern("pool-{}")
            .build();
        let tls = redis.tls.as_ref().map(|tls| Arc::new(Connector::new(tls)));
        let mut handshake = Handshake::new(tls, redis.protocol, redis.login.clone(), db);
        handshake.is_with_master = matches!(redis.servers, Servers::Sentinel { .. });
        Self {
            mode: Mode::of(&redis.servers),
            handshake,
            breaker_mode: breaker.mode,
            breaker: breaker_settings(breaker),
            pool_size: redis.pool_size,
            callers,
            metrics,
            limits: Arc::new(Limits::new(redis, breaker)),
            notify: Arc::default(),
            threads: Arc::new(threads),
        }
    }

    /// The figures that all nodes share.
    #[must_use]
    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// Connections to a node that is reached by `dial`; opens none.
    pub(crate) fn pool(&self, dial: &Arc<Dial>) -> Pool {
        Pool::new(Arc::clone(dial), self.pool_size, Arc::clone(&self.threads))
    }

    /// How the node at `address` is reached.
    pub(crate) fn dial(&self, address: &RedisAddress) -> Dial {
        self.dial_with(address, self.handshake.clone())
    }

    /// Reads the files of TLS again where they have changed.
    pub(crate) fn look_for_new_files(&self) {
        if let Some(tls) = &self.handshake.tls {
            tls.look_for_new_files();
        }
    }

    /// How the Sentinel at `address` is reached.
    #[must_use]
    pub(crate) fn sentinel(&self, address: &HostPort, login: &Login) -> Dial {
        let Handshake { tls, protocol, .. } = &self.handshake;
        let handshake = Handshake::new(tls.clone(), *protocol, login.clone(), 0);
        self.dial_with(&RedisAddress::Tcp(address.clone()), handshake)
    }

    /// How the server at `address` is reached, and greeted with `handshake`.
    fn dial_with(&self, address: &RedisAddress, handshake: Handshake) -> Dial {
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

fn breaker_settings(breaker: &config::Breaker) -> breaker::Settings {
    breaker::Settings {
        held: match breaker.mode {
            BreakerMode::Auto => None,
            BreakerMode::ForcedOpen => Some(State::Open),
            BreakerMode::Disabled => Some(State::Closed),
        },
        fail_max: breaker.fail_max,
        trial_after: breaker
            .probe_interval
            .is_zero()
            .then_some(breaker.reset_timeout),
    }
}
