//! Round after round of finding out which nodes there are: when the next one is due, and that none ends the
//! thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use log::error;

use crate::base::clock;
use crate::base::notify::Notify;
use crate::observe::metrics::Metrics;

/// How long something new that is wrong is looked at more often.
const ALERT_FOR: Duration = Duration::from_secs(15);

/// A way to find out which nodes there are.
pub(crate) trait Discovery: Send {
    fn pace(&self) -> Pace;

    /// Asks, and installs what it has learned. Whether all is well.
    fn refresh(&mut self) -> bool;
}

/// How much time there is between two rounds.
pub(crate) struct Pace {
    /// At least, however often the thread is notified.
    pub rest: Duration,
    /// While all is well.
    pub calm: Duration,
    /// While something is wrong, in its first seconds.
    pub alert: Duration,
    /// While something has been wrong for long.
    pub patient: Duration,
}

/// Until `notify` is closed.
pub(crate) fn run(discovery: &mut dyn Discovery, notify: &Notify, metrics: &Metrics) {
    let pace = discovery.pace();
    let mut wrong_since: Option<Instant> = None;
    loop {
        let is_well = catch_unwind(AssertUnwindSafe(|| discovery.refresh())).unwrap_or_else(|_| {
            metrics.panics.inc();
            error!("the topology thread panicked; it lives on");
            false
        });
        let now = clock::now();
        let pause = if is_well {
            wrong_since = None;
            pace.calm
        } else {
            let since = *wrong_since.get_or_insert(now);
            match now.saturating_duration_since(since) < ALERT_FOR {
                true => pace.alert,
                false => pace.patient,
            }
        };
        // Jitter of a tenth: many instances must not ask at once.
        if !notify.wait(pace.rest, pause.mul_f64(0.9 + fastrand::f64() * 0.2)) {
            return;
        }
    }
}
