//! A source behind its own breaker: how the policy asks it, how long it usually takes, and what is
//! said when it fails. Which fetch is made, and what takes its place, is the policy's to decide.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{debug, info, warn};

use crate::breaker::{Breaker, Permit, State, Transition};
use crate::clock;
use crate::config::{self, BreakerMode};
use crate::logging::Seldom;
use crate::source::{Source, SourceError};

/// A source and what guards it.
pub struct GuardedSource {
    /// Name of its section.
    pub name: String,
    /// Itself.
    pub source: Box<dyn Source>,
    /// The longest that a fetch may take.
    pub timeout: Duration,
    /// Who has a copy waits no longer than this for a fetch.
    pub soft_timeout: Duration,
    /// Whether it may be asked.
    pub breaker: Arc<Breaker>,
    /// What a fetch took lately, in microseconds, later ones counting more; 0: none has succeeded.
    usual_us: AtomicU64,
    /// Its failures are counted, and said now and then.
    said: Seldom,
    /// Guards since when it is not asked.
    away_since: Mutex<Option<Instant>>,
}

impl GuardedSource {
    /// `source`, with the limits of its section.
    #[must_use]
    pub fn new(config: &config::Source, source: Box<dyn Source>) -> Self {
        let mode = match config.fail_max {
            0 => BreakerMode::Disabled,
            _ => BreakerMode::Auto,
        };
        let breaker = config::Breaker {
            mode,
            fail_max: config.fail_max,
            reset_timeout: config.reset_timeout,
            // Without a prober: only a fetch can tell whether a source is well.
            probe_interval: Duration::ZERO,
            stall_calls: usize::MAX,
        };
        Self {
            name: config.name.clone(),
            source,
            timeout: config.timeout(),
            soft_timeout: config.soft_timeout,
            breaker: Arc::new(Breaker::new(&breaker, clock::now())),
            usual_us: AtomicU64::new(0),
            said: Seldom::default(),
            away_since: Mutex::default(),
        }
    }

    /// Whether a fetch would be refused at `now`.
    #[must_use]
    pub fn refuses(&self, now: Instant) -> bool {
        self.breaker.refuses(now)
    }

    /// Leave to make one fetch.
    #[must_use]
    pub fn permit(&self, now: Instant) -> Option<Permit> {
        self.breaker.permit(now)
    }

    /// What a fetch usually takes; zero before any has succeeded.
    #[must_use]
    pub fn usual(&self) -> Duration {
        Duration::from_micros(self.usual_us.load(Ordering::Relaxed))
    }

    /// The fetch was answered after `took`.
    pub fn succeeded(&self, permit: Permit, took: Duration) {
        let took_us = (took.as_micros() as u64).max(1);
        let usual_us = self.usual_us.load(Ordering::Relaxed);
        let learned_us = match usual_us {
            0 => took_us,
            _ => (usual_us * 7 + took_us) / 8,
        };
        // Two fillers may overwrite each other here: either figure will do.
        self.usual_us.store(learned_us, Ordering::Relaxed);
        self.settled(permit.succeeded(clock::now()), None);
    }

    /// The fetch of `key` failed. What is the key's own trouble does not count against the source.
    pub fn failed(&self, permit: Permit, error: &SourceError, key: &str) {
        let now = clock::now();
        if let Some(more) = self.said.say(error.word(), now) {
            let key: String = key.escape_default().take(80).collect();
            warn!("source {}: {error} (key \"{key}\"){more}", self.name);
        }
        let transition = match error {
            // It was not asked at all.
            SourceError::NotAskable(_) => None,
            error if error.counts_as_failure() => permit.failed(now),
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
        let now = clock::now();
        let mut away_since = self
            .away_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let name = &self.name;
        match (from, to) {
            (_, State::Closed) => {
                let since = away_since.take().unwrap_or(now);
                info!(
                    "source {name} breaker {} -> closed: the trial succeeded; it was away for {:.1} s",
                    from.word(),
                    now.saturating_duration_since(since).as_secs_f64(),
                );
            }
            (State::Closed, _) => {
                *away_since = Some(now);
                let error = error.map(ToString::to_string).unwrap_or_default();
                warn!(
                    "source {name} breaker closed -> {}: {error} ({failures} consecutive failures); \
                     copies are served, keys without one get 503",
                    to.word(),
                );
            }
            _ => debug!("source {name} breaker {} -> {}", from.word(), to.word()),
        }
    }
}
