//! What the parts of the service show of themselves on Prometheus' page. Every family is declared where its
//! figure is read.

use std::time::Instant;

use crate::base::breaker::State;
use crate::base::clock;
use crate::cache::status::Status;
use crate::observe::metrics::Page;
use crate::ops::health::Health;
use crate::policy::Policy;

/// Shows figures that have no labels.
macro_rules! gauges {
    ($page:ident: $($name:literal, $help:literal => $figure:expr;)*) => {
        $($page.gauge($name, $help, $figure as f64);)*
    };
}

/// Adds all of it to `page`.
pub(crate) fn show(health: &Health, page: &mut Page) {
    let now = clock::now();
    let policy = &health.policy;
    let redis = policy.cache().status(now);
    show_breakers(policy, &redis, page);
    show_redis(&redis, page);
    show_queues(policy, page);
    show_copies(policy, page);
    show_process(health, now, page);
}

fn show_breakers(policy: &Policy, redis: &Status, page: &mut Page) {
    // One for all nodes: addresses are no labels.
    let of_redis = redis.worst().map_or(State::Open, |node| node.state);
    let mut breakers = vec![("redis".to_owned(), of_redis, redis.entered)];
    for source in policy.sources() {
        let name = format!("source:{}", source.name);
        breakers.push((name, source.breaker.state().0, source.breaker.entered()));
    }
    let states = breakers.iter().flat_map(|(name, state, _)| {
        State::ALL.map(|one| {
            let is_in = if one == *state { 1.0 } else { 0.0 };
            ([name.as_str(), one.word()], is_in)
        })
    });
    page.gauges(
        "breaker_state",
        "1 for the state that a breaker is in, 0 for the others.",
        ["breaker", "state"],
        states,
    );
    let transitions = breakers.iter().flat_map(|(name, _, entered)| {
        let of_each = State::ALL.into_iter().zip(entered);
        of_each.map(|(state, entered)| ([name.as_str(), state.word()], *entered))
    });
    page.counters(
        "breaker_transitions_total",
        "Times that a breaker went into a state.",
        ["breaker", "to"],
        transitions,
    );
}

fn show_redis(redis: &Status, page: &mut Page) {
    let up = redis
        .nodes
        .iter()
        .filter(|node| node.state == State::Closed);
    let up = up.count();
    let down = redis.nodes.len() - up;
    page.gauges(
        "redis_nodes",
        "Servers that hold keys, by whether they are used: one, the master, or those of a cluster.",
        ["state"],
        [(["up"], up as f64), (["down"], down as f64)],
    );
    let connections = redis.connections();
    let used = connections.made.saturating_sub(connections.unused);
    page.gauges(
        "redis_connections",
        "Places for connections to Redis, by whether a thread holds one.",
        ["state"],
        [
            (["idle"], connections.unused.into()),
            (["used"], used.into()),
        ],
    );
    gauges! { page:
        "redis_connections_max", "Connections to Redis at most." => connections.max;
        "redis_slots_covered", "Slots that a known server holds, of 16384." => redis.slots_covered;
        "redis_takes_writes",
        "0 after Redis has refused a write (read-only, full, disk), until it takes one."
            => u8::from(!redis.refuses_writes());
    }
}

fn show_queues(policy: &Policy, page: &mut Page) {
    let (fills, under_way) = (policy.fills.len(), policy.fills.under_way());
    let queues = [
        ("redis", policy.reads.len(), policy.reads.max()),
        ("source", fills, policy.fills.max()),
        ("write", policy.writes.len(), policy.writes.max()),
        ("life", policy.ttls.len(), policy.ttls.max()),
    ];
    page.gauges(
        "queue_length",
        "Items that wait: lookups for Redis, fetches for a source, values to be written.",
        ["queue"],
        queues.map(|(queue, length, _)| ([queue], length as f64)),
    );
    page.gauges(
        "queue_max",
        "Items that may wait.",
        ["queue"],
        queues.map(|(queue, _, max)| ([queue], max as f64)),
    );
    let sources = policy.sources().iter().zip(under_way);
    page.gauges(
        "source_in_flight",
        "Fetches from a source under way.",
        ["source"],
        sources.map(|(source, count)| ([source.name.as_str()], count as f64)),
    );
}

fn show_copies(policy: &Policy, page: &mut Page) {
    let memory = policy.memory();
    page.counter(
        "memory_evictions_total",
        "Answers that were dropped from memory to make room.",
        memory.evictions(),
    );
    let (recovery_entries, recovery_bytes) = policy.recovery.len();
    gauges! { page:
        "memory_entries", "Answers kept in memory." => memory.entries();
        "memory_bytes", "Bytes of the answers kept in memory, keys and overhead included." => memory.bytes();
        "memory_max_bytes", "Bytes of them at most." => memory.limit();
        "recovery_entries", "Values that wait for Redis to come back." => recovery_entries;
        "recovery_bytes", "Bytes of these values." => recovery_bytes;
    }
}

fn show_process(health: &Health, now: Instant, page: &mut Page) {
    let (open, max) = health.room.taken();
    let (_, busy) = health.progress.longest(now);
    gauges! { page:
        "connections", "Open connections of clients." => open;
        "connections_max", "Connections of clients at most." => max;
        "worker_busy_seconds", "How long the worker thread that is busy the longest has been so."
            => busy.as_secs_f64();
        "worker_busy_max_seconds", "A worker thread that is busy for longer counts as stuck."
            => health.stuck_after.as_secs_f64();
    }
}
