//! Redis as people run it: Sentinels that name the master, a cluster. Real processes under load; what
//! happens to them is no client's business.

use std::time::{Duration, Instant};

use crate::harness::{self, Redis, Report, Verdict, wait_until};

mod cluster;
mod cluster_keys;
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

/// Plays a scene, again where only the machine may be to blame.
#[track_caller]
fn play(name: &str, scene: impl Fn() -> Verdict) {
    harness::play(name, || (scene(), ()));
}

/// Of a scene that these clients saw: of all answers no more may be slow than one onset may cost.
fn verdict_of(reports: &[&Report]) -> Verdict {
    let mut verdict = Verdict::of(reports);
    let slow: usize = reports.iter().map(|report| report.slower_than(SLOW)).sum();
    verdict.hold_in_time(slow <= SLOW_MAX, format!("{slow} slow answers"));
    verdict
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
