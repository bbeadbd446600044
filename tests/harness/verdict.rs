//! What a play of a row or scene comes to, and when it is played again: only if nothing was wrong but time, and
//! the machine was too busy to tell. How busy it was is measured. A wrong answer, a 503, a log line or memory
//! is never excused. `tests/run` counts how often something was played again, and fails above one row in ten.

use std::io::Write as _;
use std::time::Duration;

use super::{Report, alone, let_pass};

/// What the machine may add to an answer of the control, and how long it may let a thread wait for a
/// processor in a tenth of a second, for a play to count.
const NOISE_MAX: Duration = Duration::from_millis(75);
/// How often something is played at most, and the rest before it is played again.
const PLAYS: usize = 4;
const REST: Duration = Duration::from_secs(2);
/// The file in which `tests/run` finds every row, and every time that one was played again.
const PLAYS_FILE: &str = "PLAYS_FILE";

/// What is wrong with a play.
#[derive(Default)]
pub struct Verdict {
    wrong: Vec<String>,
    late: Vec<String>,
    /// What the machine added, and how long a thread waited.
    noise: (Duration, Duration),
    log: String,
}

impl Verdict {
    /// Of a play that these clients saw: every answer is 200 and belongs to its key.
    pub fn of(reports: &[&Report]) -> Self {
        let mut verdict = Self::of_load(reports);
        for report in reports {
            let failures = format!("failures: {}", examples(&report.failures));
            verdict.hold(report.failures.is_empty(), failures);
            verdict.hold(report.answers.len() > 100, "there is no load");
        }
        verdict
    }

    /// The same, where other answers than 200 may be right.
    pub fn of_load(reports: &[&Report]) -> Self {
        let mut verdict = Self::default();
        for report in reports {
            let wrong = format!("wrong answers: {}", examples(&report.wrong));
            verdict.hold(report.wrong.is_empty(), wrong);
            let (delay, wait) = report.noise();
            let known = verdict.noise;
            verdict.noise = (known.0.max(delay), known.1.max(wait));
        }
        verdict
    }

    /// What the app said, for whoever reads what is wrong.
    #[must_use]
    pub fn with_log(mut self, log: String) -> Self {
        self.log = log;
        self
    }

    /// `what` is wrong, unless it `holds`.
    pub fn hold(&mut self, holds: bool, what: impl Into<String>) {
        if !holds {
            self.wrong.push(what.into());
        }
    }

    /// `what` took too long, or came of that, unless it `holds`: a busy machine may be the reason.
    pub fn hold_in_time(&mut self, holds: bool, what: impl Into<String>) {
        if !holds {
            self.late.push(what.into());
        }
    }

    /// Whether it has to be played again to know.
    fn is_open(&self) -> bool {
        let (delay, wait) = self.noise;
        self.wrong.is_empty() && !self.late.is_empty() && delay.max(wait) > NOISE_MAX
    }
}

/// Plays `name` alone, again if it has to be; what the last play measured.
#[track_caller]
pub fn play<T>(name: &str, mut play: impl FnMut() -> (Verdict, T)) -> T {
    alone();
    note(&format!("row {name}\n"));
    let mut plays_left = PLAYS;
    loop {
        let (verdict, measured) = play();
        plays_left -= 1;
        let (delay, wait) = verdict.noise;
        let machine = format!("the machine added {delay:?}, a thread waited {wait:?}");
        if !verdict.is_open() || plays_left == 0 {
            let (wrong, late, log) = (&verdict.wrong, &verdict.late, &verdict.log);
            assert!(
                wrong.is_empty() && late.is_empty(),
                "{name}: wrong: {wrong:#?}, too late: {late:#?}\n{machine}\n{log}"
            );
            return measured;
        }
        let late = verdict.late.join("; ");
        note(&format!("again {name}: {late} ({machine})\n"));
        let_pass(REST);
    }
}

/// Where `tests/run` looks for it; without that, what is played again is said at once.
fn note(line: &str) {
    let Some(path) = std::env::var_os(PLAYS_FILE) else {
        if line.starts_with("again ") {
            // Not by a macro, whose output is shown of tests that fail only.
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
        return;
    };
    let file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path);
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    written.expect("PLAYS_FILE names a file that can be written");
}

fn examples(all: &[String]) -> String {
    format!("{} as {:?}", all.len(), all.first())
}

#[test]
fn only_time_on_a_busy_machine_is_played_again() {
    let busy = || Verdict {
        noise: (Duration::ZERO, NOISE_MAX * 2),
        ..Verdict::default()
    };
    assert!(!busy().is_open(), "nothing is wrong");
    let mut late = busy();
    late.hold_in_time(false, "a slow answer");
    assert!(late.is_open());
    let calm = Verdict {
        noise: (NOISE_MAX, NOISE_MAX),
        ..late
    };
    assert!(!calm.is_open(), "a calm machine is no excuse");
    let mut wrong = busy();
    wrong.hold_in_time(false, "a slow answer");
    wrong.hold(false, "a log line too many");
    assert!(!wrong.is_open(), "what is wrong is never excused");
}

#[test]
fn a_wrong_answer_and_a_503_are_never_excused() {
    type Spoil = fn(&mut Report);
    let spoilt: [Spoil; 2] = [
        |report| report.wrong.push("a: the value of b".to_owned()),
        |report| report.failures.push("a: 503, detail=shed".to_owned()),
    ];
    for spoil in spoilt {
        let mut report = Report::default();
        spoil(&mut report);
        let mut verdict = Verdict::of(&[&report]);
        verdict.noise = (NOISE_MAX * 2, NOISE_MAX * 2);
        verdict.hold_in_time(false, "a slow answer");
        assert!(!verdict.is_open());
    }
}
