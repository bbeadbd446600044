//! Where log lines end up: stderr, with the priority before the line when that is the journal, or a file that
//! can be opened again after it was moved away. A line is written whole, with one call.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::fs::{Access, OFlags, access, fstat};
use socket2::SockRef;

use crate::base::clock;

/// Where the journal listens for streams. systemd before 231 does not set `JOURNAL_STREAM`.
const JOURNAL: &str = "/run/systemd/journal/stdout";

/// What the `log` crate hands every line to.
pub(super) struct Logger {
    level: LevelFilter,
    pub(super) sink: Sink,
}

pub(super) enum Sink {
    Stderr { is_journal: bool },
    File(LogFile),
}

impl Logger {
    pub(super) fn new(level: LevelFilter, sink: Sink) -> Self {
        Self { level, sink }
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level && metadata.target().starts_with("evenkeel")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (time, level) = (clock::rfc3339(clock::wall()), record.level());
        let line = format!("{time} [{level:<5}] {}\n", record.args());
        // There is nowhere else to say that it cannot be written.
        let _ = match &self.sink {
            Sink::Stderr { is_journal } => write_to_stderr(*is_journal, level, &line),
            Sink::File(file) => file.write(&line),
        };
    }

    /// Nothing is kept back.
    fn flush(&self) {}
}

/// Writes `text` to stderr; each of its lines has a priority if that is the journal (sd-daemon(3)).
pub(super) fn write_to_stderr(is_journal: bool, level: Level, text: &str) -> io::Result<()> {
    match is_journal {
        true => {
            let priority = priority(level);
            let lines = text.split_inclusive('\n');
            let lines: String = lines.map(|line| format!("<{priority}>{line}")).collect();
            io::stderr().write_all(lines.as_bytes())
        }
        false => io::stderr().write_all(text.as_bytes()),
    }
}

/// As syslog(3) counts.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Whether what is written to stderr goes to the journal, and not, say, through a pipe into a file
/// (systemd.exec(5), `$JOURNAL_STREAM`).
pub(super) fn stderr_is_the_journal() -> bool {
    let stderr = io::stderr();
    match std::env::var("JOURNAL_STREAM") {
        Ok(stream) => {
            fstat(&stderr).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
        }
        Err(_) => SockRef::from(&stderr)
            .peer_addr()
            .is_ok_and(|peer| peer.as_pathname() == Some(Path::new(JOURNAL))),
    }
}

/// A file that is appended to.
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    /// Guards the file that is written to.
    file: Mutex<File>,
}

impl LogFile {
    /// Opens it, and makes it and its folder where they are not there.
    ///
    /// # Errors
    /// What stands in the way, in words.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let file = match open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make_folder(path).and_then(|()| open(path).map_err(|error| why(&error)))?
            }
            file => file.map_err(|error| why(&error))?,
        };
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(file),
        })
    }

    /// Goes on in a file of this path, after the one it had was moved away.
    ///
    /// # Errors
    /// What stands in the way, in words; the file that it had is kept.
    pub(super) fn reopen(&self) -> Result<(), String> {
        let Self { file: new, .. } = Self::open(&self.path)?;
        let new = new.into_inner().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *self.lock(), new);
        drop(old);
        Ok(())
    }

    fn write(&self, line: &str) -> io::Result<()> {
        self.lock().write_all(line.as_bytes())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a log file of this path could be opened now, as far as can be told without making anything.
///
/// # Errors
/// What stands in the way, in words.
pub(super) fn could_open(path: &Path) -> Result<(), String> {
    if let Err(error) = OpenOptions::new()
        .append(true)
        .custom_flags(NO_WAIT)
        .open(path)
    {
        let missing = error.kind() == ErrorKind::NotFound;
        let folder = path
            .ancestors()
            .skip(1)
            .find(|folder| on_disk(folder).is_dir());
        return match folder.filter(|_| missing) {
            Some(folder) => access(on_disk(folder), Access::WRITE_OK | Access::EXEC_OK)
                .map_err(|error| why(&error.into())),
            None => Err(why(&error)),
        };
    }
    Ok(())
}

/// The folder of a bare name is the one we are in.
fn on_disk(folder: &Path) -> &Path {
    match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    }
}

/// A pipe that nobody reads is refused, not waited for.
const NO_WAIT: i32 = OFlags::NONBLOCK.bits() as i32;

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .create(true)
        .append(true)
        .custom_flags(NO_WAIT)
        .open(path)
}

fn make_folder(path: &Path) -> Result<(), String> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(on_disk(folder)).map_err(|error| {
        format!(
            "its folder {} is not there and cannot be made: {error}{}",
            folder.display(),
            remedy(&error)
        )
    })
}

fn why(error: &io::Error) -> String {
    format!("{error}{}", remedy(error))
}

/// What an administrator can do, where the cause is known.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem => {
            "; the systemd unit lets it write in /var/log/evenkeel alone (LogsDirectory=, ReadWritePaths=)"
        }
        ErrorKind::PermissionDenied => {
            "; the user that the service runs as has to be able to write it, and in its folder"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_gone_on_with_under_its_name_after_it_was_moved() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (
            folder.path().join("made/here/log"),
            folder.path().join("old"),
        );
        let file = LogFile::open(&path).unwrap();
        file.write("one\n").unwrap();
        std::fs::rename(&path, &old).unwrap();
        file.write("two\n").unwrap();
        file.reopen().unwrap();
        file.write("three\n").unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn what_could_not_be_opened_is_found_without_making_anything() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert_eq!(could_open(&at("log")), Ok(()));
        assert_eq!(
            could_open(&at("no/such/folder/log")),
            Ok(()),
            "they can be made"
        );
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
        std::fs::write(at("file"), "kept").unwrap();
        assert_eq!(could_open(&at("file")), Ok(()));
        assert!(
            could_open(&at("file/log"))
                .unwrap_err()
                .starts_with("Not a directory")
        );
        assert!(
            could_open(folder.path())
                .unwrap_err()
                .starts_with("Is a directory")
        );
        assert_eq!(std::fs::read_to_string(at("file")).unwrap(), "kept");
    }

    #[test]
    fn a_level_is_a_priority_of_syslog() {
        let levels = [
            Level::Error,
            Level::Warn,
            Level::Info,
            Level::Debug,
            Level::Trace,
        ];
        assert_eq!(levels.map(priority), [3, 4, 6, 7, 7]);
    }
}
