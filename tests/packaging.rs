//! The systemd unit: systemd itself finds nothing to complain of.

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
