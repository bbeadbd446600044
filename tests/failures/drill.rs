//! The procedure that every row goes through, and what must hold: the promises of the matrix.

use std::time::{Duration, Instant};

use crate::harness::{Control, Load, Report, SOON, Verdict, let_pass, play, wait_until};

use super::figures::{self, Figures};
use super::scene::Scene;
use super::{Is, ROWS, Row};

/// Latency of the source.
pub const SOURCE: Duration = Duration::from_millis(50);
/// A slow answer takes longer than the source and 150 ms.
pub const SLOW: Duration = Duration::from_millis(200);
/// Slow answers that an onset may cost.
pub const SLOW_MAX: usize = 64;
/// How long an onset may cost anybody time.
pub const ONSET: Duration = Duration::from_millis(1500);
/// What Redis may cost one request: the default of `[redis] timeout`.
pub const TIMEOUT: Duration = Duration::from_millis(500);
/// By when Redis is used again.
pub const RECOVERY: Duration = Duration::from_millis(2500);
/// Log lines of one fault: fewer.
const LINES: usize = 30;
/// Bytes that the process may ever have in memory.
const MEMORY: u64 = 256_000_000;
/// How long an answer of 10 MB may take, on a busy machine and by a debug build.
const LARGE: Duration = Duration::from_secs(2);
/// How long a fault goes on after its onset.
const KNOWN: Duration = Duration::from_millis(700);
/// How long hits may stay away while Redis is of use: one time-out, and what it takes to ask again.
const GAP: Duration = Duration::from_millis(700);
/// Half a period of what comes and goes, and how often it does.
const FLAP: Duration = Duration::from_millis(400);
const FLAPS: usize = 5;

/// Plays the row of this name and fails with all that is wrong at once.
pub fn hold(name: &str) {
    let row = ROWS.iter().find(|row| row.name == name);
    let row = row.expect("a row of this name");
    let figures = play(name, || {
        let mut scene = Scene::set(row.via);
        let play = play_once(row, &mut scene);
        println!("{name}: {:?}", play.figures);
        (play.verdict(row).with_log(scene.app.log()), play.figures)
    });
    figures::write(row, &figures);
}

/// What came of a row.
struct Play {
    report: Report,
    began: Instant,
    ended: Instant,
    is_up: bool,
    onsets: usize,
    said: Vec<String>,
    figures: Figures,
}

fn play_once(row: &Row, scene: &mut Scene) -> Play {
    let control = Control::start(&scene.app);
    let load = Load::half_new(scene.app.address());
    wait_until(SOON, "keys come from redis", || {
        scene.app.figure("/answers/redis") > 200
    });
    let lines = scene.app.log().lines().count();
    let began = Instant::now();
    let onsets = match row.is {
        Is::Flapping => flap(row, scene),
        _ => {
            (row.begins)(scene);
            let_pass((ONSET + KNOWN).saturating_sub(began.elapsed()));
            1
        }
    };
    let is_up = scene.app.redis_is_up();
    if row.is != Is::Flapping {
        (row.ends)(scene);
    }
    let ended = Instant::now();
    let before = scene.redis.lookups();
    let used_again = || scene.redis.lookups() > before + 100;
    while !used_again() && ended.elapsed() < RECOVERY * 2 {
        let_pass(Duration::from_millis(2));
    }
    let back_after = ended.elapsed();
    let_pass(Duration::from_millis(300));
    let report = load.stop().beside(&control.stop());
    let log = scene.app.log();
    let said: Vec<_> = log.lines().skip(lines).map(str::to_owned).collect();
    let figures = Figures {
        requests: report.answers.len(),
        most_resident_bytes: scene.app.most_resident_bytes(),
        slow: report.slower_since(began, SLOW),
        slowest_at_onset: report.slowest_between(began, began + ONSET).0,
        slowest_later: report.slowest_between(began + ONSET, Instant::now()).0,
        back_after,
        lines: said.len(),
        said: said.first().cloned().unwrap_or_default(),
    };
    Play {
        report,
        began,
        ended,
        is_up,
        onsets,
        said,
        figures,
    }
}

/// It comes and goes; how often.
fn flap(row: &Row, scene: &mut Scene) -> usize {
    for _ in 0..FLAPS {
        (row.begins)(scene);
        let_pass(FLAP);
        (row.ends)(scene);
        let_pass(FLAP);
    }
    FLAPS
}

impl Play {
    /// Everything that does not hold.
    fn verdict(&self, row: &Row) -> Verdict {
        let mut verdict = Verdict::of(&[&self.report]);
        self.hold_in_time(row, &mut verdict);
        let figures = &self.figures;
        let mut hold = |holds, what| verdict.hold(holds, what);
        let bytes = figures.most_resident_bytes;
        hold(bytes < MEMORY, format!("{bytes} bytes of memory"));
        hold(figures.lines < LINES, format!("{} lines", figures.lines));
        let opened = self.count("breaker closed -> open");
        let errors = self.count("refuses us");
        match row.is {
            Is::Outage | Is::Misconfigured => {
                hold(!self.is_up, "it is not noticed".to_owned());
                hold(opened >= 1, "it is not said".to_owned());
                let loud = usize::from(row.is == Is::Misconfigured);
                hold(errors == loud, format!("{errors} lines of error"));
            }
            Is::ReadsGoOn | Is::Harmless => {
                let loud = usize::from(row.is == Is::ReadsGoOn);
                let said = self.count("takes no writes");
                hold(said == loud, format!("{said} lines about writes"));
            }
            Is::Flapping | Is::Unsteady => {}
        }
        verdict
    }

    /// What a busy machine may be the reason of.
    fn hold_in_time(&self, row: &Row, verdict: &mut Verdict) {
        let (report, figures) = (&self.report, &self.figures);
        let mut hold = |holds, what| verdict.hold_in_time(holds, what);
        hold(figures.requests > 500, "too little load".to_owned());
        let slow_max = SLOW_MAX * self.onsets;
        hold(figures.slow <= slow_max, format!("{} slow", figures.slow));
        if row.is != Is::Flapping {
            let (slowest, at) = report.slowest_between(self.began + ONSET, Instant::now());
            let after = format!("{slowest:?}, sent {at:?} after the onset was over");
            hold(slowest <= SLOW, after);
        }
        let (at_onset, stall) = (figures.slowest_at_onset, TIMEOUT / 2 + SLOW);
        let costs = format!("a stall costs half a time-out, not {at_onset:?}");
        hold(at_onset <= stall, costs);
        let back = format!("redis used again after {:?}", figures.back_after);
        hold(figures.back_after <= RECOVERY, back);
        let large = report.large_answers.iter().map(|answer| answer.took).max();
        let large = large.unwrap_or_default();
        hold(large < LARGE, format!("a large answer after {large:?}"));
        if matches!(row.is, Is::ReadsGoOn | Is::Harmless) {
            // Calls of a thread that gets no processor are as slow as those of a Redis in trouble.
            hold(self.is_up, "taken for an outage".to_owned());
            let gap = report.longest_without_redis(self.began, self.ended);
            hold(gap <= GAP, format!("no hits from redis for {gap:?}"));
        }
    }

    fn count(&self, text: &str) -> usize {
        let lines = self.said.iter();
        lines.filter(|line| line.contains(text)).count()
    }
}
