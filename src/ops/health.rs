//! The answers of the health endpoints. They are made from known state, never from a live call: an answer
//! about Redis must not wait for Redis.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::base::breaker::State;
use crate::base::clock;
use crate::base::room::Room;
use crate::cache::status::{NodeStatus, Status};
use crate::config::{Mode, RedisHealth};
use crate::observe::metrics::{Metrics, Outcome};
use crate::policy::{GuardedSource, Policy};
use crate::workers::Progress;

/// A configured route may not have the path of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `/livez`: whether the process and its threads make progress.
    Live,
    /// `/readyz`: whether to send it requests.
    Ready,
    /// `/healthz`: everything that is known.
    Health,
}

impl Endpoint {
    /// The endpoint at `path`.
    pub(crate) fn find(path: &str) -> Option<Self> {
        match path {
            "/livez" => Some(Self::Live),
            "/readyz" => Some(Self::Ready),
            "/healthz" => Some(Self::Health),
            _ => None,
        }
    }
}

/// Whether the process takes no new connections and ends when what is in flight is answered.
#[derive(Debug, Default)]
pub(crate) struct Draining(AtomicBool);

impl Draining {
    pub(crate) fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Everything that the endpoints read.
pub(crate) struct Health {
    /// `[health] redis`: whether a Redis that is down is reported, or fails the endpoint.
    pub redis: RedisHealth,
    /// How long a thread may be busy with one thing before the process counts as stuck: longer than any
    /// limit of the configuration lets it take.
    pub stuck_after: Duration,
    /// How many lookups may wait for readers, and how many fetches for fillers.
    pub queue_max: usize,
    pub policy: Arc<Policy>,
    pub progress: Arc<Progress>,
    pub room: Arc<Room>,
    pub metrics: Arc<Metrics>,
    pub draining: Arc<Draining>,
    pub self_check: Arc<SelfCheck>,
}

/// The request by which the process finds out whether it serves: `/livez`, answered by a worker. Its
/// target holds a secret, so that no client can occupy workers past their queues.
#[derive(Debug)]
pub(crate) struct SelfCheck {
    target: String,
}

impl Default for SelfCheck {
    /// With a new secret of 128 bits. `RandomState` takes its keys from the system, and SipHash does not
    /// reveal them.
    fn default() -> Self {
        let half = || RandomState::new().hash_one("self-check");
        let target = format!("/livez?worker={:016x}{:016x}", half(), half());
        Self { target }
    }
}

impl SelfCheck {
    /// The request target, secret included.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// The answer that a worker gives: that of `/livez`, and the worker's name.
    pub(crate) fn answer(health: &Health) -> (u16, Value) {
        let (status, mut json) = health.look(Endpoint::Live);
        json["worker"] = std::thread::current().name().into();
        (status, json)
    }

    /// Whether `response` is the answer of a worker that all is well.
    pub(crate) fn is_sound(response: &str) -> bool {
        response.starts_with("HTTP/1.1 200 ") && response.contains("\"worker\":\"")
    }
}

impl Health {
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.has_begun()
    }

    /// Status code and body of an endpoint.
    pub(crate) fn look(&self, endpoint: Endpoint) -> (u16, Value) {
        let reason = match endpoint {
            Endpoint::Live => self.stuck_reason(),
            Endpoint::Ready => self.unready_reason().map(str::to_owned),
            Endpoint::Health => return self.everything(),
        };
        match reason {
            None => (200, json!({"status": "ok"})),
            Some(reason) => (503, json!({"status": "down", "reason": reason})),
        }
    }

    fn stuck_reason(&self) -> Option<String> {
        let (name, busy) = self.progress.longest(clock::now());
        let is_stuck = busy >= self.stuck_after;
        is_stuck.then(|| format!("thread {name} is stuck for {} s", busy.as_secs()))
    }

