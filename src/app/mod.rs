//! Builds every part of the service from the configuration, owns them, and ends them in order.

pub mod preflight;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::base::address::Address;
use crate::base::clock;
use crate::cache::RedisCache;
use crate::cache::prober::Prober;
use crate::cache::topology::Topology;
use crate::config::{self, Config, NO_ENVIRONMENT, Route, Servers};
use crate::copies::memory::Memory;
use crate::observe::metrics::{Metrics, Outcome};
use crate::ops::admin::Admin;
use crate::ops::health::{Draining, Health};
use crate::ops::systemd::activation::{self, NotServable};
use crate::ops::systemd::watchdog::{Watchdog, Watched};
use crate::policy::{GuardedSource, Policy};
use crate::server::accept::{Acceptor, Listener, Room};
use crate::server::connection::Message;
use crate::server::contract::Contract;
use crate::server::event_loop::{EventLoop, Limits};
use crate::server::service::Service;
use crate::source;
use crate::workers::Workers;

/// Descriptors for everything but clients: Redis, sources, the library, logs.
const DESCRIPTORS_RESERVED: u64 = 64 + ADMIN_CONNECTIONS_MAX as u64;

/// Masters that a cluster is expected to have.
const CLUSTER_EXPECTED: usize = 16;

/// Connections of operators at once.
const ADMIN_CONNECTIONS_MAX: usize = 64;

/// How long the last values may take to be written to Redis when the drain time-out is over.
const LAST_WRITES: Duration = Duration::from_millis(500);

