//! The simple kinds of values: whole numbers, sizes in bytes, words of a list, texts and paths.
//! Each knows its bounds, and says them in every mistake.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use crate::config::Fraction;
use crate::config::setting::Rule;
use crate::config::wording::{either, nearest};

/// A whole number from the first to the second, both included.
pub(super) struct Count<N>(pub(super) N, pub(super) N);

impl<N: FromStr + PartialOrd + Display + Sync> Rule for Count<N> {
    type Value = N;

    fn parse(&self, text: &str) -> Result<N, String> {
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err("is not a whole number".to_owned());
        }
        // Only digits, so that what fails here is too large for the type.
        match text.parse::<N>() {
            Ok(count) if count < self.0 => Err("is too small".to_owned()),
            Ok(count) if count <= self.1 => Ok(count),
            _ => Err("is too large".to_owned()),
        }
    }

    fn allowed(&self) -> String {
        format!("{} to {}", self.0, self.1)
    }
}

/// Bytes from the first to the second, both included.
pub(super) struct Size(pub(super) u64, pub(super) u64);

/// Bytes of a KiB.
pub(super) const KIB: u64 = 1 << 10;
/// Bytes of a MiB.
pub(super) const MIB: u64 = 1 << 20;
/// Bytes of a GiB.
pub(super) const GIB: u64 = 1 << 30;

/// Units of sizes, largest first.
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", GIB), ("MiB", MIB), ("KiB", KIB), ("B", 1)];

impl Rule for Size {
    type Value = u64;

    fn parse(&self, text: &str) -> Result<u64, String> {
        match bytes(text)? {
            size if size < self.0 => Err("is too small".to_owned()),
            size if size > self.1 => Err("is too large".to_owned()),
            size => Ok(size),
        }
    }

    fn allowed(&self) -> String {
        format!("{} to {}", size_written(self.0), size_written(self.1))
    }
}

/// Reads one whole number and one unit; without a unit it is bytes.
fn bytes(text: &str) -> Result<u64, String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim_start());
    if number.is_empty() || unit.starts_with('.') {
        return Err("is not a size: write a whole number and a unit, as in 64MiB".to_owned());
    }
    let length = match SIZE_UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, length)) => *length,
        None if unit.is_empty() => 1,
        None => return Err(unknown_size_unit(number, unit)),
    };
    let size = number
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(length));
    size.ok_or_else(|| "is too large".to_owned())
}

/// What to say of a unit that is none: mostly it is the decimal sister of one of ours.
fn unknown_size_unit(number: &str, unit: &str) -> String {
    let meant = match unit.to_ascii_lowercase().as_str() {
        "b" | "byte" | "bytes" => "B",
        "k" | "kb" | "ki" | "kib" => "KiB",
        "m" | "mb" | "mi" | "mib" => "MiB",
        "g" | "gb" | "gi" | "gib" => "GiB",
        _ => return "has an unknown unit: units are B, KiB, MiB and GiB".to_owned(),
    };
    format!("has an unknown unit: write {number}{meant}")
}

/// The size in the largest unit that leaves no rest.
pub(super) fn size_written(size: u64) -> String {
    let fits = SIZE_UNITS
        .iter()
        .find(|(_, length)| size >= *length && size.is_multiple_of(*length));
    fits.map_or_else(
        || format!("{size}B"),
        |(unit, length)| format!("{}{unit}", size / length),
    )
}

/// A part of something, from the first to the second in thousandths, both included.
pub(super) struct Part(pub(super) u32, pub(super) u32);

impl Rule for Part {
    type Value = Fraction;

    fn parse(&self, text: &str) -> Result<Fraction, String> {
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        let is_sound = |b: u8| b.is_ascii_digit() || b == b'.';
        let number = text.parse::<f64>().ok();
        let number = number.filter(|_| text.bytes().all(is_sound));
        let number = number.ok_or("is not a number: write a part of 1, as in 0.9")?;
        let thousandths = number * 1000.0;
        if thousandths < f64::from(self.0) {
            return Err("is too small".to_owned());
        }
        if thousandths > f64::from(self.1) {
            return Err("is too large".to_owned());
        }
        if thousandths.fract().abs() > 1e-6 && (1.0 - thousandths.fract()).abs() > 1e-6 {
            return Err("has more than three decimals".to_owned());
        }
        Ok(Fraction::thousandths(thousandths.round() as u32))
    }

