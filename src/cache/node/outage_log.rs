//! What is said when Redis is given up and when it is back: a line for each change that lasts, with the
//! reason. How long an outage was and what it cost is in its report.

use log::{debug, error, info, warn};

use crate::base::breaker::{State, Transition};
use crate::cache::node::Node;
use crate::cache::wire::fault::Fault;

impl Node {
    /// The breaker has closed.
    pub(crate) fn mark_recovered(&self, transition: Transition, how: &str) {
        self.metrics.outage_ended(&self.name);
        {
            let mut report = self.report();
            report.last_fault = None;
            report.misconfiguration_was_said = false;
            report.reasons_said = 0;
        }
        let from = transition.from.word();
        info!("redis breaker {from} -> closed: {how} ({})", self.address);
    }

    /// The breaker has opened because of `fault`, met `when`; what is in flight ends with it. A trial that
    /// has failed is no news.
    pub(crate) fn give_up(&self, transition: Transition, when: &str, fault: &Fault) {
        let Transition {
            from, to, failures, ..
        } = transition;
        let is_misconfigured = fault.is_misconfiguration();
        let was_said = {
            let mut report = self.report();
            report.is_lost = true;
            // Another call may have met the same at the same time.
            is_misconfigured && std::mem::replace(&mut report.misconfiguration_was_said, true)
        };
        self.pool.discard_all();
        self.give_up_calls();
        self.notify.notify();
        let change = format!("redis breaker {} -> {}", from.word(), to.word());
        let reason = format!("{when}{fault} ({}", self.address);
        if from != State::Closed {
            if is_misconfigured && !was_said {
                let (complaint, remedy) = fault.for_a_person();
                error!("{change}: {reason}); it {complaint}: check {remedy}");
            } else {
                debug!("{change}: {reason})");
            }
            return;
        }
        self.forget_bypassed();
        let cause = format!("{when}{fault}");
        self.metrics.outage_began(&self.name, &cause);
        if is_misconfigured && !was_said {
            let (complaint, remedy) = fault.for_a_person();
            error!("{change}: {reason}); serving without it; it {complaint}: check {remedy}");
        } else if failures > 0 {
            warn!("{change}: {reason}; {failures} consecutive failures); serving without it");
        } else {
            warn!("{change}: {reason}); serving without it");
        }
    }

    /// Loudly, and once an outage: nothing but a person can mend it. Whether it has been said now.
    pub(crate) fn say_misconfiguration(&self, fault: &Fault) -> bool {
        let is_news = fault.is_misconfiguration()
            && !std::mem::replace(&mut self.report().misconfiguration_was_said, true);
        if is_news {
            let (complaint, remedy) = fault.for_a_person();
            let address = &self.address;
            error!("redis is not usable: {fault} ({address}); it {complaint}: check {remedy}");
        }
        is_news
    }
}