/// Why the service could not start.
#[derive(Debug)]
pub enum StartError {
    /// The configured address cannot be listened on; the section says whose it is.
    Bind(&'static str, SocketAddr, io::Error),
    /// What systemd passed cannot be listened on.
    Passed(NotServable),
    /// The system lacks threads, descriptors or memory.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(section, address, error) => {
                write!(
                    f,
                    "cannot listen on {address} ([{section}] listen): {error}"
                )
            }
            Self::Passed(error) => write!(f, "cannot listen: {error}"),
            Self::System(error) => write!(f, "the system does not let it start: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// The door of operators: its own accept loop and front, so that clients cannot shut it.
struct AdminDoor {
    address: Address,
    _acceptor: Acceptor,
    _front: EventLoop,
}

/// The running service. Fields are dropped in their order: the doors first, the workers after them.
pub struct App {
    acceptor: Acceptor,
    fronts: Vec<EventLoop>,
    workers: Workers,
    admin: Option<AdminDoor>,
    prober: Prober,
    topology: Option<Topology>,
    watchdog: Option<Watchdog>,
    draining: Arc<Draining>,
    room: Arc<Room>,
    lookups: Arc<Policy>,
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
        let doors = open(config)?;
        let addresses = addresses(&doors)?;
        let admin_door = bind_admin(config)?;
        let metrics = Arc::new(Metrics::new(config)?);
        let draining = Arc::new(Draining::default());
        let room = Arc::new(Room::new(affordable_connections(config)));
        let lookups = Arc::new(lookups(config, &metrics));
        let workers = Workers::start(
            &lookups,
            &metrics,
            readers(config),
            config.server.workers,
            config.redis.batch_max,
        )?;
        let probe_key = format!("{}evenkeel:probe", config.redis.key_prefix);
        let cache = lookups.cache();
        let topology = Topology::start(cache, &config.redis, &probe_key)?;
        let prober = Prober::start(Arc::clone(cache), config.breaker.probe_interval, probe_key)?;
        let health = Arc::new(Health {
            redis: config.health.redis,
            stuck_after: config.server.request_timeout * 2 + Duration::from_secs(5),
            queue_max: config.server.queue,
            lookups: Arc::clone(&lookups),
            progress: Arc::clone(workers.progress()),
            room: Arc::clone(&room),
            metrics: Arc::clone(&metrics),
            draining: Arc::clone(&draining),
            self_check: Arc::default(),
        });
        let watched = Watched::of(&health, addresses[0].clone(), config.server.request_timeout);
        let service = Arc::new(service(config, config.routes.clone(), &health));
        let fronts = start_fronts(config, &service, &lookups, &room)?;
        let admin = admin_door.map(|door| open_admin(config, door, &health, &lookups));
        let admin = admin.transpose()?;
        let mailboxes = fronts
            .iter()
            .map(|front| Arc::clone(front.mailbox()))
            .collect();
        let acceptor = Acceptor::start(
            "accept",
            doors,
            Arc::clone(&room),
            mailboxes,
            Arc::clone(&metrics),
        )?;
        say_where(admin.as_ref(), &addresses);
        let watchdog = Watchdog::start(watched)?;
        Ok(Self {
            acceptor,
            fronts,
            workers,
            admin,
            prober,
            topology,
            watchdog,
            draining,
            room,
            lookups,
            metrics,
            drain_timeout: config.server.drain_timeout,
        })
    }

    /// Ends it: not ready, no new connections, what is in flight is finished within the drain
    /// time-out.
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
        self.acceptor.stop();
        for front in &self.fronts {
            front.mailbox().post(Message::Drain);
        }
        let limit = began + self.drain_timeout;
        while self.fronts.iter().any(|front| !front.has_ended()) && clock::now() < limit {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let (left, _) = self.room.taken();
        drop(self.fronts);
        // What was fetched for the last answers still goes to Redis.
        self.workers.end(limit.max(clock::now() + LAST_WRITES));
        let (lost, _) = self.lookups.recovery.len();
        drop(self.prober);
        drop(self.topology);
        drop(self.watchdog);
        drop(self.admin);
        farewell(&self.metrics, left, lost, began);
    }
}

/// All doors of clients: what systemd passes, else the one that is configured.
fn open(config: &Config) -> Result<Vec<Listener>, StartError> {
    let address = config.server.listen;
    let passed = activation::passed_listeners().map_err(StartError::Passed)?;
    if passed.is_empty() {
        let bound = Listener::bind(address);
        return bound
            .map(|listener| vec![listener])
            .map_err(|error| StartError::Bind("server", address, error));
    }
    match passed.len() {
        1 => info!("the socket that systemd passed is used, not [server] listen = {address}"),
        count => info!(
            "the {count} sockets that systemd passed are used, not [server] listen = {address}"
        ),
    }
    let doors = passed.into_iter().map(Listener::passed);
    Ok(doors.collect::<io::Result<_>>()?)
}

fn addresses(doors: &[Listener]) -> io::Result<Vec<Address>> {
    doors.iter().map(Listener::address).collect()
}

fn say_where(admin: Option<&AdminDoor>, addresses: &[Address]) {
    if let Some(AdminDoor { address, .. }) = admin {
        info!("admin door on {address}: /metrics, /outages, /healthz");
    }
    let shown: Vec<_> = addresses.iter().map(Address::to_string).collect();
    let version = env!("CARGO_PKG_VERSION");
    info!("evenkeel {version} listens on {}", shown.join(", "));
}

fn limits(config: &Config) -> Limits {
    Limits {
        head_max_bytes: config.server.max_head,
        head_timeout: config.server.head_timeout,
        idle_timeout: config.server.idle_timeout,
        write_timeout: config.server.write_timeout,
    }
}

fn service(config: &Config, routes: Vec<Route>, health: &Arc<Health>) -> Service {
    Service::new(
        Contract::new(config.server.contract, routes),
        Arc::clone(health),
        Arc::clone(&health.metrics),
        config.server.max_key,
        config.server.request_timeout,
    )
}

/// The door of operators. Where its default port is taken, by another instance most likely, the service
/// does without: nobody has asked for that port.
fn bind_admin(config: &Config) -> Result<Option<Listener>, StartError> {
    let Some(address) = config.admin.listen else {
        return Ok(None);
    };
    match Listener::bind(address) {
        Ok(door) => Ok(Some(door)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_default(config) => {
            warn!(
                "no admin door: {address} is taken, by another instance? give this one a port of \
                 its own in [admin] listen, or leave that empty"
            );
            Ok(None)
        }
        Err(error) => Err(StartError::Bind("admin", address, error)),
    }
}

/// Whether `[admin] listen` is what it is where nothing is written.
fn is_default(config: &Config) -> bool {
    let defaults = config::parse("", "defaults", NO_ENVIRONMENT);
    defaults.is_ok_and(|defaults| defaults.config.admin.listen == config.admin.listen)
}

/// Opens the door of operators: no routes behind it, but its own pages.
fn open_admin(
    config: &Config,
    door: Listener,
    health: &Arc<Health>,
    lookups: &Arc<Policy>,
) -> io::Result<AdminDoor> {
    let service = service(config, Vec::new(), health).with(Admin::new(Arc::clone(health)));
    let room = Arc::new(Room::new(ADMIN_CONNECTIONS_MAX));
    let address = door.address()?;
    let front = EventLoop::start(
        "admin-front".to_owned(),
        limits(config),
        Arc::new(service),
        Arc::clone(lookups),
        Arc::clone(&room),
    )?;
    let mailboxes = vec![Arc::clone(front.mailbox())];
    let metrics = Arc::clone(&health.metrics);
    Ok(AdminDoor {
        address,
        _acceptor: Acceptor::start("admin-accept", vec![door], room, mailboxes, metrics)?,
        _front: front,
    })
}

fn start_fronts(
    config: &Config,
    service: &Arc<Service>,
    lookups: &Arc<Policy>,
    room: &Arc<Room>,
) -> io::Result<Vec<EventLoop>> {
    let numbers = 0..config.server.fronts;
    numbers
        .map(|number| {
            let (service, lookups) = (Arc::clone(service), Arc::clone(lookups));
            let name = format!("front-{number}");
            EventLoop::start(name, limits(config), service, lookups, Arc::clone(room))
        })
        .collect()
}

fn lookups(config: &Config, metrics: &Arc<Metrics>) -> Policy {
    let cache = RedisCache::new(
        &config.redis,
        &config.breaker,
        Workers::callers(readers(config)),
        Arc::clone(metrics),
    );
    Policy::new(
        config,
        sources(config, metrics),
        Arc::new(cache),
        Memory::new(&config.memory),
        Arc::clone(metrics),
    )
}

/// How many readers there are. In a cluster at least two: one node that hangs holds one.
fn readers(config: &Config) -> usize {
    match config.redis.servers {
        Servers::Cluster { .. } => config.redis.readers.max(2),
        Servers::Single { .. } | Servers::Sentinel { .. } => config.redis.readers,
    }
}

/// How many nodes of Redis there may be connections to, for all that is known before one is asked.
fn nodes(config: &Config) -> usize {
    match &config.redis.servers {
        Servers::Cluster { nodes } => nodes.len().max(CLUSTER_EXPECTED),
        Servers::Single { .. } | Servers::Sentinel { .. } => 1,
    }
}

fn sources(config: &Config, metrics: &Arc<Metrics>) -> Vec<GuardedSource> {
    let sources = config.sources.iter().enumerate();
    sources
        .map(|(number, source)| {
            GuardedSource::new(source, number, source::build(source), Arc::clone(metrics))
        })
        .collect()
}

/// Raises the soft limit of descriptors to what `max_connections` needs; where the hard limit does
/// not allow that, says so and takes as many connections as it does.
fn affordable_connections(config: &Config) -> usize {
    let wanted = config.server.max_connections;
    // No node has more connections than there are threads that make calls.
    let of_a_node = config
        .redis
        .pool_size
        .min(Workers::callers(readers(config)));
    let redis = (of_a_node * nodes(config)) as u64;
    let others = DESCRIPTORS_RESERVED + 2 * config.server.workers as u64 + redis;
    let needed = wanted as u64 + others;
    let limit = getrlimit(Resource::Nofile);
    let Some(soft) = limit.current.filter(|&soft| soft < needed) else {
        return wanted;
    };
    let raised = limit.maximum.map_or(needed, |hard| hard.min(needed));
    let new = Rlimit {
        current: Some(raised),
        maximum: limit.maximum,
    };
    let has = match setrlimit(Resource::Nofile, new) {
        Ok(()) => raised,
        Err(_) => soft,
    };
    if has >= needed {
        return wanted;
    }
    let affordable = has.saturating_sub(others).max(has / 4).max(1) as usize;
    let affordable = affordable.min(wanted);
    warn!(
        "[server] max_connections = {wanted} needs {needed} file descriptors and the hard limit is \
         {has}: taking {affordable} connections; raise LimitNOFILE= or ulimit -n"
    );
    affordable
}

/// The last lines: what this process has done, and what it leaves behind: connections that were
/// cut off (`left`), values that Redis has never got (`lost`).
fn farewell(metrics: &Metrics, left: usize, lost: usize, began: Instant) {
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
