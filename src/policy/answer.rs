//! A lookup, the fetch that is made for it, who wants its answer, and what the answer can be. Plain
//! data: deciding is the policy's.

use std::time::{Duration, Instant};

use crate::base::clock::Deadline;
use crate::copies::memory::CachedValue;
use crate::observe::metrics::Outcome;
use crate::policy::flight::{Target, Waiter};

/// One request for one key, and who wants to know.
pub(crate) struct Lookup {
    /// What is looked up.
    pub target: Target,
    /// When the request was whole.
    pub arrived: Instant,
    /// By when it must be answered, whatever happens.
    pub deadline: Deadline,
    /// What it can be answered with when nothing better comes: found while it waited for a fetch.
    pub copy: Option<CachedValue>,
    /// That copy is its answer, and too large for the front: it waits for a reader, and not for Redis.
    pub is_at_hand: bool,
    /// Who gets the answer. Dropped without one, it answers for itself that something broke.
    pub client: Box<dyn Client>,
}

/// A fetch that waits for a filler.
#[derive(Debug)]
pub(crate) struct Fill {
    /// What is to be fetched.
    pub target: Target,
    /// Since when it waits.
    pub queued_at: Instant,
    /// Redis was not asked for it, and may have it.
    pub is_extra: bool,
}

/// Who wants an answer.
pub(crate) trait Client: Send {
    /// Gives it, without waiting for anybody.
    fn answer(self: Box<Self>, answer: &Answer<'_>);
}

impl Waiter for Lookup {
    fn deadline(&self) -> Deadline {
        self.deadline
    }

    fn has_copy(&self) -> bool {
        self.copy.is_some()
    }
}

/// The answer to a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer<'a> {
    /// From Redis; how old it is nobody knows.
    Redis(&'a str),
    /// From this process, within its ttl.
    Memory(Copied<'a>),
    /// From this process, past its ttl, since nothing better was to be had.
    Stale(Copied<'a>),
    /// From the primary source, just now; `joined`: fetched for another request.
    Primary {
        /// The value.
        value: &'a str,
        /// Whether the fetch was another request's.
        joined: bool,
    },
    /// The source says that there is no such thing.
    NoSuchThing,
    /// Nothing to be had: the source failed.
    Unavailable,
    /// No room or no time: try again in a moment.
    Shed,
}

/// A value from memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copied<'a> {
    /// The value.
    pub value: &'a str,
    /// Since it was fetched.
    pub age: Duration,
    /// Its life.
    pub ttl: Duration,
}

impl Answer<'_> {
    /// How it is counted.
    #[must_use]
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Redis(_) => Outcome::Redis,
            Self::Memory(_) => Outcome::MemoryFresh,
            Self::Stale(_) => Outcome::MemoryStale,
            Self::Primary { .. } => Outcome::Source,
            Self::NoSuchThing => Outcome::NoSuchThing,
            Self::Unavailable => Outcome::Unavailable,
            Self::Shed => Outcome::Shed,
        }
    }
}
