//! The page that Prometheus reads: what is counted, and what the parts of the service show of
//! themselves at the moment somebody asks.

use std::io;
use std::time::Duration;

use prometheus::{Encoder, Gauge, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder};

use crate::base::breaker::State;
use crate::observe::metrics::Counter;
use crate::observe::metrics::families::Family;

/// Media type of the page: Prometheus' text format.
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the parts of the service show of themselves.
#[derive(Debug, Default)]
pub struct Seen {
    /// Of Redis, and of each source.
    pub breakers: Vec<SeenBreaker>,
    /// Name of each queue, what waits in it, and what may.
    pub queues: Vec<(&'static str, usize, usize)>,
    /// Fetches under way from each source, by name.
    pub in_flight: Vec<(String, usize)>,
    /// Open connections of clients, and at most.
    pub connections: (usize, usize),
    /// Whether Redis takes writes, as far as is known.
    pub redis_takes_writes: bool,
    /// How long the worker that is busy the longest has been so, and after how long it counts as stuck.
    pub worker_busy: (Duration, Duration),
    /// Nodes of Redis that are asked for keys, and those of them that are used.
    pub redis_nodes: (usize, usize),
    /// Slots of a cluster that a node serves; all there are without a cluster.
    pub redis_slots: usize,
    /// Connections to Redis: slots, unused ones of them, at most.
    pub redis_connections: (u32, u32, u32),
    /// Memory: entries, bytes, bytes at most, evictions so far.
    pub memory: (usize, u64, u64, u64),
    /// What waits for Redis to come back: entries and bytes.
    pub recovery: (usize, u64),
}

/// A breaker.
#[derive(Debug)]
pub struct SeenBreaker {
    /// What it guards.
    pub name: String,
    /// Its state.
    pub state: State,
    /// How often it has gone into each state, in the order of [`State::ALL`].
    pub entered: [u64; 3],
}

/// The families that are set when somebody asks.
pub(crate) struct Gauges {
    breaker_state: IntGaugeVec,
    breaker_transitions: IntCounterVec,
    queue_length: IntGaugeVec,
    queue_max: IntGaugeVec,
    source_in_flight: IntGaugeVec,
    connections: IntGauge,
    connections_max: IntGauge,
    redis_takes_writes: IntGauge,
    worker_busy_seconds: Gauge,
    worker_busy_max_seconds: Gauge,
    redis_connections: IntGaugeVec,
    redis_connections_max: IntGauge,
    topology: Topology,
    memory_entries: IntGauge,
    memory_bytes: IntGauge,
    memory_max_bytes: IntGauge,
    memory_evictions: Counter,
    recovery_entries: IntGauge,
    recovery_bytes: IntGauge,
}

/// Those of them that show the servers of Redis.
struct Topology {
    nodes: IntGaugeVec,
    slots_covered: IntGauge,
}

impl Topology {
    fn new(new: &Family<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            nodes: new.gauges(
                "redis_nodes",
                "Servers that hold keys, by whether they are used: one, the master, or those of a cluster.",
                &["state"],
            )?,
            slots_covered: new.gauge(
                "redis_slots_covered",
                "Slots that a known server holds, of 16384.",
            )?,
        })
    }

    fn set(&self, seen: &Seen) {
        let (nodes, used) = seen.redis_nodes;
        for (state, count) in [("up", used), ("down", nodes - used)] {
            self.nodes.with_label_values(&[state]).set(whole(count));
        }
        self.slots_covered.set(whole(seen.redis_slots));
    }
}

