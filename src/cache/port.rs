//! What the policy knows of Redis: keys that are there, are not there, or cannot be asked for. There are
//! no servers, slots or redirects in it, so that a test can stand in for Redis.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use crate::base::clock::Deadline;
use crate::cache::limits::Limits;
use crate::cache::ttl::KeyTtl;
use crate::cache::write::{Entry, Written};

/// A cache that may be gone at any moment. Keys are whole, prefix included. `caller` is the number of
/// the thread that calls.
pub(crate) trait Cache: Send + Sync + 'static {
    /// What it may cost, and how much is asked of it at once.
    fn limits(&self) -> &Limits;

    /// Tells of each question in which lane it is to wait for a reader; none: it is not worth asking.
    /// Lanes are numbered from 1.
    fn choose_lanes<Q: Question>(
        &self,
        questions: impl Iterator<Item = Q>,
        now: Instant,
        told: impl FnMut(Q, Option<usize>),
    );

    /// All lanes that there are.
    fn lanes(&self, now: Instant) -> Vec<Lane>;

    /// Looks at the calls in flight, and gives up what stalls; of each lane so many questions have waited
    /// for too `late`.
    fn watch(&self, late: impl Fn(usize) -> usize, now: Instant);

    /// So many questions of a lane were answered without it.
    fn count_bypassed(&self, lane: usize, count: usize);

    /// Whether a call is in flight.
    fn is_calling(&self) -> bool;

    /// Asks for the keys of a batch, and tells what is said of each as soon as that is known.
    fn read<Q: Question>(
        &self,
        caller: usize,
        questions: impl Iterator<Item = Q>,
        told: impl FnMut(Q, Told<'_>),
    );

    /// Since when the server that holds `key` is of use again, if it was ever lost.
    fn back_since(&self, key: &str) -> Option<Instant>;

    /// Whether a write of `key` would be tried now.
    fn takes_writes(&self, key: &str, now: Instant) -> bool;

    /// Whether there is any key of which a write would be tried now.
    fn takes_any_writes(&self, now: Instant) -> bool;

    fn write(&self, caller: usize, entries: &[Entry<'_>], deadline: Deadline) -> Written;

    /// Writes those entries that would live longer than what is there: what lives longer was written
    /// later.
    fn write_unless_younger(
        &self,
        caller: usize,
        entries: &[Entry<'_>],
        deadline: Deadline,
    ) -> Written;

    /// How long each key will be there; none: that was not to be had.
    fn ttls(&self, caller: usize, keys: &[&str], deadline: Deadline) -> Vec<Option<KeyTtl>>;
}

/// What is asked of Redis for somebody who waits.
pub(crate) trait Question {
    /// Whole key, prefix included.
    fn key(&self) -> Cow<'_, str>;

    /// Since when somebody waits: all that Redis may cost is counted from then on.
    fn since(&self) -> Instant;
}

/// What Redis says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    Hit(&'a str),
    Miss,
    /// It was not asked or did not answer, and is not to be asked again for the same question.
    Unusable,
}

/// What Redis said, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told<'a> {
    pub said: Said<'a>,
    /// Before it was asked: what it says held at some moment since then.
    pub asked: Instant,
    /// When the answer was there; one look at the clock serves a whole batch.
    pub at: Instant,
}

/// One of the lanes in which questions wait, as it is now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lane {
    pub number: usize,
    /// How long a question may wait in it and still be answered in time.
    pub patience: Duration,
    /// Whether Redis is worth asking for what waits in it.
    pub is_usable: bool,
}

impl<'a> Told<'a> {
    /// Redis was not of use; that is known since `now`.
    pub(crate) fn unusable(now: Instant) -> Self {
        Self {
            said: Said::Unusable,
            asked: now,
            at: now,
        }
    }
}
