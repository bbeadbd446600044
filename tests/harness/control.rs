//! What the machine itself does to answers: a bare server beside the app under test, for which nothing
//! changes, and what the kernel says of how long threads had to wait. None of it is evenkeel, so that no
//! fault of evenkeel's counts as the machine's.

use std::time::Duration;

use super::echo::Echo;
use super::machine::Machine;
use super::{App, Load, Report};

/// A server and its clients on the same machine as the app under test.
pub struct Control {
    load: Load,
    machine: Machine,
    /// Ends after its clients.
    _echo: Echo,
}

/// What it saw.
pub struct Seen {
    /// Its answers.
    pub report: Report,
    /// The longest that a thread of the app under test, or of the test, had to wait for a processor within a
    /// tenth of a second.
    pub waited: Duration,
}

impl Control {
    /// Starts it beside `tested`, with four clients.
    pub fn start(tested: &App) -> Self {
        let echo = Echo::start();
        let load = Load::start(echo.address(), 4, |client, n| {
            format!("beside-{client}-{n}")
        });
        let machine = Machine::watch(tested.proc("task"));
        Self {
            load,
            machine,
            _echo: echo,
        }
    }

    /// What it saw.
    pub fn stop(self) -> Seen {
        let waited = self.machine.stop();
        let report = self.load.stop();
        assert!(report.failures.is_empty(), "{:?}", report.failures);
        assert!(report.wrong.is_empty(), "{:?}", report.wrong);
        Seen { report, waited }
    }
}
