//! The systemd unit: systemd itself finds nothing to complain of, and what older ones do not know of it does not
//! matter (rule 17).

use std::process::Command;

use crate::harness::{Output, file};

/// The unit with this binary in the place of the installed one, which need not be there.
fn unit(folder: &std::path::Path) -> String {
    let unit = std::fs::read_to_string(file("packaging/evenkeel.service")).expect("the unit");
    assert!(unit.contains("ExecStart=/usr/local/bin/evenkeel --config /etc/evenkeel/config.ini\n"));
    let path = folder.join("evenkeel.service");
    let here = unit.replace("/usr/local/bin/evenkeel", env!("CARGO_BIN_EXE_evenkeel"));
    std::fs::write(&path, here).expect("a file of ours");
    path.to_string_lossy().into_owned()
}

fn analyze(arguments: &[&str]) -> Output {
    Output::of(
        Command::new("systemd-analyze")
            .args(arguments)
            .env("SYSTEMD_LOG_LEVEL", "notice"),
    )
}

#[test]
fn systemd_analyze_verify_finds_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = analyze(&["verify", "--man=no", &unit(folder.path())]);
    assert_eq!(
        (output.code, output.err + &output.out),
        (Some(0), String::new())
    );
}

/// 10 is wide open, 0 is closed; the threshold is in tenths.
#[test]
fn systemd_analyze_security_finds_little_exposure() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = analyze(&[
        "security",
        "--no-pager",
        "--offline=true",
        "--threshold=20",
        &unit(folder.path()),
    ]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

/// Keys of `[Unit]`, `[Service]` and `[Install]` that systemd 219 (RHEL 7) knows, as its man pages list them.
const KNOWN_TO_219: [&str; 33] = [
    "Description",
    "Documentation",
    "Wants",
    "After",
    "WantedBy",
    "Type",
    "WatchdogSec",
    "ExecStart",
    "ExecReload",
    "Restart",
    "RestartSec",
    "StartLimitInterval",
    "StartLimitBurst",
    "RestartPreventExitStatus",
    "KillSignal",
    "TimeoutStopSec",
    "LimitNOFILE",
    "LimitCORE",
    "Environment",
    "User",
    "NoNewPrivileges",
    "CapabilityBoundingSet",
    "UMask",
    "ProtectSystem",
    "ProtectHome",
    "PrivateTmp",
    "PrivateDevices",
    "RestrictAddressFamilies",
    "SystemCallArchitectures",
    "SystemCallFilter",
    "SystemCallErrorNumber",
    "ListenStream",
    "Backlog",
];

/// Younger ones, with the first version that has them (its NEWS). Each takes a right away that nothing here uses, or
/// has its stead in what README says of systemd before 235.
const YOUNGER: [(&str, u32); 19] = [
    ("AmbientCapabilities", 229),
    ("MemoryMax", 231),
    ("MemoryDenyWriteExecute", 231),
    ("RestrictRealtime", 231),
    ("DynamicUser", 232),
    ("ProtectControlGroups", 232),
    ("ProtectKernelModules", 232),
    ("ProtectKernelTunables", 232),
    ("RemoveIPC", 232),
    ("RestrictNamespaces", 233),
    ("LockPersonality", 235),
    ("LogsDirectory", 235),
    ("ProtectHostname", 242),
    ("RestrictSUIDSGID", 242),
    ("ProtectKernelLogs", 244),
    ("ProtectClock", 245),
    ("LoadCredential", 247),
    ("ProcSubset", 247),
    ("ProtectProc", 247),
];

/// Key and value of each line, in order.
fn assignments(unit: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(file(unit)).expect("the unit");
    let lines = text.lines().filter(|line| !line.starts_with(['#', '[']));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn values<'a>(unit: &'a [(String, String)], wanted: &str) -> Vec<&'a str> {
    let these = unit.iter().filter(|(key, _)| key == wanted);
    these.map(|(_, value)| value.as_str()).collect()
}

#[test]
fn what_systemd_219_does_not_know_of_the_unit_takes_nothing_but_rights_away() {
    let unit = assignments("packaging/evenkeel.service");
    for (key, value) in &unit {
        let is_younger = YOUNGER.iter().any(|(known, _)| known == key);
        assert!(
            KNOWN_TO_219.contains(&key.as_str()) || is_younger,
            "since which version is there {key}={value}?"
        );
    }
    for (known, _) in YOUNGER {
        assert!(!KNOWN_TO_219.contains(&known), "{known} is in both");
    }
    // strict is a bad value before 232: what stands before it stays.
    assert_eq!(values(&unit, "ProtectSystem"), ["full", "strict"]);
    // Groups of calls are unknown there: a list of what is allowed would forbid everything.
    let filters = values(&unit, "SystemCallFilter");
    assert!(
        filters.iter().all(|filter| filter.starts_with('~')),
        "{filters:?}"
    );
}

#[test]
fn what_no_restart_can_mend_is_not_tried_again_and_everything_else_is() {
    let unit = assignments("packaging/evenkeel.service");
    assert_eq!(values(&unit, "Restart"), ["always"]);
    let prevented = values(&unit, "RestartPreventExitStatus").join(" ");
    let prevented: Vec<_> = prevented.split(' ').collect();
    assert_eq!(prevented, ["64", "78", "203", "216", "217", "243"]);
    // It would be tried again whatever its exit status is.
    assert_eq!(values(&unit, "ExecStartPre"), [""; 0]);
    // A start a second, as after a port that is taken, is below the limit.
    let number = |key| values(&unit, key)[0].parse::<u32>().expect("a number");
    assert!(number("StartLimitBurst") > number("StartLimitInterval") / number("RestartSec") + 1);
}

#[test]
fn the_socket_unit_is_sound_and_known_to_systemd_219() {
    for (key, _) in assignments("packaging/evenkeel.socket") {
        assert!(
            KNOWN_TO_219.contains(&key.as_str()) || key == "Accept",
            "{key}"
        );
    }
    let folder = tempfile::tempdir().expect("a folder");
    unit(folder.path());
    let socket = folder.path().join("evenkeel.socket");
    std::fs::copy(file("packaging/evenkeel.socket"), &socket).expect("a file of ours");
    let output = analyze(&["verify", "--man=no", &socket.to_string_lossy()]);
    assert_eq!((output.code, output.err.as_str()), (Some(0), ""));
}

/// Rule 11: the log is rotated by a signal, not by copytruncate, at which lines are lost.
#[test]
fn logrotate_asks_for_a_new_file_by_a_signal() {
    let rules = std::fs::read_to_string(file("packaging/evenkeel.logrotate")).expect("the file");
    let rules: Vec<_> = rules
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    let rules = rules.join("\n");
    assert!(
        rules.contains("systemctl kill --signal=USR1 evenkeel.service"),
        "{rules}"
    );
    assert!(
        rules.contains("nocreate") && !rules.contains("copytruncate"),
        "{rules}"
    );
}
