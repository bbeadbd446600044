//! What `config.ini` and the environment say, typed and within bounds.
//! Plain data: reading and checking it is the work of the other files of this folder.

mod load;
mod ini;
mod section;
mod setting;
mod environment;
mod server;
mod redis_settings;
mod servers;
mod topology;
mod nodes;
mod password;
mod policy;
mod route;
mod prefix;
mod source;
mod check;
mod span;
mod values;
mod listen;
mod path;
mod redis_url;
mod http_url;
mod authority;
mod report;
mod wording;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use load::{Loaded, NO_ENVIRONMENT, load, parse};
pub use report::Mistakes;
pub use section::{Row, table};
pub use topology::{HostPort, Identity, Login, Mode, Protocol, RedisAddress, Servers, Tls};

/// Every setting of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[redis]`
    pub redis: Redis,
    /// `[breaker]`
    pub breaker: Breaker,
    /// `[memory]`
    pub memory: Memory,
    /// `[health]`
    pub health: Health,
    /// `[admin]`
    pub admin: Admin,
    /// `[log]`
    pub log: Log,
    /// `[route NAME]`, in the order of the file; at least one.
    pub routes: Vec<Route>,
    /// `[source NAME]`, in the order of the file; at least one.
    pub sources: Vec<Source>,
}

/// Which original service the answers are to be the same as, byte for byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contract {
    /// Flask under gunicorn.
    Flask,
    /// FastAPI under uvicorn.
    Fastapi,
}

/// `[server]`: the front door and the threads behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Address to listen on; a name is resolved once, at start.
    pub listen: SocketAddr,
    /// Filler threads: how many fetches from sources run at once.
    pub workers: usize,
    /// Front threads.
    pub fronts: usize,
    /// Requests that may wait for a reader, and as many for a filler.
    pub queue: usize,
    /// How long a request may wait for a filler. Who would have to wait longer is shed at once.
    pub queue_timeout: Duration,
    /// Shape of the answers.
    pub contract: Contract,
    /// Open client connections.
    pub max_connections: usize,
    /// From the first byte of a head to its last.
    pub head_timeout: Duration,
    /// Bytes of a request head.
    pub max_head: usize,
    /// Bytes of a decoded key.
    pub max_key: usize,
    /// How long a connection may be kept open between requests.
    pub idle_timeout: Duration,
    /// How long a client may take to accept an answer.
    pub write_timeout: Duration,
    /// From a request's whole head to its answer.
    pub request_timeout: Duration,
    /// From the signal to the end of the process.
    pub drain_timeout: Duration,
}

/// `[redis]`: where it is and what it may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redis {
    /// Where the servers are, and what finds them.
    pub servers: Servers,
    /// What the servers are told; never shown.
    pub login: Login,
    /// How connections are encrypted, if they are; never with a Unix socket. For the Sentinels too.
    pub tls: Option<Tls>,
    /// Version of the protocol.
    pub protocol: Protocol,
    /// Budget of one request for everything it does with Redis.
    pub timeout: Duration,
    /// Threads that look keys up.
    pub readers: usize,
    /// Distinct keys of one `MGET`.
    pub batch_max: usize,
    /// Connections at most; 0 in the file means readers + workers, here it is the number itself.
    pub pool_size: usize,
    /// Put before every key; routes may have their own.
    pub key_prefix: String,
    /// Bytes of values that wait to be written to a Redis that is down; 0: none do.
    pub recovery_max_bytes: u64,
}

/// `[breaker]`: when Redis is left alone, and when it is asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    /// Let it work, or hold it open or closed by hand.
    pub mode: BreakerMode,
    /// Consecutive failures that open it.
    pub fail_max: u32,
    /// With `probe_interval` 0: how long it stays open before one request is the trial.
    pub reset_timeout: Duration,
    /// Between two probes while it is open; zero: no prober.
    pub probe_interval: Duration,
    /// Lookups in flight for over half their budget that open it at once.
    pub stall_calls: usize,
}

/// How the breaker is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerMode {
    /// By what Redis does.
    Auto,
    /// Held open: Redis is not used.
    ForcedOpen,
    /// Held closed: every request tries Redis.
    Disabled,
}

impl BreakerMode {
    /// The word for it in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
        }
    }
}

/// `[memory]`: the last good answers in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// Off: nothing is kept, as in the original services.
    pub enabled: bool,
    /// Keys, values and overhead together.
    pub max_bytes: u64,
    /// Whether a copy within its ttl answers while Redis is not usable.
    pub fresh_while_redis_is_down: bool,
}

