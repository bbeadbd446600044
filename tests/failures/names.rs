//! Names that resolve as a test wants them to, for the app alone: a small library that is loaded before
//! the C library answers for one host.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::harness::{Config, file};

/// The host of which the test says where it is.
pub const HOST: &str = "redis.test";

/// What the app is told of [`HOST`].
pub struct Names {
    folder: TempDir,
}

impl Names {
    /// It is at `answer`.
    pub fn new(answer: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for names");
        let names = Self { folder };
        names.say(answer);
        names
    }

    /// From now on: an address, one after some milliseconds (`3000 127.0.0.1`), or `none`.
    pub fn say(&self, answer: &str) {
        // Renamed into place: nobody reads half of it.
        let new = self.folder.path().join("new");
        std::fs::write(&new, answer).expect("a file of ours");
        std::fs::rename(new, self.file()).expect("a file of ours");
    }

    /// `config`, for an app that asks here.
    pub fn of(&self, config: Config) -> Config {
        config
            .environment("LD_PRELOAD", &library().to_string_lossy())
            .environment("NAMES", &self.file().to_string_lossy())
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("names")
    }
}

/// Built once, by the compiler driver that links Rust programs too.
fn library() -> PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("names.so");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &file("tests/failures/names.c")])
            .arg("-ldl")
            .status();
        assert!(built.expect("cc is installed").success());
        library
    };
    LIBRARY.get_or_init(build).clone()
}
