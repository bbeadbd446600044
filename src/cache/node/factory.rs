//! What all nodes of a topology have in common, so that they are made alike.

use std::sync::Arc;

use scheduled_thread_pool::ScheduledThreadPool;

use crate::base::breaker::{self, State};
use crate::base::notify::Notify;
use crate::cache::limits::Limits;
use crate::cache::node::pool::Pool;
use crate::cache::wire::dial::Dial;
use crate::cache::wire::handshake::Handshake;
use crate::cache::wire::tls::connector::Connector;
use crate::config::{self, BreakerMode, HostPort, Login, Mode, RedisAddress, Servers};
use crate::observe::metrics::Metrics;

pub(crate) struct NodeFactory {
    pub(crate) mode: Mode,
    pub(crate) breaker_mode: BreakerMode,
    pub(crate) breaker: breaker::Settings,
    tls: Option<Arc<Connector>>,
    handshake: Handshake,
    /// Connections to one node at most.
    pool_size: usize,
    /// Threads that make calls.
    pub(crate) callers: usize,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Arc<Limits>,
    /// Wakes the topology thread when a node is not what it was.
    pub(crate) notify: Arc<Notify>,
    /// r2d2 would start three threads for each pool; what they do takes microseconds.
    threads: Arc<ScheduledThreadPool>,
}

impl NodeFactory {
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
        Self {
            mode: redis.servers.mode(),
            breaker_mode: breaker.mode,
            breaker: breaker_settings(breaker),
            tls: redis.tls.as_ref().map(|tls| Arc::new(Connector::new(tls))),
            handshake: Handshake::new(redis.protocol, redis.login.clone(), db),
            pool_size: redis.pool_size,
            callers,
            metrics,
            limits: Arc::new(Limits::new(redis, breaker)),
            notify: Arc::default(),
            threads: Arc::new(threads),
        }
    }

    /// Connections to a node that is reached by `dial`; opens none.
    pub(crate) fn pool(&self, dial: &Arc<Dial>) -> Pool {
        Pool::new(Arc::clone(dial), self.pool_size, Arc::clone(&self.threads))
    }

    /// The way to the node at `address`.
    pub(crate) fn dial(&self, address: &RedisAddress) -> Dial {
        let wants_master = self.mode == Mode::Sentinel;
        Dial::new(
            address,
            self.tls.clone(),
            self.handshake.clone(),
            wants_master,
        )
    }

    /// The way to the Sentinel at `address`.
    pub(crate) fn sentinel(&self, address: &HostPort, login: &Login) -> Dial {
        let handshake = Handshake::new(self.handshake.protocol, login.clone(), 0);
        let address = RedisAddress::Tcp(address.clone());
        Dial::new(&address, self.tls.clone(), handshake, false)
    }

    /// Reads the files of TLS again where they have changed.
    pub(crate) fn reload_changed_files(&self) {
        if let Some(tls) = &self.tls {
            tls.reload_changed_files();
        }
    }
}

fn breaker_settings(breaker: &config::Breaker) -> breaker::Settings {
    let has_prober = !breaker.probe_interval.is_zero();
    breaker::Settings {
        held: match breaker.mode {
            BreakerMode::Auto => None,
            BreakerMode::ForcedOpen => Some(State::Open),
            BreakerMode::Disabled => Some(State::Closed),
        },
        fail_max: breaker.fail_max,
        trial_after: (!has_prober).then_some(breaker.reset_timeout),
    }
}
