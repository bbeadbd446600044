//! What passes through the policy: a lookup, the client that wants its answer, what the answer can be, and
//! the work that is made of it. Plain data: nothing is decided here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::clock::Deadline;
use crate::copies::cached_value::CachedValue;
use crate::observe::metrics::Outcome;
use crate::policy::flight::{FetchedValue, Target, Waiter};

/// One request for one key.
pub(crate) struct Lookup {
    pub target: Target,
    /// When the request was whole.
    pub arrived: Instant,
    /// By when it must be answered, whatever happens.
    pub deadline: Deadline,
    /// Dropped without an answer, it answers for itself that something broke.
    pub client: Box<dyn Client>,
}

/// A client that wants an answer.
pub(crate) trait Client: Send {
    /// Gives it the answer; must not wait for anything.
    fn answer(self: Box<Self>, answer: &Answer<'_>);
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
    /// From the primary source, just now.
    Primary {
        value: &'a str,
        /// It was fetched for another request.
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
    pub value: &'a str,
    /// Since it was fetched.
    pub age: Duration,
    pub ttl: Duration,
    /// `[route] age_header`
    pub shows_age: bool,
}

/// What waits for a reader.
pub(crate) enum Read {
    /// Redis is to be asked for it.
    Ask(Lookup),
    /// Its answer is decided, and takes long to build.
    Render(Box<Rendering>),
}

/// A lookup and the copy that was decided to be its answer.
pub(crate) struct Rendering {
    pub lookup: Lookup,
    pub value: Arc<str>,
    /// When it was decided.
    pub age: Duration,
    pub ttl: Duration,
    pub is_stale: bool,
}

/// A lookup that waits for a fetch.
pub(crate) struct Waiting {
    pub lookup: Lookup,
    /// What it is answered with when nothing better comes in time.
    pub copy: Option<CachedValue>,
}

/// A fetch that waits for a filler.
#[derive(Debug)]
pub(crate) struct Fill {
    pub target: Target,
    /// Since when it waits.
    pub queued_at: Instant,
    /// Redis was not asked for it, and may have it.
    pub is_extra: bool,
}

/// A value that waits to be written to Redis.
#[derive(Debug)]
pub(crate) struct WriteBack {
    pub target: Target,
    pub fetched: FetchedValue,
}

impl Lookup {
    /// How long it has been under way.
    pub(crate) fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.arrived)
    }
}

impl Waiter for Waiting {
    fn deadline(&self) -> Deadline {
        self.lookup.deadline
    }

    fn has_copy(&self) -> bool {
        self.copy.is_some()
    }
}

impl Answer<'_> {
    /// How it is counted.
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
