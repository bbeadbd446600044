//! Durations as people write them: one number and one unit, as in `500ms`, `1.5s` or `24h`.
//! The finest step is a millisecond. A number without a unit is refused: nobody should have to
//! guess at night whether 500 meant milliseconds.

use std::time::Duration;

use crate::config::setting::{Rule, ensure};
use crate::config::wording::quoted;

/// Units, their milliseconds, and what people write instead.
const UNITS: [(&str, u64, &str); 5] = [
    ("ms", 1, "ms msec msecs millis milliseconds"),
    ("s", 1_000, "s sec secs second seconds"),
    ("m", 60_000, "m min mins minute minutes"),
    ("h", 3_600_000, "h hr hrs hour hours"),
    ("d", 86_400_000, "d day days"),
];

/// A duration within bounds, both included.
pub(crate) struct DurationRule {
    min: Duration,
    max: Duration,
    /// Whether 0 is allowed although it is below `min`.
    or_zero: bool,
    whole_seconds: bool,
}

impl DurationRule {
    pub(crate) const fn between(min: Duration, max: Duration) -> Self {
        let (or_zero, whole_seconds) = (false, false);
        Self {
            min,
            max,
            or_zero,
            whole_seconds,
        }
    }

    /// Allows 0 too.
    pub(crate) const fn or_zero(self) -> Self {
        Self {
            or_zero: true,
            ..self
        }
    }

    /// Allows whole seconds only.
    pub(crate) const fn in_seconds(self) -> Self {
        Self {
            whole_seconds: true,
            ..self
        }
    }
}

/// So many milliseconds.
pub(crate) const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// So many seconds.
pub(crate) const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// So many hours.
pub(crate) const fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3_600)
}

impl Rule for DurationRule {
    type Value = Duration;

    fn parse(&self, text: &str) -> Result<Duration, String> {
        let may_be_zero = self.or_zero || self.min.is_zero();
        if !text.is_empty() && text.bytes().all(|b| b == b'0') {
            ensure(may_be_zero, "must not be zero")?;
            return Ok(Duration::ZERO);
        }
        let duration = duration(text)?;
        if duration.is_zero() && may_be_zero {
            return Ok(duration);
        }
        ensure(duration >= self.min, "is too short")?;
        ensure(duration <= self.max, "is too long")?;
        let is_whole = duration.subsec_nanos() == 0;
        ensure(is_whole || !self.whole_seconds, "must be whole seconds")?;
        Ok(duration)
    }

    fn allowed(&self) -> String {
        let or_zero = if self.or_zero { "0, or " } else { "" };
        let (min, max) = match self.min.is_zero() {
            true => ("0".to_owned(), written(self.max)),
            false => (written(self.min), written(self.max)),
        };
        let steps = if self.whole_seconds {
            " in whole seconds"
        } else {
            ""
        };
        format!("{or_zero}{min} to {max}{steps}")
    }
}

/// Reads one number, with up to three decimals, and one unit.
fn duration(text: &str) -> Result<Duration, String> {
    ensure(!text.is_empty(), "is empty")?;
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.trim_start();
    let thousandths = thousandths(number)?;
    let why = format!("needs a unit: write {number}ms or {number}s");
    ensure(!unit.is_empty(), why)?;
    let known = UNITS.iter().find(|(name, ..)| *name == unit);
    let (_, length, _) = known.ok_or_else(|| unknown_unit(unit))?;
    let product = thousandths.checked_mul(*length).ok_or("is too long")?;
    ensure(product.is_multiple_of(1_000), "is finer than 1ms")?;
    Ok(Duration::from_millis(product / 1_000))
}

/// A decimal number in thousandths.
fn thousandths(number: &str) -> Result<u64, String> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let are_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let why = "is not a duration: write a number and a unit, as in 500ms";
    ensure(are_digits(whole) && are_digits(decimals), why)?;
    ensure(decimals.len() <= 3, "has more than three decimals")?;
    let value = format!("{whole}{decimals:0<3}").parse();
    value.map_err(|_| "is too long".to_owned())
}

