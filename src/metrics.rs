//! Counts of what this process has done, for `/healthz` and for the log at the end. Plain atomics:
//! counting costs nanoseconds and never waits.

use std::sync::atomic::{AtomicU64, Ordering};

/// How a lookup was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// From Redis.
    Redis,
    /// From memory, within its ttl.
    MemoryFresh,
    /// From memory, past its ttl, since the source failed.
    MemoryStale,
    /// From the primary source.
    Source,
    /// The source says that there is no such thing.
    NoSuchThing,
    /// 503: the source failed and there was no copy.
    Unavailable,
    /// 503: no room or no time.
    Shed,
}

impl Outcome {
    /// Every outcome, in the order of the counters.
    pub const ALL: [Self; 7] = [
        Self::Redis,
        Self::MemoryFresh,
        Self::MemoryStale,
        Self::Source,
        Self::NoSuchThing,
        Self::Unavailable,
        Self::Shed,
    ];

    /// The word for it in `/healthz` and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::MemoryFresh => "memory_fresh",
            Self::MemoryStale => "memory_stale",
            Self::Source => "source",
            Self::NoSuchThing => "no_such_thing",
            Self::Unavailable => "unavailable",
            Self::Shed => "shed",
        }
    }
}

/// The counters.
#[derive(Debug, Default)]
pub struct Metrics {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    /// Fetches that were asked of a source.
    pub source_calls: Counter,
    /// Fetches that failed.
    pub source_failures: Counter,
    /// Lookups that joined a fetch under way.
    pub joined: Counter,
    /// Values that Redis took.
    pub written: Counter,
    /// Values that were not written: Redis did not take them, or too many waited.
    pub not_written: Counter,
    /// Fetches made before the end of a key's life, for nobody in particular.
    pub refreshes: Counter,
    /// Lookups answered by the memory that there is no such thing.
    pub negative_hits: Counter,
    /// Values of an outage that were written to Redis when it was back.
    pub recovered: Counter,
    /// Values of an outage that never were: no room, or too late.
    pub recovery_dropped: Counter,
    /// Panics that were caught.
    pub panics: Counter,
    /// Connections that were accepted.
    pub accepted: Counter,
    /// Times that there was no place or no descriptor for a connection.
    pub short_of_room: Counter,
    /// Requests that were refused before they were looked at as a lookup.
    pub refused: Counter,
    /// Idle connections closed to make room for new ones.
    pub evicted: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// `count` more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Metrics {
    /// One lookup was answered so.
    pub fn count(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many lookups were answered so.
    #[must_use]
    pub fn answers(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize].load(Ordering::Relaxed)
    }
}
