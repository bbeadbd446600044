//! How many connections of clients the limit of file descriptors allows.

use log::warn;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, Servers};

/// Descriptors for everything but clients, operators, Redis and sources: sockets of threads, logs.
const RESERVED: u64 = 64;
/// A cluster is expected to have at least so many masters.
const CLUSTER_NODES: usize = 16;

/// Raises the soft limit of descriptors to what `max_connections` needs; where the hard limit does not
/// allow that, says so and returns how many connections it does allow. `admin_connections_max` is the most
/// that operators may have, `redis_callers` how many threads make calls to Redis.
pub(super) fn affordable_connections(
    config: &Config,
    admin_connections_max: usize,
    redis_callers: usize,
) -> usize {
    let wanted = config.server.max_connections;
    // No node has more connections than there are threads that make calls.
    let of_a_node = config.redis.pool_size.min(redis_callers);
    let others = of_a_node * nodes(config) + 2 * config.server.workers + admin_connections_max;
    let others = RESERVED + others as u64;
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

/// How many nodes of Redis there may be connections to, as far as the configuration tells.
fn nodes(config: &Config) -> usize {
    match &config.redis.servers {
        Servers::Cluster { nodes } => nodes.len().max(CLUSTER_NODES),
        Servers::Single { .. } | Servers::Sentinel { .. } => 1,
    }
}
