//! Rule 6: what a fault that lasts may come to, whatever it is: few lines, one outage, no connection storm, no
//! answer that is late for Redis's sake.

use std::time::{Duration, Instant};

use super::outages;
use crate::harness::{Answer, App, Load, Report};

/// Half of `[redis] timeout`: no request may take longer for Redis's sake.
const HALF: Duration = Duration::from_millis(250);
/// What a source and a debug build may add, and a machine that is too busy to measure on.
const OWN: Duration = Duration::from_millis(50);
const NOISE_MAX: Duration = Duration::from_millis(75);
/// Between two requests of one client: load, but no more than a machine that is busy otherwise can take.
const PACE: Duration = Duration::from_millis(10);
const CLIENTS: usize = 4;
/// Lines of one fault, however long it lasts: fewer.
pub(super) const LINES: usize = 20;

/// What one fault came to.
pub(super) struct Came {
    pub(super) name: &'static str,
    pub(super) lines: Vec<String>,
    pub(super) outages: usize,
    pub(super) status: String,
    /// Answers that took longer than half of `[redis] timeout`.
    pub(super) late: usize,
    /// A second, after the onset.
    pub(super) connects: f64,
}

/// An app under a fault, and the load on it.
pub(super) struct Row {
    name: &'static str,
    pub(super) app: App,
    load: Load,
    connects: Box<dyn Fn() -> usize>,
    connects_at_begin: usize,
    began: Instant,
    lines_before: usize,
}

/// Known keys and new ones by turns.
fn gentle(app: &App) -> Load {
    Load::start(app.address(), CLIENTS, |client, n| {
        std::thread::park_timeout(PACE);
        match n % 2 {
            0 => format!("k{}", (n / 2 + client) % 9),
            _ => format!("new-{client}-{n}"),
        }
    })
}

impl Row {
    /// The fault has begun.
    pub(super) fn begin(
        name: &'static str,
        app: App,
        connects: impl Fn() -> usize + 'static,
    ) -> Self {
        Self {
            name,
            load: gentle(&app),
            connects_at_begin: connects(),
            connects: Box::new(connects),
            began: Instant::now(),
            lines_before: app.log().lines().count(),
            app,
        }
    }

    pub(super) fn end(self, control: &crate::harness::Seen) -> (App, Came) {
        let connects = (self.connects)() - self.connects_at_begin;
        let seconds = self.began.elapsed().as_secs_f64();
        let report = self.load.stop().beside(control);
        // What the machine adds is off; what it adds to single answers is forgiven when it was busy.
        let (delay, wait) = report.noise();
        let forgiven = match delay.max(wait) <= NOISE_MAX {
            true => 0,
            false => report.answers.len() / 1000,
        };
        assert_sound(self.name, &report);
        let late = report.slower_than(HALF + OWN).saturating_sub(forgiven);
        let log = self.app.log();
        let lines = log.lines().skip(self.lines_before).map(str::to_owned);
        let came = Came {
            name: self.name,
            lines: lines.collect(),
            outages: outages(&self.app).len(),
            status: self.app.health()["status"].to_string(),
            late,
            connects: connects as f64 / seconds,
        };
        (self.app, came)
    }
}

fn assert_sound(name: &str, report: &Report) {
    assert!(report.answers.len() > 100, "{name}: no load");
    let failures = &report.failures[..report.failures.len().min(3)];
    assert!(failures.is_empty(), "{name}: {failures:?}");
    assert!(report.wrong.is_empty(), "{name}: {:?}", report.wrong);
}

/// Everything that is wrong with it.
pub(super) fn wrong_with(
    came: &Came,
    outages: std::ops::RangeInclusive<usize>,
    is_degraded: bool,
) -> String {
    let mut wrong = String::new();
    let mut hold = |holds: bool, what: String| {
        if !holds {
            wrong.push_str(&format!("{}: {what}\n", came.name));
        }
    };
    let (lines, first) = (came.lines.len(), came.lines.iter().take(12));
    let first = first.cloned().collect::<Vec<_>>().join("\n");
    hold(lines < LINES, format!("{lines} lines:\n{first}"));
    let count = came.outages;
    hold(outages.contains(&count), format!("{count} outages"));
    let expected = if is_degraded {
        "\"degraded\""
    } else {
        "\"ok\""
    };
    let either = !is_degraded && came.status == "\"degraded\"";
    hold(
        came.status == expected || either,
        format!("status {}", came.status),
    );
    hold(came.late == 0, format!("{} late answers", came.late));
    let connects = came.connects;
    hold(
        connects < 2.0,
        format!("{connects:.1} new connections a second"),
    );
    wrong
}

/// The prober's own key is served and a PING is answered; whatever is asked for is not.
pub(super) fn of_requests(words: &[&str], answer: &Answer) -> Answer {
    match words {
        ["GET" | "MGET", key, ..] if !key.contains("probe") => answer.clone(),
        _ => Answer::Usual,
    }
}
