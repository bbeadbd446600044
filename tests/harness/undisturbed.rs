//! What the machine itself does to answers: an app beside the one under test, for which nothing changes.

use super::{App, Load, Origin, Redis, Report};

/// An app beside the one under test, on the same machine and of the same source, for which nothing
/// changes: its Redis was never there.
pub struct Undisturbed {
    app: App,
    load: Load,
}

impl Undisturbed {
    /// Starts it, and four clients of it.
    pub fn start(origin: &Origin) -> Self {
        let app = App::configured()
            .redis(&Redis::not_started())
            .origin(origin)
            .start();
        app.wait_for_outage();
        let load = Load::start(app.address(), 4, |client, n| format!("beside-{client}-{n}"));
        Self { app, load }
    }

    /// What it saw.
    pub fn stop(self) -> Report {
        let report = self.load.stop();
        assert!(report.failures.is_empty(), "{:?}", report.failures);
        assert!(!self.app.redis_is_up());
        report
    }
}
