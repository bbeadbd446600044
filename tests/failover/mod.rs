//! Redis as people run it: Sentinels that name the master, a cluster. Real processes under load; what
//! happens to them is no client's business.

use std::time::{Duration, Instant};

use crate::harness::{Redis, Report, alone, wait_until};

mod cluster;
mod sentinel;

/// Latency of the source.
const SOURCE: Duration = Duration::from_millis(50);
/// A slow answer takes longer than the source and 150 ms.
const SLOW: Duration = Duration::from_millis(200);
/// Slow answers that an onset may cost.
const SLOW_MAX: usize = 64;
/// How soon after its promotion a master is used.
const USED_WITHIN: Duration = Duration::from_secs(2);

/// Waits until the app asks `server`, which has just been promoted.
#[track_caller]
fn wait_until_used(server: &Redis, promoted: Instant) {
    let before = server.lookups();
    let left = USED_WITHIN.saturating_sub(promoted.elapsed());
    wait_until(left, "the new master is used", || {
        server.lookups() > before + 20
    });
}

/// A machine that holds an answer of the undisturbed app or a thread up for so long is too busy to measure
/// on.
const NOISE_MAX: Duration = Duration::from_millis(75);
/// How often a scene is played at most.
const PLAYS: usize = 4;

/// What was seen in a scene, as far as a busy machine can spoil it.
#[derive(Default)]
struct Seen {
    wrong: Vec<String>,
    noise: Duration,
}

impl Seen {
    /// Fails unless every answer was right; no more of them all may be slow than one onset may cost.
    #[track_caller]
    fn of(reports: &[&Report]) -> Self {
        reports.iter().for_each(|report| report.assert_sound());
        let slow: usize = reports.iter().map(|report| report.slower_than(SLOW)).sum();
        let mut seen = Self::default();
        seen.hold(slow <= SLOW_MAX, format!("{slow} slow answers"));
        let noise = reports.iter().map(|report| report.noise());
        seen.noise = noise
            .map(|(delay, wait)| delay.max(wait))
            .max()
            .unwrap_or_default();
        seen
    }

    fn hold(&mut self, holds: bool, what: String) {
        if !holds {
            self.wrong.push(what);
        }
    }
}

/// Plays a scene, alone; again if only time was wrong, and the machine itself held answers up.
#[track_caller]
fn play(scene: impl Fn() -> Seen) {
    alone();
    for plays_left in (0..PLAYS).rev() {
        let seen = scene();
        let is_noise = seen.noise > NOISE_MAX && plays_left > 0;
        if seen.wrong.is_empty() {
            return;
        }
        assert!(is_noise, "{:#?}", seen.wrong);
    }
}

/// Connections of the app to `server`.
fn connections_of_app(server: &Redis) -> Vec<String> {
    let list: String = server.query(&["CLIENT", "LIST"]);
    let is_of_app = |line: &&str| {
        let ours = ["name= ", "flags=N "]
            .iter()
            .all(|part| line.contains(part));
        let asks = [
            "cmd=client",
            "cmd=info",
            "cmd=ping",
            "cmd=replconf",
            "cmd=psync",
            "cmd=restore-asking",
        ];
        ours && !asks.iter().any(|cmd| line.contains(cmd))
    };
    list.lines().filter(is_of_app).map(str::to_owned).collect()
}
