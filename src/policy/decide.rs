//! The policy on one page: what is done next for a key, from what Redis says of it, what this process
//! holds of it, and how the source is. Pure, and defined for every combination. Everything else in this
//! folder carries out what is decided here and decides nothing again.

use std::time::{Duration, Instant};

use crate::cache::port::Said;
use crate::copies::cached_value::{CachedValue, Kept};

#[cfg(test)]
mod tests;

/// How long after Redis is back a copy stands in for what Redis has lost. What is not asked for by then
/// is fetched again, a little at a time.
const STANDS_IN_FOR: Duration = Duration::from_secs(60);

/// What this process holds of a key, as far as it may be used.
#[derive(Debug, Clone)]
pub(crate) enum Held {
    /// A copy within its ttl.
    Fresh(CachedValue),
    /// A copy past its ttl, by less than `max_stale`.
    Stale(CachedValue),
    /// The source said a moment ago that there is no such thing.
    KnownAbsent,
    Nothing,
}

/// What else the next step depends on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Conditions {
    /// `[memory] fresh_while_redis_is_down`
    pub fresh_while_redis_is_down: bool,
    /// The breaker of the key's source is open.
    pub source_refuses: bool,
    /// Since when the server that holds the key is of use again, if it was ever lost.
    pub redis_back_since: Option<Instant>,
}

/// What is done next.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    Serve(Served<'a>),
    /// This copy, which Redis has lost: it is the answer, and it goes back there.
    ServeAndWriteBack(CachedValue),
    NotFound,
    /// 503
    Refuse(Refusal),
    /// The source is asked. A copy stands by in case that it fails or is slow.
    Fetch(Option<CachedValue>),
}

/// What is served.
#[derive(Debug)]
pub(crate) enum Served<'a> {
    Redis(&'a str),
    /// A copy within its ttl; with `refresh` it is fetched anew, for those who come later.
    Fresh {
        copy: CachedValue,
        refresh: bool,
    },
    Stale(CachedValue),
}

/// Why nothing is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The source failed, or is not asked at all.
    Unavailable,
    /// There was no room or no time.
    Shed,
}

/// The next step for a key of which Redis has `said` so much.
pub(crate) fn decide<'a>(
    said: Said<'a>,
    held: Held,
    conditions: &Conditions,
    now: Instant,
) -> Step<'a> {
    match (said, held) {
        (Said::Hit(value), _) => Step::Serve(Served::Redis(value)),
        // An outage of Redis does not become one of the source.
        (Said::Unusable, Held::Fresh(copy)) if conditions.fresh_while_redis_is_down => {
            let refresh = copy.is_due(now);
            Step::Serve(Served::Fresh { copy, refresh })
        }
        // A Redis that comes back empty does not either.
        (Said::Miss, Held::Fresh(copy)) if conditions.redis_has_lost(&copy, now) => {
            Step::ServeAndWriteBack(copy)
        }
        // The source failed for it a moment ago, and is left alone.
        (_, held @ (Held::Fresh(_) | Held::Stale(_))) if held.waits_for_retry(now) => {
            instead_of_source(held, Refusal::Unavailable)
        }
        (_, Held::KnownAbsent) => Step::NotFound,
        (_, held) if conditions.source_refuses => instead_of_source(held, Refusal::Unavailable),
        (_, Held::Fresh(copy) | Held::Stale(copy)) => Step::Fetch(Some(copy)),
        (_, Held::Nothing) => Step::Fetch(None),
    }
}

/// The next step where the source gives no answer in time: it failed, was not asked, or is waited for no
/// longer. A copy is better than the `refusal`, and is not refreshed: the source has shown how it is.
pub(crate) fn instead_of_source(held: Held, refusal: Refusal) -> Step<'static> {
    let refresh = false;
    match held {
        Held::Fresh(copy) => Step::Serve(Served::Fresh { copy, refresh }),
        Held::Stale(copy) => Step::Serve(Served::Stale(copy)),
        Held::KnownAbsent => Step::NotFound,
        Held::Nothing => Step::Refuse(refusal),
    }
}

impl Held {
    /// What `kept` comes to at `now`, for a route whose copies are served up to `max_stale` past their
    /// ttl.
    pub(crate) fn of(kept: Option<Kept>, max_stale: Duration, now: Instant) -> Self {
        match kept {
            Some(Kept::Value(copy)) if copy.is_fresh(now) => Self::Fresh(copy),
            Some(Kept::Value(copy)) if copy.is_servable_stale(now, max_stale) => Self::Stale(copy),
            Some(Kept::Negative { until }) if now < until => Self::KnownAbsent,
            Some(_) | None => Self::Nothing,
        }
    }

    fn waits_for_retry(&self, now: Instant) -> bool {
        match self {
            Self::Fresh(copy) | Self::Stale(copy) => copy.waits_for_retry(now),
            Self::KnownAbsent | Self::Nothing => false,
        }
    }
}

impl Conditions {
    /// Whether `copy` is from before Redis was last lost, so that a miss there is Redis's loss and not
    /// the end of the value.
    fn redis_has_lost(&self, copy: &CachedValue, now: Instant) -> bool {
        self.redis_back_since.is_some_and(|back| {
            copy.fetched_at < back && now.saturating_duration_since(back) < STANDS_IN_FOR
        })
    }
}
