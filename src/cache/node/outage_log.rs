//! What is known of a node's last failure, and what is said of it: a line for each change that lasts, with
//! the reason. How long an outage was and what it cost is in its report.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use log::{debug, error, info, warn};

use crate::base::breaker::{State, Transition};
use crate::cache::wire::fault::Fault;
use crate::observe::metrics::Metrics;

/// A change of the reason is worth a line, but not more of them than this in one outage.
const REASONS_SAID_MAX: u32 = 5;

pub(crate) struct OutageLog {
    /// What the node's outages are called.
    name: String,
    /// Of the node, without credentials.
    address: String,
    /// Guards what is known; held for nanoseconds.
    known: Mutex<Known>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Known {
    last_success: Option<Instant>,
    /// A connection was lost, or the node was given up, and it has not been of use since.
    is_lost: bool,
    back_since: Option<Instant>,
    last_fault: Option<Fault>,
    misconfiguration_was_said: bool,
    /// Reasons that probes have told since the breaker opened.
    reasons_said: u32,
}

impl OutageLog {
    pub(crate) fn new(name: String, address: String, metrics: Arc<Metrics>) -> Self {
        Self {
            name,
            address,
            known: Mutex::default(),
            metrics,
        }
    }

    pub(crate) fn last_success(&self) -> Option<Instant> {
        self.lock().last_success
    }

    /// Since when the node has been of use again, if it was ever lost: what it had may be gone.
    pub(crate) fn back_since(&self) -> Option<Instant> {
        self.lock().back_since
    }

    /// The fault that was met last, in words.
    pub(crate) fn last_fault(&self) -> Option<String> {
        self.lock().last_fault.as_ref().map(Fault::to_string)
    }

    /// A call was answered; `has_lost`: a connection was found closed before it.
    pub(crate) fn record_success(&self, has_lost: bool, now: Instant) {
        let mut known = self.lock();
        known.last_success = Some(now);
        if std::mem::take(&mut known.is_lost) || has_lost {
            known.back_since = Some(now);
        }
    }

    pub(crate) fn record_fault(&self, fault: &Fault) {
        self.lock().last_fault = Some(fault.clone());
    }

    pub(crate) fn mark_lost(&self) {
        self.lock().is_lost = true;
    }

    /// As if the node had been lost and were back `now`.
    pub(crate) fn mark_back(&self, now: Instant) {
        self.lock().back_since = Some(now);
    }

    /// The node is let go, and its outage ends with it.
    pub(crate) fn end(&self) {
        self.metrics.outage_ended(&self.name);
    }

    /// The breaker has closed.
    pub(crate) fn say_recovered(&self, transition: Transition, how: &str) {
        self.metrics.outage_ended(&self.name);
        {
            let mut known = self.lock();
            known.last_fault = None;
            known.misconfiguration_was_said = false;
            known.reasons_said = 0;
        }
        let from = transition.from.word();
        info!("redis breaker {from} -> closed: {how} ({})", self.address);
    }

    /// The breaker has opened because of `fault`, met `when`. A trial that has failed is no news.
    pub(crate) fn say_opened(&self, transition: Transition, when: &str, fault: &Fault) {
        let Transition {
            from, to, failures, ..
        } = transition;
        let is_loud = self.claim_misconfiguration(fault);
        let change = format!("redis breaker {} -> {}", from.word(), to.word());
        let reason = format!("{when}{fault} ({}", self.address);
        let (complaint, remedy) = fault.for_a_person();
        if from != State::Closed {
            match is_loud {
                true => error!("{change}: {reason}); it {complaint}: check {remedy}"),
                false => debug!("{change}: {reason})"),
            }
            return;
        }
        self.metrics
            .outage_began(&self.name, &format!("{when}{fault}"));
        if is_loud {
            error!("{change}: {reason}); serving without it; it {complaint}: check {remedy}");
        } else if failures > 0 {
            warn!("{change}: {reason}; {failures} consecutive failures); serving without it");
        } else {
            warn!("{change}: {reason}); serving without it");
        }
    }

    /// A probe has failed while the breaker is open.
    pub(crate) fn say_still_failing(&self, fault: &Fault) {
        let may_be_said = {
            let mut known = self.lock();
            let before = known.last_fault.replace(fault.clone());
            let is_news = before.is_none_or(|before| fault.is_news_after(&before));
            known.reasons_said += u32::from(is_news);
            is_news && known.reasons_said <= REASONS_SAID_MAX
        };
        if !self.say_misconfiguration(fault) && may_be_said {
            info!("redis is still not usable: {fault} ({})", self.address);
        }
    }

    /// Says a misconfiguration loudly, and once an outage: only a person can mend it. Whether it was said
    /// now.
    pub(crate) fn say_misconfiguration(&self, fault: &Fault) -> bool {
        let is_news = self.claim_misconfiguration(fault);
        if is_news {
            let (complaint, remedy) = fault.for_a_person();
            let address = &self.address;
            error!("redis is not usable: {fault} ({address}); it {complaint}: check {remedy}");
        }
        is_news
    }

    /// Whether `fault` is a misconfiguration that was not said yet; the next caller need not say it.
    fn claim_misconfiguration(&self, fault: &Fault) -> bool {
        fault.is_misconfiguration()
            && !std::mem::replace(&mut self.lock().misconfiguration_was_said, true)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
