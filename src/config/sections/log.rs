//! `[log]`: how much the process says of itself, and where.

use std::path::{Path, PathBuf};

use log::LevelFilter;

use crate::config::declare::settings;
use crate::config::section::Kind;
use crate::config::values::file::FILE_PATH;
use crate::config::values::text::Choice;

pub(crate) static LOG: Kind = Kind::one("log", &[Log::SETTINGS]);

/// The levels of the `log` crate under their own names.
const LEVELS: Choice<LevelFilter> = Choice(&[
    ("off", LevelFilter::Off),
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
    ("trace", LevelFilter::Trace),
]);

settings! {
    /// `[log]`
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Log {
        /// Most detailed level that is written.
        pub level: LevelFilter = "info", LEVELS;
        /// File that is appended to; empty: stderr, which systemd puts into the journal.
        pub file: Option<PathBuf> = "", FILE_PATH;
    }
}

impl Log {
    /// With a relative path taken from `folder`.
    pub(crate) fn in_folder(self, folder: &Path) -> Self {
        Self {
            file: self.file.map(|file| folder.join(file)),
            ..self
        }
    }
}