impl Gauges {
    pub(crate) fn new(new: &Family<'_>) -> prometheus::Result<Self> {
        let build = new.gauges(
            "build_info",
            "1, with the version as a label.",
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            breaker_state: new.gauges(
                "breaker_state",
                "1 for the state that a breaker is in, 0 for the others.",
                &["breaker", "state"],
            )?,
            breaker_transitions: new.counters(
                "breaker_transitions_total",
                "Times that a breaker went into a state.",
                &["breaker", "to"],
            )?,
            queue_length: new.gauges(
                "queue_length",
                "Items that wait: lookups for Redis, fetches for a source, values to be written.",
                &["queue"],
            )?,
            queue_max: new.gauges("queue_max", "Items that may wait.", &["queue"])?,
            source_in_flight: new.gauges(
                "source_in_flight",
                "Fetches from a source under way.",
                &["source"],
            )?,
            connections: new.gauge("connections", "Open connections of clients.")?,
            connections_max: new.gauge("connections_max", "Connections of clients at most.")?,
            redis_takes_writes: new.gauge(
                "redis_takes_writes",
                "0 after Redis has refused a write (read-only, full, disk), until it takes one.",
            )?,
            worker_busy_seconds: new.register(Gauge::with_opts(Family::opts(
                "worker_busy_seconds",
                "How long the worker thread that is busy the longest has been so.",
            ))?)?,
            worker_busy_max_seconds: new.register(Gauge::with_opts(Family::opts(
                "worker_busy_max_seconds",
                "A worker thread that is busy for longer counts as stuck.",
            ))?)?,
            redis_connections: new.gauges(
                "redis_connections",
                "Places for connections to Redis, by whether a thread holds one.",
                &["state"],
            )?,
            redis_connections_max: new
                .gauge("redis_connections_max", "Connections to Redis at most.")?,
            topology: Topology::new(new)?,
            memory_entries: new.gauge("memory_entries", "Answers kept in memory.")?,
            memory_bytes: new.gauge(
                "memory_bytes",
                "Bytes of the answers kept in memory, keys and overhead included.",
            )?,
            memory_max_bytes: new.gauge("memory_max_bytes", "Bytes of them at most.")?,
            memory_evictions: new.counter(
                "memory_evictions_total",
                "Answers that were dropped from memory to make room.",
            )?,
            recovery_entries: new.gauge(
                "recovery_entries",
                "Values that wait for Redis to come back.",
            )?,
            recovery_bytes: new.gauge("recovery_bytes", "Bytes of these values.")?,
        })
    }

    pub(crate) fn set(&self, seen: &Seen) {
        for breaker in &seen.breakers {
            for (state, entered) in State::ALL.into_iter().zip(breaker.entered) {
                let labels = [breaker.name.as_str(), state.word()];
                let is_in = i64::from(breaker.state == state);
                self.breaker_state.with_label_values(&labels).set(is_in);
                raise(
                    &self.breaker_transitions.with_label_values(&labels),
                    entered,
                );
            }
        }
        for (queue, length, max) in &seen.queues {
            self.queue_length
                .with_label_values(&[queue])
                .set(whole(*length));
            self.queue_max.with_label_values(&[queue]).set(whole(*max));
        }
        for (source, count) in &seen.in_flight {
            let gauge = self.source_in_flight.with_label_values(&[source]);
            gauge.set(whole(*count));
        }
        self.connections.set(whole(seen.connections.0));
        self.connections_max.set(whole(seen.connections.1));
        self.redis_takes_writes
            .set(i64::from(seen.redis_takes_writes));
        let (busy, busy_max) = seen.worker_busy;
        self.worker_busy_seconds.set(busy.as_secs_f64());
        self.worker_busy_max_seconds.set(busy_max.as_secs_f64());
        let (slots, unused, max) = seen.redis_connections;
        for (state, count) in [("idle", unused), ("used", slots.saturating_sub(unused))] {
            let gauge = self.redis_connections.with_label_values(&[state]);
            gauge.set(count.into());
        }
        self.redis_connections_max.set(max.into());
        self.topology.set(seen);
        let (entries, bytes, max_bytes, evictions) = seen.memory;
        self.memory_entries.set(whole(entries));
        self.memory_bytes.set(whole(bytes));
        self.memory_max_bytes.set(whole(max_bytes));
        raise(&self.memory_evictions, evictions);
        self.recovery_entries.set(whole(seen.recovery.0));
        self.recovery_bytes.set(whole(seen.recovery.1));
    }
}

impl Family<'_> {
    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.register(IntGauge::with_opts(Self::opts(name, help))?)
    }

    fn gauges(&self, name: &str, help: &str, by: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(Self::opts(name, help), by)?)
    }
}

/// The whole page.
pub(crate) fn render(registry: &Registry) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let rendered = TextEncoder::new().encode(&registry.gather(), &mut page);
    rendered.map_err(io::Error::other)?;
    Ok(page)
}

/// Brings a counter up to what its part has counted.
pub(crate) fn raise(counter: &Counter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

/// A number as the crate takes it.
fn whole(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