    fn allowed(&self) -> String {
        let written = |thousandths: u32| f64::from(thousandths) / 1000.0;
        format!("{} to {}", written(self.0), written(self.1))
    }
}

/// One word of a list, each with what it means.
pub(super) struct Choice<T: 'static>(pub(super) &'static [(&'static str, T)]);

/// `true` or `false`.
pub(super) const YES_OR_NO: Choice<bool> = Choice(&[("true", true), ("false", false)]);

impl<T: Copy + Sync> Rule for Choice<T> {
    type Value = T;

    fn parse(&self, text: &str) -> Result<T, String> {
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        if let Some((_, meaning)) = self.0.iter().find(|(word, _)| *word == text) {
            return Ok(*meaning);
        }
        Err(match nearest(text, self.0.iter().map(|(word, _)| *word)) {
            Some(word) => format!("is unknown; did you mean {word}?"),
            None => "is unknown".to_owned(),
        })
    }

    fn allowed(&self) -> String {
        let words: Vec<&str> = self.0.iter().map(|(word, _)| *word).collect();
        either(&words)
    }
}

/// Any text without control characters, also none at all.
pub(super) struct Text {
    /// Bytes at most.
    pub(super) max: usize,
    /// What it is, for people.
    pub(super) what: &'static str,
}

impl Rule for Text {
    type Value = String;

    fn parse(&self, text: &str) -> Result<String, String> {
        if text.chars().any(char::is_control) {
            return Err("holds a control character".to_owned());
        }
        if text.len() > self.max {
            return Err(format!("is {} bytes long", text.len()));
        }
        Ok(text.to_owned())
    }

    fn allowed(&self) -> String {
        format!("{}, at most {} bytes, or empty", self.what, self.max)
    }
}

/// A path in the file system, or none. A relative one is taken from the folder of the file.
pub(super) struct FilePath;

impl Rule for FilePath {
    type Value = Option<PathBuf>;

    fn parse(&self, text: &str) -> Result<Option<PathBuf>, String> {
        if text.chars().any(char::is_control) {
            return Err("holds a control character".to_owned());
        }
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }

    fn allowed(&self) -> String {
        "a path, relative to the folder of this file, or empty".to_owned()
    }
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
    fn parts_are_decimal_numbers_within_bounds() {
        let part = Part(100, 1000);
        assert_eq!(part.parse("0.9"), Ok(Fraction::thousandths(900)));
        assert_eq!(part.parse("1"), Ok(Fraction::thousandths(1000)));
        assert_eq!(part.parse(".125"), Ok(Fraction::thousandths(125)));
        for (text, reason) in [
            ("", "is empty"),
            ("90%", "is not a number"),
            ("-0.5", "is not a number"),
            ("nan", "is not a number"),
            ("1e-1", "is not a number"),
            ("0", "is too small"),
            ("1.001", "is too large"),
            ("0.9999", "has more than three decimals"),
        ] {
            let why = part.parse(text).unwrap_err();
            assert!(why.contains(reason), "{text}: {why}");
        }
        assert_eq!(part.allowed(), "0.1 to 1");
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

    #[test]
    fn a_misspelt_word_finds_the_one_that_was_meant() {
        let contract = Choice(&[("flask", 1), ("fastapi", 2)]);
        assert_eq!(contract.parse("fastapi"), Ok(2));
        assert_eq!(
            contract.parse("Flask"),
            Err("is unknown; did you mean flask?".to_owned())
        );
        assert_eq!(contract.parse("django"), Err("is unknown".to_owned()));
        assert_eq!(contract.allowed(), "flask or fastapi");
    }

    #[test]
    fn texts_hold_no_control_characters() {
        let text = Text {
            max: 4,
            what: "a text",
        };
        assert_eq!(text.parse("a: b"), Ok("a: b".to_owned()));
        assert_eq!(
            text.parse("a\u{7}"),
            Err("holds a control character".to_owned())
        );
        assert_eq!(text.parse("abcde"), Err("is 5 bytes long".to_owned()));
        assert_eq!(FilePath.parse(""), Ok(None));
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