/// `[health]`: what the health endpoints make of a Redis that is down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Only said, or answered with 503.
    pub redis: RedisHealth,
}

/// See [`Health::redis`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisHealth {
    /// `"status":"degraded"`, still 200.
    Report,
    /// 503 from `/healthz` and `/readyz`.
    Fail,
}

/// `[admin]`: where operators and Prometheus look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Address of a second door, for metrics, outages and health; none: there is none.
    pub listen: Option<SocketAddr>,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Most detailed level that is written.
    pub level: log::LevelFilter,
    /// Appended to; none: stderr.
    pub file: Option<PathBuf>,
}

/// `[route NAME]`: a path of the API and where its values come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// NAME of the section.
    pub name: String,
    /// Path before `<key>`, beginning with `/`.
    pub prefix: String,
    /// Path after `<key>`, mostly empty.
    pub suffix: String,
    /// Index into [`Config::sources`].
    pub source: usize,
    /// Put before every key of this route in Redis.
    pub key_prefix: String,
    /// Life of a value, in Redis and in memory.
    pub ttl: Duration,
    /// By how much of it each life is longer or shorter, at random.
    pub ttl_jitter: Fraction,
    /// After how much of its life a value is refreshed in the background; 1: never.
    pub refresh_at: Fraction,
    /// How long after its ttl a copy in memory may still be served when the source fails.
    pub max_stale: Duration,
    /// After a failure, how long a key with a copy is not asked of the source again.
    pub stale_retry: Duration,
    /// How long it is remembered in memory that the source has no such thing.
    pub negative_ttl: Duration,
}

/// A part of something, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fraction(u32);

impl Fraction {
    /// So many thousandths.
    #[must_use]
    pub const fn thousandths(count: u32) -> Self {
        Self(count)
    }

    /// Whether it is all of it, or more.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.0 >= 1000
    }

    /// This part of `span`.
    #[must_use]
    pub fn of(self, span: Duration) -> Duration {
        span.mul_f64(f64::from(self.0) / 1000.0)
    }
}

/// `[source NAME]`: a primary source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// NAME of the section.
    pub name: String,
    /// Who has a copy of what is asked for waits no longer than this.
    pub soft_timeout: Duration,
    /// Consecutive failures after which it is left alone; 0: it never is.
    pub fail_max: u32,
    /// How long it is left alone before one fetch is the trial.
    pub reset_timeout: Duration,
    /// What it is.
    pub kind: SourceKind,
}

/// See [`Source::kind`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// The stand-in of the original article.
    Simulated(Simulated),
    /// A service that answers `GET` with the value as its body.
    Http(HttpSource),
}

/// `kind = simulated`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulated {
    /// How long every fetch takes.
    pub latency: Duration,
    /// Keys that begin with it fail; empty: none does.
    pub fail_prefix: String,
}

/// `kind = http`
#[derive(Clone, PartialEq, Eq)]
pub struct HttpSource {
    /// URL before `<key>`; may hold credentials.
    pub url_prefix: String,
    /// URL after `<key>`.
    pub url_suffix: String,
    /// From the start of the fetch to the last byte of the body, name resolution and connect
    /// included.
    pub timeout: Duration,
    /// Bytes of a body; a larger one is a failure.
    pub max_body: u64,
    /// Fetches at once.
    pub max_concurrent: usize,
}

impl std::fmt::Debug for HttpSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpSource")
            .field("timeout", &self.timeout)
            .field("max_body", &self.max_body)
            .field("max_concurrent", &self.max_concurrent)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The longest one request of `route` may take at Redis and at the source. The check of the
    /// configuration holds it within [`Server::request_timeout`], which bounds the wait for a
    /// thread as well: who has waited is given what is left.
    ///
    /// A route of another configuration, whose source is unknown here, counts without a source.
    #[must_use]
    pub fn worst_case(&self, route: &Route) -> Duration {
        let source = self
            .sources
            .get(route.source)
            .map_or(Duration::ZERO, Source::timeout);
        self.redis.timeout.saturating_add(source)
    }
}

impl Source {
    /// The longest one fetch may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        match &self.kind {
            SourceKind::Simulated(simulated) => simulated.latency,
            SourceKind::Http(http) => http.timeout,
        }
    }

    /// How many fetches may run at once; none: as many as there are fillers.
    #[must_use]
    pub fn max_concurrent(&self) -> Option<usize> {
        match &self.kind {
            SourceKind::Simulated(_) => None,
            SourceKind::Http(http) => Some(http.max_concurrent),
        }
    }
}

#[cfg(test)]
mod tests;
