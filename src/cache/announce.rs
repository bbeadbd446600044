//! What is said when Redis is given up and when it is back.

use std::sync::atomic::Ordering;

use log::{error, info, warn};

use super::fault::Fault;
use super::{Cache, OUTAGE_OF};
use crate::breaker::{State, Transition};

impl Cache {
    /// One line for a change of state; what is in flight to a Redis that is given up ends with it.
    pub(super) fn announce(&self, transition: Transition, reason: &str) {
        let address = &self.address;
        let Transition {
            from,
            to,
            failures,
            lasted,
        } = transition;
        if to == State::Closed {
            self.metrics.outage_ended(OUTAGE_OF);
            let bypassed = self.bypassed.swap(0, Ordering::Relaxed);
            let mut report = self.report();
            report.last_fault = None;
            report.misconfiguration_was_said = false;
            info!(
                "redis breaker {} -> closed: {reason} ({address}); it was away for {:.1} s, \
                 {bypassed} lookups went without it",
                from.word(),
                lasted.as_secs_f64(),
            );
        } else {
            if from == State::Closed {
                self.bypassed.store(0, Ordering::Relaxed);
                self.metrics.outage_began(OUTAGE_OF, reason);
            }
            self.report().is_lost = true;
            self.pool.discard_all();
            self.calls.give_up_all();
            warn!(
                "redis breaker {} -> {}: {reason} ({address}; {failures} consecutive failures); \
                 serving without it",
                from.word(),
                to.word(),
            );
        }
    }

    /// Loudly, and once an outage: nothing but a person can mend it.
    pub(super) fn say_misconfiguration(&self, fault: &Fault) {
        if !std::mem::replace(&mut self.report().misconfiguration_was_said, true) {
            error!(
                "redis at {} refuses us: {fault}; check [redis] url, password_file and the ACL",
                self.address
            );
        }
    }
}