/// What to say of a unit that is none: mostly it is one of ours in other words.
fn unknown_unit(unit: &str) -> String {
    if unit.bytes().any(|b| b.is_ascii_digit()) {
        return "must be one number and one unit, as in 90s".to_owned();
    }
    let plain = unit.to_ascii_lowercase();
    let is_meant = |words: &str| words.split(' ').any(|word| word == plain);
    let meant = UNITS.iter().find(|(_, _, words)| is_meant(words));
    let meant = meant.map(|(name, ..)| format!("; did you mean {name}?"));
    let meant = meant.unwrap_or_default();
    let unit = quoted(unit);
    format!("has the unknown unit {unit}, units are ms, s, m, h and d{meant}")
}

/// The duration as one would write it, in the unit that reads best; parts of a millisecond are
/// left out.
pub(crate) fn written(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    if millis != 0 {
        if seconds == 0 {
            return format!("{millis}ms");
        }
        let decimals = format!("{millis:03}");
        return format!("{seconds}.{}s", decimals.trim_end_matches('0'));
    }
    // A unit is used from where it reads better than the smaller one: 60s, 24h, but 10m, 365d.
    for (unit, length, from) in [("d", 86_400, 172_800), ("h", 3_600, 3_600), ("m", 60, 120)] {
        if seconds >= from && seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULE: DurationRule = DurationRule::between(ms(1), secs(60));

    #[test]
    fn every_unit_is_read() {
        for (text, expected) in [
            ("500ms", ms(500)),
            ("1.5s", ms(1_500)),
            ("0.25m", secs(15)),
            ("2 m", secs(120)),
            ("24h", hours(24)),
            ("365d", hours(365 * 24)),
        ] {
            assert_eq!(duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_number_without_a_unit_is_told_what_to_write() {
        assert_eq!(
            RULE.parse("500"),
            Err("needs a unit: write 500ms or 500s".to_owned())
        );
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "is empty"),
            ("soon", "is not a duration"),
            ("-5s", "is not a duration"),
            ("1.2.3s", "is not a duration"),
            (".5s", "is not a duration"),
            ("5sec", "did you mean s?"),
            ("5MS", "did you mean ms?"),
            ("5\u{fc}", "unknown unit"),
            ("1m30s", "one number and one unit"),
            ("0.5ms", "finer than 1ms"),
            ("0.0001s", "three decimals"),
            ("99999999999999999999s", "is too long"),
            ("18446744073709551615d", "is too long"),
            ("61s", "is too long"),
            ("0", "must not be zero"),
            ("0s", "is too short"),
        ] {
            let why = RULE.parse(text).unwrap_err();
            assert!(why.contains(reason), "{text}: {why}");
        }
    }

    #[test]
    fn both_bounds_are_allowed() {
        assert_eq!(RULE.parse("1ms"), Ok(ms(1)));
        assert_eq!(RULE.parse("1m"), Ok(secs(60)));
    }

    #[test]
    fn zero_and_whole_seconds_are_part_of_what_is_allowed() {
        let interval = DurationRule::between(ms(10), secs(60)).or_zero();
        assert_eq!(interval.parse("0"), Ok(Duration::ZERO));
        assert_eq!(interval.parse("0ms"), Ok(Duration::ZERO));
        assert_eq!(interval.parse("9ms"), Err("is too short".to_owned()));
        assert_eq!(interval.allowed(), "0, or 10ms to 60s");
        let latency = DurationRule::between(ms(0), secs(1));
        assert_eq!(latency.parse("0"), Ok(Duration::ZERO));
        assert_eq!(latency.allowed(), "0 to 1s");
        let ttl = DurationRule::between(secs(1), hours(48)).in_seconds();
        assert_eq!(ttl.parse("1.5s"), Err("must be whole seconds".to_owned()));
        assert_eq!(ttl.allowed(), "1s to 2d in whole seconds");
    }

    #[test]
    fn durations_are_written_in_the_unit_that_reads_best() {
        let durations = [
            ms(1),
            ms(1_500),
            secs(60),
            secs(90),
            secs(600),
            hours(1),
            hours(24),
        ];
        let written: Vec<String> = durations.into_iter().map(written).collect();
        assert_eq!(written, ["1ms", "1.5s", "60s", "90s", "10m", "1h", "24h"]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(millis in 0_u64..1_000_000_000_000) {
            prop_assert_eq!(duration(&written(ms(millis))), Ok(ms(millis)));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9.]{0,30}\\PC{0,5}") {
            let _ = RULE.parse(&text);
        }
    }
}
