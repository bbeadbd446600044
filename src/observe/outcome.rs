//! By which words answers and calls to Redis are counted.

/// How a lookup was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
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
    pub(crate) const ALL: [Self; 7] = [
        Self::Redis,
        Self::MemoryFresh,
        Self::MemoryStale,
        Self::Source,
        Self::NoSuchThing,
        Self::Unavailable,
        Self::Shed,
    ];

    /// The word for it in `/healthz`, `/outages` and metrics.
    pub(crate) fn word(self) -> &'static str {
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

/// What Redis is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RedisOp {
    /// `GET` or `MGET`, for lookups.
    Read,
    /// `SET` of what was fetched.
    Write,
    /// `PTTL`, to refresh in time.
    Life,
    /// The prober's `PING` and `GET` on a connection of its own.
    Probe,
}

impl RedisOp {
    /// The word for it in metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Life => "life",
            Self::Probe => "probe",
        }
    }
}
