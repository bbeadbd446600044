//! Whole numbers and sizes in bytes.

use std::fmt::Display;
use std::str::FromStr;

use crate::config::setting::{Rule, ensure};

/// A whole number from the first to the second, both included.
pub(crate) struct Count<N>(pub(crate) N, pub(crate) N);

impl<N: FromStr + PartialOrd + Display> Rule for Count<N> {
    type Value = N;

    fn parse(&self, text: &str) -> Result<N, String> {
        ensure(!text.is_empty(), "is empty")?;
        let is_whole = text.bytes().all(|b| b.is_ascii_digit());
        ensure(is_whole, "is not a whole number")?;
        // Only digits, so that what fails here is too large for the type.
        let count = text.parse::<N>().map_err(|_| "is too large")?;
        ensure(count >= self.0, "is too small")?;
        ensure(count <= self.1, "is too large")?;
        Ok(count)
    }

    fn allowed(&self) -> String {
        format!("{} to {}", self.0, self.1)
    }
}

/// Bytes from the first to the second, both included.
pub(crate) struct Size(pub(crate) u64, pub(crate) u64);

impl Rule for Size {
    type Value = u64;

    fn parse(&self, text: &str) -> Result<u64, String> {
        let size = bytes(text)?;
        ensure(size >= self.0, "is too small")?;
        ensure(size <= self.1, "is too large")?;
        Ok(size)
    }

    fn allowed(&self) -> String {
        format!("{} to {}", size_written(self.0), size_written(self.1))
    }
}

/// A [`Size`] as memory counts it.
pub(crate) struct InMemory(pub(crate) Size);

impl Rule for InMemory {
    type Value = usize;

    fn parse(&self, text: &str) -> Result<usize, String> {
        let size = usize::try_from(self.0.parse(text)?);
        size.map_err(|_| "is too large".to_owned())
    }

    fn allowed(&self) -> String {
        self.0.allowed()
    }
}

/// Bytes of a KiB.
pub(crate) const KIB: u64 = 1 << 10;
/// Bytes of a MiB.
pub(crate) const MIB: u64 = 1 << 20;
/// Bytes of a GiB.
pub(crate) const GIB: u64 = 1 << 30;

/// Units of sizes, largest first, and what people write instead.
const SIZE_UNITS: [(&str, u64, &str); 4] = [
    ("GiB", GIB, "g gb gi gib"),
    ("MiB", MIB, "m mb mi mib"),
    ("KiB", KIB, "k kb ki kib"),
    ("B", 1, "b byte bytes"),
];

/// Reads one whole number and one unit; without a unit it is bytes.
fn bytes(text: &str) -> Result<u64, String> {
    ensure(!text.is_empty(), "is empty")?;
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.trim_start();
    let why = "is not a size: write a whole number and a unit, as in 64MiB";
    ensure(!number.is_empty() && !unit.starts_with('.'), why)?;
    let length = match SIZE_UNITS.iter().find(|(name, ..)| *name == unit) {
        Some((_, length, _)) => *length,
        None if unit.is_empty() => 1,
        None => return Err(unknown_size_unit(number, unit)),
    };
    let count = number.parse::<u64>().ok();
    let size = count.and_then(|count| count.checked_mul(length));
    size.ok_or_else(|| "is too large".to_owned())
}

/// What to say of a unit that is none: mostly it is the decimal sister of one of ours.
fn unknown_size_unit(number: &str, unit: &str) -> String {
    let plain = unit.to_ascii_lowercase();
    let is_meant = |words: &str| words.split(' ').any(|word| word == plain);
    let advice = match SIZE_UNITS.iter().find(|(_, _, words)| is_meant(words)) {
        Some((meant, ..)) => format!("write {number}{meant}"),
        None => "units are B, KiB, MiB and GiB".to_owned(),
    };
    format!("has an unknown unit: {advice}")
}

/// The size in the largest unit that leaves no rest.
fn size_written(size: u64) -> String {
    let fits = |length: u64| size >= length && size.is_multiple_of(length);
    let unit = SIZE_UNITS.iter().find(|(_, length, _)| fits(*length));
    let (unit, length, _) = unit.unwrap_or(&("B", 1, ""));
    format!("{}{unit}", size / length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_are_whole_numbers_within_bounds() {
        let count = Count(1_usize, 1024);
        assert_eq!(count.parse("32"), Ok(32));
        for (text, reason) in [
            ("", "is empty"),
            ("-1", "is not a whole number"),
            ("+1", "is not a whole number"),
            ("1.5", "is not a whole number"),
            ("0", "is too small"),
            ("1025", "is too large"),
            ("99999999999999999999999", "is too large"),
        ] {
            assert_eq!(count.parse(text), Err(reason.to_owned()), "{text}");
        }
        assert_eq!(count.allowed(), "1 to 1024");
    }

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        let size = Size(1, GIB);
        let expected = [
            ("4096", 4096),
            ("1B", 1),
            ("16KiB", 16 * KIB),
            ("64 MiB", 64 * MIB),
        ];
        for (text, bytes) in expected {
            assert_eq!(size.parse(text), Ok(bytes), "{text}");
        }
        assert_eq!(size.allowed(), "1B to 1GiB");
    }

    #[test]
    fn decimal_units_are_told_the_binary_one() {
        let size = Size(1, GIB);
        for (text, reason) in [
            ("64MB", "write 64MiB"),
            ("64kb", "write 64KiB"),
            ("1g", "write 1GiB"),
            ("1.5MiB", "whole number"),
            ("MiB", "is not a size"),
            ("5XB", "units are B"),
            ("2GiB", "is too large"),
            ("99999999999999GiB", "is too large"),
            ("", "is empty"),
        ] {
            let why = size.parse(text).unwrap_err();
            assert!(why.contains(reason), "{text}: {why}");
        }
    }

    proptest! {
        #[test]
        fn sizes_are_read_back_as_written(size: u64) {
            prop_assert_eq!(bytes(&size_written(size)), Ok(size));
        }

        #[test]
        fn no_text_makes_a_size_panic(text in "[0-9]{0,30}\\PC{0,5}") {
            let _ = Size(1, GIB).parse(&text);
        }
    }
}
