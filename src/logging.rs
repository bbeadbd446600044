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
/// How long a thing that was said is not said again, but counted.
const QUIET: Duration = Duration::from_secs(10);

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
    // A line is written whole: the logger itself would write it in pieces.
    let started = match &settings.file {
        None => WriteLogger::init(settings.level, config, LineWriter::new(io::stderr())),
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            WriteLogger::init(settings.level, config, LineWriter::new(file))
        }
    };
    // Only a logger that is there already could refuse: the tests of this crate share one.
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

/// Repeated faults are counted, not repeated: says a thing once, and then at most every ten seconds
/// with the number of times it happened meanwhile.
#[derive(Debug, Default)]
pub struct Seldom {
    /// Guards when each kind of thing was last said, and how often it happened since.
    said: Mutex<Vec<(&'static str, Instant, u64)>>,
}

/// What is put behind a line that stands for several.
#[derive(Debug, PartialEq, Eq)]
pub struct More(u64);

impl fmt::Display for More {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " (and {count} more in the last seconds)"),
        }
    }
}

impl Seldom {
    /// Whether a thing of kind `word` is to be said now, and how many times it was not.
    pub fn say(&self, word: &'static str, now: Instant) -> Option<More> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, at, count)) = said.iter_mut().find(|(known, ..)| *known == word) else {
            said.push((word, now, 0));
            return Some(More(0));
        };
        if now.saturating_duration_since(*at) < QUIET {
            *count += 1;
            return None;
        }
        *at = now;
        Some(More(std::mem::take(count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn repeated_faults_are_counted_and_not_repeated() {
        let now = clock::now();
        let seldom = Seldom::default();
        assert_eq!(seldom.say("a", now), Some(More(0)));
        assert_eq!(seldom.say("b", now), Some(More(0)));
        assert_eq!(seldom.say("a", now + Duration::from_secs(1)), None);
        assert_eq!(seldom.say("a", now + Duration::from_secs(2)), None);
        let later = seldom.say("a", now + QUIET).expect("said again");
        assert_eq!(later.to_string(), " (and 2 more in the last seconds)");
    }
}
