//! Where log lines go, and how often the same thing may be said.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, LineWriter};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use simplelog::{ConfigBuilder, LevelPadding, WriteLogger};
use time::format_description::StaticFormatDescription;
use time::macros::format_description;

use crate::config;

/// UTC, to the millisecond.
const TIME: StaticFormatDescription =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
/// For how long a fault that was logged is counted instead of logged again. The pause doubles as long as
/// the fault goes on, up to [`QUIET_MAX`], and starts over once the fault has been absent for a pause.
const QUIET: Duration = Duration::from_secs(10);
/// The longest pause: a fault that lasts for hours is logged this often.
const QUIET_MAX: Duration = Duration::from_secs(300);

/// Sends every log line to stderr, or appends it to the configured file.
///
/// # Errors
/// When the file cannot be opened for appending.
pub fn start(settings: &config::Log) -> io::Result<()> {
    let config = ConfigBuilder::new()
        .set_time_format_custom(TIME)
        .set_level_padding(LevelPadding::Right)
        .set_thread_level(log::LevelFilter::Off)
        .set_target_level(log::LevelFilter::Off)
        .set_location_level(log::LevelFilter::Off)
        .add_filter_allow_str("evenkeel")
        .build();
    // LineWriter: the logger itself would write a line in pieces.
    let started = match &settings.file {
        None => WriteLogger::init(settings.level, config, LineWriter::new(io::stderr())),
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            WriteLogger::init(settings.level, config, LineWriter::new(file))
        }
    };
    // It fails only where there is a logger already: the tests of this crate share one.
    drop(started);
    Ok(())
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
    word: &'static str,
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
    /// Counts a fault of the kind `word`. If it is to be logged now, returns what to put after the line.
    pub(crate) fn say(&self, word: &'static str, now: Instant) -> Option<More> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = said.iter_mut().find(|known| known.word == word) else {
            let (at, quiet, count) = (now, QUIET, 0);
            said.push(Said {
                word,
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
