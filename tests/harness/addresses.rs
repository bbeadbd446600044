//! A name that leads to several addresses, or to others than before, for the app alone (`addresses.c`).

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use super::{Config, file};

/// The host of which the test says where it is.
pub const PODS: &str = "pods.test";

/// What the app is told of [`PODS`].
pub struct Addresses {
    folder: TempDir,
}

impl Addresses {
    /// It is at these addresses, the first of them first; separated by spaces.
    pub fn new(addresses: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for names");
        let names = Self { folder };
        names.say(addresses);
        names
    }

    /// From now on.
    pub fn say(&self, addresses: &str) {
        // Renamed into place: nobody reads half of it.
        let new = self.folder.path().join("new");
        std::fs::write(&new, addresses).expect("a file of ours");
        std::fs::rename(new, self.file()).expect("a file of ours");
    }

    /// `config`, for an app that asks here.
    pub fn of(&self, config: Config) -> Config {
        static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
        let library = LIBRARY.get_or_init(|| build("addresses"));
        config
            .environment("LD_PRELOAD", &library.to_string_lossy())
            .environment("ADDRESSES", &self.file().to_string_lossy())
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("addresses")
    }
}

/// A small library of the harness, by the compiler driver that links Rust programs too.
pub fn build(name: &str) -> PathBuf {
    let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.so"));
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &file(&format!("tests/harness/{name}.c"))])
        .arg("-ldl")
        .status();
    assert!(built.expect("cc is installed").success());
    library
}
