//! The outage drill: the release binary under 32 keep-alive clients, half of whose keys are new, with a
//! real Redis that is killed, started again, stopped and continued, and a real HTTP source of 50 ms.
//! `cargo bench --bench drill` prints what the clients saw and fails where a promise is broken.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program for a person to look at"
)]
#![allow(
    missing_docs,
    dead_code,
    unused_imports,
    reason = "shares the harness of the tests"
)]

#[path = "../tests/harness/mod.rs"]
mod harness;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use harness::{App, Load, Origin, Redis, let_pass, wait_until};

/// What the source takes.
const SOURCE: Duration = Duration::from_millis(50);
/// An answer is slow when it takes the source's time and this much more.
const SLOW: Duration = Duration::from_millis(200);
/// After this much of an outage no answer may be slow.
const ONSET: Duration = Duration::from_millis(1500);
/// How soon Redis has to be used again.
const BACK: Duration = Duration::from_millis(2500);
/// How long each phase lasts.
const PHASE: Duration = Duration::from_secs(8);

/// An outage, from its begin to its end.
struct Outage {
    name: &'static str,
    began: Instant,
    ended: Instant,
    back_after: Duration,
    log_lines: usize,
}

fn main() -> ExitCode {
    let mut redis = Redis::start();
    let origin = Origin::slow(SOURCE);
    let app = App::with(&redis, &origin).connect();
    let load = Load::half_new(app.address());
    let_pass(PHASE / 2);
    let killed = outage("kill -9", &app, &mut redis, Redis::kill, Redis::start_again);
    let_pass(PHASE / 2);
    let stopped = outage("kill -STOP", &app, &mut redis, |r| r.freeze(), |r| r.thaw());
    let_pass(PHASE / 2);
    let report = load.stop();

    let slow = report.slower_than(SLOW);
    println!(
        "{} answers, {} other than 200, {} of another key",
        report.answers.len(),
        report.failures.len(),
        report.wrong.len()
    );
    println!("{slow} answers slower than {SLOW:?} in all (at most 64)");
    let mut sound = report.failures.is_empty() && report.wrong.is_empty() && slow <= 64;
    for outage in [killed, stopped] {
        let late = report.slowest_between(outage.began + ONSET, outage.ended).0;
        let all = report.slowest_between(outage.began, outage.ended).0;
        println!(
            "{}: slowest {all:?}, after {ONSET:?} {late:?} (under {SLOW:?}); redis used again after \
             {:?} (under {BACK:?}); {} log lines (under 30)",
            outage.name, outage.back_after, outage.log_lines,
        );
        sound &= late < SLOW && outage.back_after < BACK && outage.log_lines < 30;
    }
    println!("{}", app.log());
    println!("{}", if sound { "sound" } else { "NOT SOUND" });
    if sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn outage(
    name: &'static str,
    app: &App,
    redis: &mut Redis,
    begin: impl FnOnce(&mut Redis),
    end: impl FnOnce(&mut Redis),
) -> Outage {
    let lines_before = app.log().lines().count();
    let began = Instant::now();
    begin(redis);
    let_pass(PHASE);
    let ended = Instant::now();
    end(redis);
    let hits = || app.figure("/answers/redis");
    let before = hits();
    wait_until(Duration::from_secs(10), "redis is used again", || {
        hits() > before
    });
    let back_after = ended.elapsed();
    let log_lines = app.log().lines().count() - lines_before;
    Outage {
        name,
        began,
        ended,
        back_after,
        log_lines,
    }
}
