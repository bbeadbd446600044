//! Redis as people run it: Sentinels that name the master, a cluster. Real processes under load; what
//! happens to them is no client's business.

use std::time::{Duration, Instant};

use crate::harness::{Redis, Report, wait_until};

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

/// Every answer was right, and no more of them all were slow than one onset may cost.
#[track_caller]
fn assert_unharmed(reports: &[&Report], log: &str) {
    reports.iter().for_each(|report| report.assert_sound());
    let slow: usize = reports.iter().map(|report| report.slower_than(SLOW)).sum();
    assert!(slow <= SLOW_MAX, "{slow} slow answers: {log}");
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
