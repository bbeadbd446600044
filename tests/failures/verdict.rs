//! What a play comes to, and when it is played again: what is wrong counts, unless the machine was too
//! busy to tell. How busy it was is measured, and never excuses a wrong answer.

use std::time::Duration;

use crate::harness::{Report, let_pass};

/// What the machine may add to an answer of the undisturbed app, and how long it may let a thread wait for
/// a processor in a tenth of a second, for a play to count.
const NOISE_MAX: Duration = Duration::from_millis(75);
/// How often something is played at most, and the rest before it is played again.
const PLAYS: usize = 6;
const REST: Duration = Duration::from_secs(2);

/// What is wrong with a play.
#[derive(Default)]
pub struct Verdict {
    wrong: Vec<String>,
    /// Among it, what no machine is to blame for.
    is_certain: bool,
}

impl Verdict {
    /// `what` is wrong, unless it `holds`; a busy machine may be the reason.
    pub fn hold(&mut self, holds: bool, what: impl Into<String>) {
        if !holds {
            self.wrong.push(what.into());
        }
    }

    /// The same, and no machine is to blame.
    pub fn insist(&mut self, holds: bool, what: impl Into<String>) {
        self.is_certain |= !holds;
        self.hold(holds, what);
    }

    /// Every answer is 200 and belongs to its key. Who is shed has waited half a second for a thread: with
    /// fewer clients than threads that is the machine's doing.
    pub fn insist_on_answers(&mut self, report: &Report) {
        let examples = |all: &[String]| format!("{} as {:?}", all.len(), all.first());
        let failures = format!("failures: {}", examples(&report.failures));
        self.hold(report.failures.is_empty(), failures);
        let is_shed = |failure: &String| failure.contains("detail=shed");
        let other = report.failures.iter().find(|failure| !is_shed(failure));
        self.insist(other.is_none(), format!("failure: {other:?}"));
        let wrong = format!("wrong answers: {}", examples(&report.wrong));
        self.insist(report.wrong.is_empty(), wrong);
    }
}

/// Plays `name`, again if it has to be; `play` returns its verdict, what it measured, and its log.
pub fn play<T>(name: &str, mut play: impl FnMut() -> (Verdict, Report, T, String)) -> T {
    for plays_left in (0..PLAYS).rev() {
        let (verdict, report, measured, log) = play();
        let (delay, wait) = report.noise();
        println!("{name}: the machine added {delay:?}, a thread waited {wait:?}");
        if verdict.wrong.is_empty() {
            return measured;
        }
        let is_calm = delay.max(wait) <= NOISE_MAX;
        let wrong = verdict.wrong;
        assert!(
            !verdict.is_certain && !is_calm && plays_left > 0,
            "{name}: {wrong:#?}\nthe machine added {delay:?}, a thread waited {wait:?}\n{log}"
        );
        println!("{name}: played again: {wrong:#?}");
        let_pass(REST);
    }
    unreachable!("the last play is taken as it is")
}
