//! Builds every part of the service from the configuration, owns them, and ends them in order.

mod descriptors;
mod door;
mod listen;
pub mod preflight;
mod start_error;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};

use crate::base::clock;
use crate::base::room::Room;
use crate::cache::RedisCache;
use crate::cache::prober::Prober;
use crate::cache::topology::Topology;
use crate::config::{Config, Route, Servers};
use crate::copies::memory::Memory;
use crate::observe::metrics::{Metrics, Outcome};
use crate::ops::admin::Admin;
use crate::ops::health::{Draining, Health};
use crate::ops::systemd::watchdog::{Watchdog, Watched};
use crate::policy::{GuardedSource, Policy};
use crate::server::accept::Listener;
use crate::server::contract::Contract;
use crate::server::service::Service;
use crate::source::kinds;
use crate::workers::Workers;

pub use start_error::StartError;

use descriptors::affordable_connections;
use door::Door;

/// Connections of operators at once.
const ADMIN_CONNECTIONS_MAX: usize = 64;

/// How long the last values may take to be written to Redis when the drain time-out is over.
const LAST_WRITES: Duration = Duration::from_millis(500);

/// The running service. Fields are dropped in their order: the doors first, the workers after them.
pub struct App {
    clients: Door,
    admin: Option<Door>,
    workers: Workers,
    prober: Prober,
    topology: Option<Topology>,
    watchdog: Option<Watchdog>,
    draining: Arc<Draining>,
    room: Arc<Room>,
    policy: Arc<Policy>,
    metrics: Arc<Metrics>,
    drain_timeout: Duration,
}

impl App {
    /// Listens, on the socket that systemd passes if it does, and starts every thread. Redis need
    /// not be there.
    ///
    /// # Errors
    /// [`StartError`]
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let listeners = listen::for_clients(config)?;
        let admin_listener = listen::for_operators(config)?;
        let metrics = Arc::new(Metrics::new(config)?);
        let draining = Arc::new(Draining::default());
        let readers = readers(config);
        let callers = Workers::callers(readers);
        let connections_max = affordable_connections(config, ADMIN_CONNECTIONS_MAX, callers);
        let room = Arc::new(Room::new(connections_max));
        let policy = Arc::new(policy(config, callers, &metrics));
        let workers = Workers::start(
            &policy,
            &metrics,
            readers,
            config.server.workers,
            config.redis.batch_max,
        )?;
        let probe_key = format!("{}evenkeel:probe", config.redis.key_prefix);
        let cache = policy.cache();
        let topology = Topology::start(cache, &config.redis, &probe_key)?;
        let prober = Prober::start(cache, config.breaker.probe_interval, probe_key)?;
        let health = Arc::new(Health {
            redis: config.health.redis,
            stuck_after: config.server.request_timeout * 2 + Duration::from_secs(5),
            queue_max: config.server.queue,
            policy: Arc::clone(&policy),
            progress: Arc::clone(workers.progress()),
            room: Arc::clone(&room),
            metrics: Arc::clone(&metrics),
            draining: Arc::clone(&draining),
            self_check: Arc::default(),
        });
        let admin = admin_listener.map(|listener| open_admin(config, listener, &health));
        let admin = admin.transpose()?;
        let service = service(config, config.routes.clone(), &health, None);
        let names = (0..config.server.fronts).map(|number| format!("front-{number}"));
        let server = &config.server;
        let clients = Door::open(listeners, "accept", names, server, service, &room, &health)?;
        if let Some(admin) = &admin {
            let addresses = admin.addresses();
            info!("admin door on {addresses}: /metrics, /outages, /healthz");
        }
        let version = env!("CARGO_PKG_VERSION");
        info!("evenkeel {version} listens on {}", clients.addresses());
        let watched = Watched {
            health: Arc::clone(&health),
            address: clients.addresses[0].clone(),
            request_timeout: config.server.request_timeout,
        };
        let watchdog = Watchdog::start(watched)?;
        Ok(Self {
            clients,
            admin,
            workers,
            prober,
            topology,
            watchdog,
            draining,
            room,
            policy,
            metrics,
            drain_timeout: config.server.drain_timeout,
        })
    }

    /// Ends the service: it is not ready any more and takes no new connections, and what is in flight is
    /// finished within the drain time-out.
    pub fn drain(mut self) {
        let began = clock::now();
        let (connections, _) = self.room.taken();
        info!(
            "draining: {connections} connections, at most {} s",
            self.drain_timeout.as_secs()
        );
        self.draining.begin();
        if let Some(watchdog) = &self.watchdog {
            watchdog.tell_stopping(&format!("draining: {connections} connections"));
        }
        self.clients.begin_drain();
        let limit = began + self.drain_timeout;
        while !self.clients.is_drained() && clock::now() < limit {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let (left, _) = self.room.taken();
        drop(self.clients);
        // What was fetched for the last answers still goes to Redis.
        self.workers.end(limit.max(clock::now() + LAST_WRITES));
        let (lost, _) = self.policy.recovery.len();
        drop(self.prober);
        drop(self.topology);
        drop(self.watchdog);
        drop(self.admin);
        log_farewell(&self.metrics, left, lost, began);
    }
}