    fn unready_reason(&self) -> Option<&'static str> {
        let waiting = self.policy.reads.len().max(self.policy.fills.len());
        let is_saturated = waiting >= self.queue_max;
        let is_redis_up = || !self.policy.cache().status(clock::now()).is_down();
        if self.is_draining() {
            Some("draining")
        } else if is_saturated {
            Some("the queue is full")
        } else if self.redis == RedisHealth::Fail && !is_redis_up() {
            Some("redis is not usable")
        } else {
            None
        }
    }

    /// What is wrong while the service still serves.
    fn degraded_reason(&self, redis: &Status) -> Option<String> {
        let of_redis = match (redis.is_up(), redis.is_down()) {
            (true, _) if redis.refuses_writes() => Some("redis takes no writes".to_owned()),
            (true, _) => None,
            (false, true) => Some("redis is not usable".to_owned()),
            (false, false) => Some("redis is not usable for some of the keys".to_owned()),
        };
        let sources = self.policy.sources().iter();
        let of_sources = sources
            .filter(|source| source.breaker.state().0 != State::Closed)
            .map(|source| format!("source {} is not usable", source.name));
        let reasons: Vec<_> = of_redis.into_iter().chain(of_sources).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    fn everything(&self) -> (u16, Value) {
        let now = clock::now();
        let redis = self.policy.cache().status(now);
        let down = self.stuck_reason();
        let down = down.or_else(|| self.unready_reason().map(str::to_owned));
        let degraded = self.degraded_reason(&redis);
        let status = match (&down, &degraded) {
            (Some(_), _) => "down",
            (None, Some(_)) => "degraded",
            (None, None) => "ok",
        };
        let is_down = down.is_some();
        let mut redis = redis_json(&redis);
        let fills = &self.policy.fills;
        let (fills_waiting, fetching) = (fills.len(), fills.under_way());
        let sources = self.policy.sources().iter().zip(&fetching);
        let sources: Vec<_> = sources
            .map(|(source, fetching)| source_json(source, *fetching, now))
            .collect();
        let fetching: usize = fetching.iter().sum();
        let (entries, bytes) = self.policy.recovery.len();
        redis["waiting_to_be_written"] = json!({"entries": entries, "bytes": bytes});
        let (connections, connections_max) = self.room.taken();
        let memory = self.policy.memory();
        let counts = Outcome::ALL.map(|o| (o.word().to_owned(), self.metrics.answers(o).into()));
        let body = json!({
            "status": status,
            "reason": down.or(degraded),
            "version": env!("CARGO_PKG_VERSION"),
            "draining": self.is_draining(),
            "redis": redis,
            "queue": {
                "waiting_for_redis": self.policy.reads.len(),
                "waiting_for_source": fills_waiting,
                "fetching": fetching,
                "max": self.queue_max,
            },
            "memory": {
                "entries": memory.entries(),
                "bytes": memory.bytes(),
                "max_bytes": memory.limit(),
            },
            "connections": {"open": connections, "max": connections_max},
            "answers": Value::Object(counts.into_iter().collect()),
            "source": {
                "calls": self.metrics.source_calls(),
                "failures": self.metrics.source_failures(),
                "joined": self.metrics.joined(),
            },
            "sources": sources,
            "panics": self.metrics.panics.get(),
        });
        (if is_down { 503 } else { 200 }, body)
    }
}

/// Redis as a whole and its worst node first, then every node.
fn redis_json(redis: &Status) -> Value {
    let connections = redis.connections();
    let worst = redis.worst();
    let status = match (redis.is_up(), redis.is_down()) {
        (true, _) => "up",
        (_, true) => "down",
        _ => "partly up",
    };
    let own_fault = worst.and_then(|node| node.last_fault.as_ref());
    let mut json = json!({
        "status": status,
        "mode": redis.mode.word(),
        "address": worst.map(|node| &node.address),
        "breaker": worst.map_or(State::Open, |node| node.state).word(),
        "breaker_mode": redis.breaker_mode.word(),
        "since_seconds": worst.map(|node| node.since.as_secs()),
        "last_fault": own_fault.or(redis.fault.as_ref()),
        "takes_writes": !redis.refuses_writes(),
        "connections": {
            "open_or_kept": connections.made,
            "unused": connections.unused,
            "max": connections.max,
        },
    });
    if redis.mode == Mode::Single {
        return json;
    }
    json["topology_fault"] = redis.fault.clone().into();
    json["nodes"] = redis.nodes.iter().map(node_json).collect();
    if redis.mode == Mode::Sentinel {
        json["master"] = json["address"].clone();
        let sentinels = redis.sentinels.iter().map(|one| {
            let status = if one.fault.is_none() { "up" } else { "down" };
            json!({"address": one.address, "status": status, "last_fault": one.fault})
        });
        json["sentinels"] = sentinels.collect();
    } else {
        json["slots_covered"] = redis.slots_covered.into();
        for (index, node) in redis.nodes.iter().enumerate() {
            json["nodes"][index]["slots"] = node.slots.into();
        }
    }
    json
}

fn node_json(node: &NodeStatus) -> Value {
    json!({
        "address": node.address,
        "breaker": node.state.word(),
        "since_seconds": node.since.as_secs(),
        "last_fault": node.last_fault,
    })
}

fn source_json(source: &GuardedSource, fetching: usize, now: Instant) -> Value {
    let away = source.away();
    json!({
        "name": source.name,
        "breaker": source.breaker.state().0.word(),
        "away_seconds": away.as_ref().map(|away| now.saturating_duration_since(away.since).as_secs()),
        "cause": away.map(|away| away.cause),
        "fetching": fetching,
    })
}
