//! What is said when Redis is given up and when it is back: a line for each change that lasts, with the
//! reason. How long an outage was and what it cost is in its report.

use log::{debug, error, info, warn};

use super::Cache;
use super::fault::Fault;
use crate::breaker::{State, Transition};
use crate::outage;

/// What to do where nothing but a person can mend it.
const ADVICE: &str = "it refuses us: check [redis] url, password_file and the ACL";

impl Cache {
    /// The breaker has closed.
    pub(super) fn is_back(&self, transition: Transition, how: &str) {
        self.metrics.outage_ended(outage::REDIS);
        {
            let mut report = self.report();
            report.last_fault = None;
            report.misconfiguration_was_said = false;
        }
        let from = transition.from.word();
        info!("redis breaker {from} -> closed: {how} ({})", self.address);
    }

    /// The breaker has opened because of `fault`, met `when`; what is in flight ends with it. A trial that
    /// has failed is no news.
    pub(super) fn is_given_up(&self, transition: Transition, when: &str, fault: &Fault) {
        let Transition {
            from, to, failures, ..
        } = transition;
        self.report().is_lost = true;
        self.pool.discard_all();
        self.calls.give_up_all();
        let change = format!("redis breaker {} -> {}", from.word(), to.word());
        let reason = format!("{when}{fault} ({}", self.address);
        if from != State::Closed {
            debug!("{change}: {reason})");
            return self.say_misconfiguration(fault);
        }
        self.metrics
            .outage_began(outage::REDIS, &format!("{when}{fault}"));
        if fault.is_misconfiguration() {
            self.report().misconfiguration_was_said = true;
            error!("{change}: {reason}); serving without it; {ADVICE}");
        } else if failures > 0 {
            warn!("{change}: {reason}; {failures} consecutive failures); serving without it");
        } else {
            warn!("{change}: {reason}); serving without it");
        }
    }

    /// Loudly, and once an outage: where credentials or rights are wrong.
    pub(super) fn say_misconfiguration(&self, fault: &Fault) {
        if fault.is_misconfiguration()
            && !std::mem::replace(&mut self.report().misconfiguration_was_said, true)
        {
            error!("redis is not usable: {fault} ({}); {ADVICE}", self.address);
        }
    }
}
