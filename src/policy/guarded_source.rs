//! A source behind its own breaker: how the policy asks it, how long it usually takes, what is counted
//! of it, and what is said when it fails. Which fetch is made, and what takes its place, is not decided
//! here.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{debug, info, warn};

use crate::base::breaker::{self, Breaker, Permit, State, Transition};
use crate::base::clock::{self, Deadline};
use crate::base::ewma::Ewma;
use crate::config::{self, Config};
use crate::observe::logging::LogThrottle;
use crate::observe::metrics::Metrics;
use crate::policy::refusals::Refusals;
use crate::source::{Fetched, Source, SourceError};

/// A source and what guards it.
pub(crate) struct GuardedSource {
    pub name: String,
    /// Its index in the configuration.
    number: usize,
    source: Box<dyn Source>,
    /// The longest that a fetch may take.
    pub timeout: Duration,
    /// A lookup that has a copy waits no longer than this for a fetch.
    pub soft_timeout: Duration,
    pub breaker: Arc<Breaker>,
    /// What a fetch takes, in microseconds; 0: none has succeeded.
    usual_us: Ewma,
    /// Its failures are counted, and said now and then.
    said: LogThrottle,
    /// Guards which keys failed in a row by what would be their own trouble.
    refusals: Mutex<Refusals>,
    /// Guards since when it is not asked, and why.
    away: Mutex<Option<Away>>,
    metrics: Arc<Metrics>,
}

/// A source that is not asked, but for a trial now and then.
#[derive(Debug, Clone)]
pub(crate) struct Away {
    /// When it was given up.
    pub since: Instant,
    /// Why, in words.
    pub cause: String,
}

impl GuardedSource {
    /// `source`, the `number`-th of the configuration, with the limits of its section.
    pub(crate) fn new(
        config: &config::Source,
        number: usize,
        source: Box<dyn Source>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let breaker = breaker::Settings {
            held: (config.fail_max == 0).then_some(State::Closed),
            fail_max: config.fail_max,
            // Only a fetch can tell whether a source is well.
            trial_after: Some(config.reset_timeout),
        };
        Self {
            name: config.name.clone(),
            number,
            source,
            timeout: config.timeout(),
            soft_timeout: config.soft_timeout,
            breaker: Arc::new(Breaker::new(breaker, clock::now())),
            usual_us: Ewma::default(),
            said: LogThrottle::default(),
            refusals: Mutex::new(Refusals::new(
                config.fail_max as usize,
                config.reset_timeout,
            )),
            away: Mutex::default(),
            metrics,
        }
    }

    /// Since when it is not asked, and why, if that is so.
    pub(crate) fn away(&self) -> Option<Away> {
        self.lock_away().clone()
    }

    /// Whether a fetch would be refused at `now`.
    pub(crate) fn refuses(&self, now: Instant) -> bool {
        self.breaker.refuses(now)
    }

    /// Leave to make one fetch.
    pub(crate) fn permit(&self, now: Instant) -> Option<Permit> {
        self.breaker.permit(now)
    }

    /// What a fetch usually takes; zero before any has succeeded.
    pub(crate) fn usual(&self) -> Duration {
        Duration::from_micros(self.usual_us.value())
    }

    /// Makes the fetch for which there is `permit`. How it went is counted and said here.
    ///
    /// # Errors
    /// As [`Source::fetch`].
    pub(crate) fn fetch(
        &self,
        permit: Permit,
        key: &str,
        deadline: Deadline,
    ) -> Result<Fetched, SourceError> {
        let began = clock::now();
        let fetch = || self.source.fetch(key, deadline);
        let fetched = catch_unwind(AssertUnwindSafe(fetch)).unwrap_or_else(|_| {
            self.metrics.panics.inc();
            Err(SourceError::Panicked)
        });
        let took = clock::now().saturating_duration_since(began);
        let result = match &fetched {
            Ok(Fetched::Value(_)) => "value",
            Ok(Fetched::NoSuchThing) => "no-such-thing",
            Err(error) => error.word(),
        };
        self.metrics.fetched(self.number, result, took);
        match &fetched {
            Ok(_) => self.succeeded(permit, took),
            Err(error) => self.failed(permit, error, key),
        }
        fetched
    }

    fn succeeded(&self, permit: Permit, took: Duration) {
        self.lock_refusals().clear();
        self.usual_us.learn((took.as_micros() as u64).max(1));
        self.settled(permit.succeeded(clock::now()), None);
    }

    /// What is the key's own trouble does not count against the source, unless every key has it.
    fn failed(&self, permit: Permit, error: &SourceError, key: &str) {
        let now = clock::now();
        let kind = match error {
            SourceError::Status(status) => Cow::Owned(format!("status {status}")),
            error => Cow::Borrowed(error.word()),
        };
        if let Some(more) = self.said.say(&kind, now) {
            let key: String = key.escape_default().take(80).collect();
            warn!("source {}: {error} (key \"{key}\"){more}", self.name);
        }
        let transition = match error {
            // It was not asked at all.
            SourceError::NotAskable(_) => None,
            // It belongs to the keys that are configured to fail.
            SourceError::Simulated => permit.succeeded(now),
            error if error.counts_as_failure() => permit.failed(now),
            _ if self.lock_refusals().add(key, now) => permit.failed(now),
            _ => permit.succeeded(now),
        };
        self.settled(transition, Some(error));
    }

    /// One line when it is given up and one when it is back; the trials between them are no news.
    fn settled(&self, transition: Option<Transition>, error: Option<&SourceError>) {
        let Some(Transition {
            from, to, failures, ..
        }) = transition
        else {
            return;
        };
        let name = &self.name;
        let outage_of = format!("source {name}");
        match (from, to) {
            (_, State::Closed) => {
                *self.lock_away() = None;
                self.metrics.outage_ended(&outage_of);
                let from = from.word();
                info!("source {name} breaker {from} -> closed: the trial succeeded");
            }
            (State::Closed, _) => {
                let cause = error.map(ToString::to_string).unwrap_or_default();
                self.metrics.outage_began(&outage_of, &cause);
                warn!(
                    "source {name} breaker closed -> {}: {cause} ({failures} consecutive failures); \
                     copies are served, keys without one get 503",
                    to.word(),
                );
                let since = clock::now();
                *self.lock_away() = Some(Away { since, cause });
            }
            _ => debug!("source {name} breaker {} -> {}", from.word(), to.word()),
        }
    }

    fn lock_refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_away(&self) -> MutexGuard<'_, Option<Away>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many fillers each source may hold: its own `max_concurrent`, and never so many that another
/// source would find none.
pub(crate) fn lane_limits(config: &Config) -> Vec<usize> {
    let workers = config.server.workers;
    let others = config.sources.len().saturating_sub(1);
    let share = workers.saturating_sub(others.min(workers / 2)).max(1);
    let limits = config.sources.iter();
    limits
        .map(|source| source.max_concurrent().map_or(share, |max| max.min(share)))
        .collect()
}
