//! Time that passes while nobody runs: a machine that sleeps, as the app's clocks tell it (`asleep.c`), and an
//! app that is stopped.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::NamedTempFile;

use super::addresses::build;
use super::{App, Config};

/// How long the machine was asleep in all, as an app sees it.
pub struct Asleep {
    file: NamedTempFile,
}

impl Asleep {
    /// Not at all yet.
    pub fn new() -> Self {
        let file = NamedTempFile::new().expect("a file of ours");
        let asleep = Self { file };
        asleep.put(0, 0);
        asleep.put(1, 0);
        asleep
    }

    /// As when a machine was suspended for so long: both clocks have gone on.
    pub fn suspended_for(&self, span: Duration) {
        self.put(0, millis(span));
        self.put(1, millis(span));
    }

    /// As under a hypervisor that stops CLOCK_BOOTTIME too.
    pub fn paused_for(&self, span: Duration) {
        self.put(1, millis(span));
    }

    /// Somebody has set the wall clock back.
    pub fn wall_clock_set_back_by(&self, span: Duration) {
        self.put(1, -millis(span));
    }

    /// `config`, for an app on this machine.
    pub fn of(&self, config: Config) -> Config {
        static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
        let library = LIBRARY.get_or_init(|| build("asleep"));
        config
            .environment("LD_PRELOAD", &library.to_string_lossy())
            .environment("ASLEEP", &self.file.path().to_string_lossy())
    }

    fn put(&self, place: u64, ms: i64) {
        let file: &File = self.file.as_file();
        let written = file.write_all_at(&ms.to_ne_bytes(), place * 8);
        written.expect("a file of ours");
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).expect("not that long")
}

impl App {
    /// It does not run, as after `kill -STOP`.
    pub fn stop_running(&self) {
        self.send("STOP");
    }

    /// It goes on where it was stopped.
    pub fn go_on(&self) {
        self.send("CONT");
    }

    fn send(&self, signal: &str) {
        let folder = self.proc("");
        let id = folder.iter().nth(2).expect("its number");
        let mut kill = Command::new("kill");
        let sent = kill.arg(format!("-{signal}")).arg(id);
        assert!(sent.status().expect("kill is there").success());
    }
}
