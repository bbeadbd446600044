//! Where log lines go, and how often the same thing may be said.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, error, info};

use crate::config;
use crate::observe::log_sink::{self, LogFile, Logger, Sink};

/// Of this process, once there is one.
static LOGGER: OnceLock<Logger> = OnceLock::new();

/// For how long a fault that was logged is counted instead of logged again. The pause doubles as long as
/// the fault goes on, up to [`QUIET_MAX`], and starts over once the fault has been absent for a pause.
const QUIET: Duration = Duration::from_secs(10);
/// Kinds of faults that one throttle tells apart.
const KINDS_MAX: usize = 32;
/// The longest pause: a fault that lasts for hours is logged this often.
const QUIET_MAX: Duration = Duration::from_secs(300);

/// Sends every log line to stderr, or appends it to the configured file.
///
/// # Errors
/// When the file cannot be opened for appending, in words.
pub fn start(settings: &config::Log) -> Result<(), String> {
    let sink = match &settings.file {
        None => Sink::Stderr {
            is_journal: log_sink::stderr_is_the_journal(),
        },
        Some(path) => Sink::File(LogFile::open(path)?),
    };
    let logger = LOGGER.get_or_init(|| Logger::new(settings.level, sink));
    // Only a logger that is there already could refuse: the tests of this crate share one.
    if log::set_logger(logger).is_ok() {
        log::set_max_level(settings.level);
    }
    Ok(())
}

/// Whether [`start`] could begin, as far as can be told without making anything.
///
/// # Errors
/// What it would say.
pub fn could_start(settings: &config::Log) -> Result<(), String> {
    let file = settings.file.as_deref();
    file.map_or(Ok(()), log_sink::could_open)
}

/// Opens the log file again, as logrotate asks for after it has moved it away, and says so in one line with
/// `also` at its end. One that cannot be opened is said here and on stderr, and the old one is kept.
pub fn reopen(signal: &str, also: &str) {
    let Some(Logger { sink, .. }) = LOGGER.get() else {
        return;
    };
    let Sink::File(file) = sink else {
        return info!("{signal}: the log goes to stderr, no file is opened again{also}");
    };
    let path = file.path.display();
    match file.reopen() {
        Ok(()) => info!("{signal}: log file {path} is opened again{also}"),
        Err(why) => {
            let text = format!(
                "{signal}: log file {path} cannot be opened again: {why}; the old one is kept{also}"
            );
            error!("{text}");
            to_stderr(Level::Error, &format!("evenkeel: {text}\n"));
        }
    }
}

/// What there is no log for. Each line has its priority if stderr is the journal.
pub fn to_stderr(level: Level, text: &str) {
    // There is nowhere else to say it.
    let _ = log_sink::write_to_stderr(log_sink::stderr_is_the_journal(), level, text);
}

/// From now on a panic is one log line, not several on stderr.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("no message").escape_debug();
        match panic.location() {
            Some(location) => log::error!("panic at {location}: {text}"),
            None => log::error!("panic: {text}"),
        }
    }));
}

/// Decides whether a fault is logged. Repeated faults are counted, not repeated: a fault is logged once,
/// and then ever more seldom, with the number of times it happened meanwhile.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle {
    /// Guards one entry for each kind of fault.
    said: Mutex<Vec<Said>>,
}

#[derive(Debug)]
struct Said {
    word: Box<str>,
    at: Instant,
    quiet: Duration,
    /// How often it has happened since.
    count: u64,
}

/// How often a fault happened that was not logged; it is put at the end of the next line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct More {
    count: u64,
    within: Duration,
}

impl fmt::Display for More {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            0 => Ok(()),
            count => write!(f, " (and {count} more within {} s)", self.within.as_secs()),
        }
    }
}

impl LogThrottle {
    /// Counts a fault of the kind `word`. If it is to be logged now, returns what to put after the line. Kinds
    /// beyond the first [`KINDS_MAX`] count as one, so that nobody's inventions fill the log.
    pub(crate) fn say(&self, word: &str, now: Instant) -> Option<More> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = said.len() < KINDS_MAX || said.iter().any(|known| &*known.word == word);
        let word = if is_known { word } else { "others" };
        let Some(known) = said.iter_mut().find(|known| &*known.word == word) else {
            let (at, quiet, count) = (now, QUIET, 0);
            said.push(Said {
                word: word.into(),
                at,
                quiet,
                count,
            });
            let within = Duration::ZERO;
            return Some(More { count, within });
        };
        let within = now.saturating_duration_since(known.at);
        if within < known.quiet {
            known.count += 1;
            return None;
        }
        known.quiet = match within < known.quiet * 2 {
            true => (known.quiet * 2).min(QUIET_MAX),
            false => QUIET,
        };
        known.at = now;
        let count = std::mem::take(&mut known.count);
        Some(More { count, within })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    #[test]
    fn repeated_faults_are_counted_and_not_repeated() {
        let now = clock::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let throttle = LogThrottle::default();
        let said = |word, seconds| throttle.say(word, at(seconds)).map(|more| more.to_string());
        assert_eq!(said("a", 0).as_deref(), Some(""));
        assert_eq!(said("b", 0).as_deref(), Some(""));
        assert_eq!((said("a", 1), said("a", 2)), (None, None));
        assert_eq!(said("a", 10).as_deref(), Some(" (and 2 more within 10 s)"));
    }

    #[test]
    fn a_fault_that_goes_on_is_said_ever_more_seldom_until_it_stops() {
        let now = clock::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let throttle = LogThrottle::default();
        let said = |from: u64, to: u64| {
            let seconds = (from..to).filter(|&second| throttle.say("a", at(second)).is_some());
            seconds.map(|second| second - from).collect::<Vec<_>>()
        };
        assert_eq!(said(0, 1000), [0, 10, 30, 70, 150, 310, 610, 910]);
        assert_eq!(said(2000, 2040), [0, 10, 30], "as at first");
    }
}