fn service(
    config: &Config,
    routes: Vec<Route>,
    health: &Arc<Health>,
    admin: Option<Admin>,
) -> Service {
    Service {
        contract: Contract::new(config.server.contract, routes),
        health: Arc::clone(health),
        admin,
        metrics: Arc::clone(&health.metrics),
        key_max_bytes: config.server.max_key,
        request_timeout: config.server.request_timeout,
    }
}

/// Opens the door of operators: no routes behind it, but its own pages.
fn open_admin(config: &Config, listener: Listener, health: &Arc<Health>) -> io::Result<Door> {
    let admin = Admin::new(Arc::clone(health));
    let service = service(config, Vec::new(), health, Some(admin));
    let room = Arc::new(Room::new(ADMIN_CONNECTIONS_MAX));
    let names = ["admin-front".to_owned()];
    let (name, server) = ("admin-accept", &config.server);
    Door::open(vec![listener], name, names, server, service, &room, health)
}

fn policy(config: &Config, callers: usize, metrics: &Arc<Metrics>) -> Policy {
    let cache = RedisCache::new(&config.redis, &config.breaker, callers, Arc::clone(metrics));
    Policy::new(
        config,
        sources(config, metrics),
        Arc::new(cache),
        Memory::new(&config.memory),
        Arc::clone(metrics),
    )
}

/// How many readers there are. A cluster has at least two: one node that hangs holds one.
fn readers(config: &Config) -> usize {
    match config.redis.servers {
        Servers::Cluster { .. } => config.redis.readers.max(2),
        Servers::Single { .. } | Servers::Sentinel { .. } => config.redis.readers,
    }
}

fn sources(config: &Config, metrics: &Arc<Metrics>) -> Vec<GuardedSource> {
    let sources = config.sources.iter().enumerate();
    sources
        .map(|(number, source)| {
            GuardedSource::new(source, number, kinds::build(source), Arc::clone(metrics))
        })
        .collect()
}

/// Logs the last lines: what this process has done, and what it leaves behind: connections that were cut
/// off (`left`), values that were never written to Redis (`lost`).
fn log_farewell(metrics: &Metrics, left: usize, lost: usize, began: Instant) {
    let answers = Outcome::ALL.map(|o| format!("{} {}", o.word(), metrics.answers(o)));
    let took = clock::now().saturating_duration_since(began).as_secs_f64();
    if left > 0 {
        warn!("drain time-out: {left} connections were cut off");
    }
    for outage in metrics.outages.lasting(clock::now(), metrics.tally()) {
        warn!("{outage}");
    }
    if lost > 0 {
        warn!("lost with this process: {lost} values that waited for redis");
    }
    info!(
        "ended after {took:.1} s of draining; answers: {}",
        answers.join(", ")
    );
}
