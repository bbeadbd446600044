//! Every setting of one process: what the sections come to, and what only all of them together tell.

use std::time::Duration;

use crate::config::sections::admin::Admin;
use crate::config::sections::breaker::Breaker;
use crate::config::sections::health::Health;
use crate::config::sections::log::Log;
use crate::config::sections::memory::Memory;
use crate::config::sections::redis::keys::Redis;
use crate::config::sections::route::Route;
use crate::config::sections::server::Server;
use crate::config::sections::source::Source;

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

impl Config {
    /// The longest one request of `route` may take at Redis and at the source. The check of the
    /// configuration holds it within [`Server::request_timeout`], which bounds the wait for a
    /// thread as well: who has waited is given what is left.
    ///
    /// A route of another configuration, whose source is unknown here, counts without a source.
    #[must_use]
    pub fn worst_case(&self, route: &Route) -> Duration {
        let source = self.sources.get(route.source);
        let source = source.map_or(Duration::ZERO, Source::timeout);
        self.redis.timeout.saturating_add(source)
    }
}
