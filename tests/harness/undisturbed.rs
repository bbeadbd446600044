//! What the machine itself does to answers: an app beside the one under test, for which nothing changes,
//! and what the kernel says of how long threads had to wait.

use std::time::Duration;

use super::machine::Machine;
use super::{App, Load, Origin, Redis, Report};

/// An app beside the one under test, on the same machine and of the same source, for which nothing
/// changes: its Redis was never there.
pub struct Undisturbed {
    app: App,
    load: Load,
    machine: Machine,
}

/// What it saw.
pub struct Seen {
    /// Its answers.
    pub report: Report,
    /// The longest that a thread of the app under test, or of the test, had to wait for a processor within a
    /// tenth of a second.
    pub waited: Duration,
}

impl Undisturbed {
    /// Starts it beside `tested`, and four clients of it.
    pub fn start(origin: &Origin, tested: &App) -> Self {
        let app = App::configured()
            .redis(&Redis::not_started())
            .origin(origin)
            .start();
        app.wait_for_outage();
        let load = Load::start(app.address(), 4, |client, n| format!("beside-{client}-{n}"));
        let machine = Machine::watch(tested.proc("task"));
        Self { app, load, machine }
    }

    /// What it saw.
    pub fn stop(self) -> Seen {
        let waited = self.machine.stop();
        let report = self.load.stop();
        assert!(report.failures.is_empty(), "{:?}", report.failures);
        assert!(!self.app.redis_is_up());
        Seen { report, waited }
    }
}
