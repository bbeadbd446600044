//! The stand-in source of the original article: a wait, then `Data for {key} fetched at {now}`.
//! It exists so that the binary shows what it does on a bare machine; it fails only for the keys that
//! the configuration names.

use std::thread;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::base::clock::{self, Deadline};
use crate::config;

use crate::source::{Fetched, Source, SourceError};

/// `datetime.now()` as Python prints it, but always with its six digits.
const FORMAT: &str = "%Y-%m-%d %H:%M:%S.%6f";

/// `kind = simulated`
#[derive(Debug)]
pub(crate) struct SimulatedSource {
    latency: Duration,
    fail_prefix: String,
    /// Looked up once: where there is no zone at all jiff would search the disk on every call.
    zone: TimeZone,
}

impl SimulatedSource {
    /// The source with the settings of its section, in the machine's time zone: `TZ`, else
    /// `/etc/localtime`, else UTC. A zone changed later takes a restart; summer time does not.
    pub(crate) fn new(config: &config::Simulated) -> Self {
        Self {
            latency: config.latency,
            fail_prefix: config.fail_prefix.clone(),
            zone: TimeZone::try_system().unwrap_or(TimeZone::UTC),
        }
    }

    fn fails_for(&self, key: &str) -> bool {
        !self.fail_prefix.is_empty() && key.starts_with(&self.fail_prefix)
    }

    fn local_time(&self) -> String {
        // A clock set outside the years -9999 to 9999 reads as the epoch: better than no answer.
        let now = Timestamp::try_from(clock::wall()).unwrap_or_default();
        let local = Zoned::new(now, self.zone.clone());
        local.strftime(FORMAT).to_string()
    }
}

impl Source for SimulatedSource {
    /// Takes `latency`, then answers; a deadline before that ends it at the deadline.
    ///
    /// # Errors
    /// [`SourceError::TimedOut`], and [`SourceError::Simulated`] for keys with the fail prefix.
    fn fetch(&self, key: &str, deadline: Deadline) -> Result<Fetched, SourceError> {
        let begun = clock::now();
        let answer = Deadline::after(begun, self.latency);
        wait_until(answer.min(deadline));
        if deadline < answer {
            return Err(SourceError::TimedOut);
        }
        if self.fails_for(key) {
            return Err(SourceError::Simulated);
        }
        let now = self.local_time();
        Ok(Fetched::Value(format!("Data for {key} fetched at {now}")))
    }
}

/// Blocks this thread until `end`, also where other code unparks it meanwhile.
fn wait_until(end: Deadline) {
    loop {
        let left = end.left(clock::now());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(latency: Duration, fail_prefix: &str) -> SimulatedSource {
        SimulatedSource::new(&config::Simulated {
            latency,
            fail_prefix: fail_prefix.to_owned(),
        })
    }

    fn in_ten_seconds() -> Deadline {
        Deadline::after(clock::now(), Duration::from_secs(10))
    }

    #[test]
    fn answers_with_the_key_and_local_time_to_six_digits() {
        let fetched = source(Duration::ZERO, "").fetch("a b/ü", in_ten_seconds());
        let Ok(Fetched::Value(value)) = fetched else {
            panic!("no value: {fetched:?}");
        };
        let time = value.strip_prefix("Data for a b/ü fetched at ").unwrap();
        let shape: String = time
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(shape, "0000-00-00 00:00:00.000000");
    }

    #[test]
    fn follows_the_zone_it_was_given() {
        let mut source = source(Duration::ZERO, "");
        source.zone = TimeZone::fixed(jiff::tz::offset(13));
        let utc = Timestamp::try_from(clock::wall()).unwrap();
        let hour = (utc + jiff::SignedDuration::from_hours(13))
            .strftime("%F %H:")
            .to_string();
        let told = source.local_time();
        // The hour may turn between the two looks at the clock.
        let later = Timestamp::try_from(clock::wall()).unwrap();
        let next = (later + jiff::SignedDuration::from_hours(13))
            .strftime("%F %H:")
            .to_string();
        assert!(told.starts_with(&hour) || told.starts_with(&next), "{told}");
    }

    #[test]
    fn takes_its_latency_and_is_not_hurried_by_an_unpark() {
        let latency = Duration::from_millis(60);
        let source = source(latency, "");
        let begun = clock::now();
        thread::current().unpark();
        assert!(source.fetch("k", in_ten_seconds()).is_ok());
        assert!(clock::now() - begun >= latency);
    }

    #[test]
    fn ends_at_a_deadline_before_its_latency() {
        let source = source(Duration::from_secs(3600), "");
        let begun = clock::now();
        let deadline = Deadline::after(begun, Duration::from_millis(50));
        assert_eq!(source.fetch("k", deadline), Err(SourceError::TimedOut));
        assert!(deadline.passed(clock::now()));
        assert!(clock::now() - begun < Duration::from_secs(5));
    }

    #[test]
    fn fails_for_the_prefix_and_for_none_when_it_is_empty() {
        let failing = source(Duration::ZERO, "bad:");
        assert_eq!(
            failing.fetch("bad:1", in_ten_seconds()),
            Err(SourceError::Simulated)
        );
        assert!(failing.fetch("good:bad:", in_ten_seconds()).is_ok());
        assert!(
            source(Duration::ZERO, "")
                .fetch("", in_ten_seconds())
                .is_ok()
        );
    }

    #[test]
    fn a_failure_takes_as_long_as_an_answer() {
        let latency = Duration::from_millis(40);
        let begun = clock::now();
        let failed = source(latency, "x").fetch("x", in_ten_seconds());
        assert_eq!(failed, Err(SourceError::Simulated));
        assert!(clock::now() - begun >= latency);
    }
}
