//! Parts of something, such as 0.9 of a duration.

use std::time::Duration;

use crate::config::setting::{Rule, ensure};

/// A part of something, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fraction(u32);

impl Fraction {
    /// So many thousandths.
    #[must_use]
    pub const fn thousandths(count: u32) -> Self {
        Self(count)
    }

    /// Whether it is all of it, or more.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.0 >= 1000
    }

    /// This part of `duration`.
    #[must_use]
    pub fn of(self, duration: Duration) -> Duration {
        duration.mul_f64(f64::from(self.0) / 1000.0)
    }
}

/// A decimal number, from the first to the second in thousandths, both included.
pub(crate) struct FractionRule(pub(crate) u32, pub(crate) u32);

impl Rule for FractionRule {
    type Value = Fraction;

    fn parse(&self, text: &str) -> Result<Fraction, String> {
        ensure(!text.is_empty(), "is empty")?;
        let is_sound = |b: u8| b.is_ascii_digit() || b == b'.';
        let number = text.parse::<f64>().ok();
        let number = number.filter(|_| text.bytes().all(is_sound));
        let number = number.ok_or("is not a number: write a part of 1, as in 0.9")?;
        let thousandths = number * 1000.0;
        ensure(thousandths >= f64::from(self.0), "is too small")?;
        ensure(thousandths <= f64::from(self.1), "is too large")?;
        let rest = (thousandths - thousandths.round()).abs();
        ensure(rest <= 1e-6, "has more than three decimals")?;
        Ok(Fraction::thousandths(thousandths.round() as u32))
    }

    fn allowed(&self) -> String {
        let written = |thousandths: u32| f64::from(thousandths) / 1000.0;
        format!("{} to {}", written(self.0), written(self.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_decimal_numbers_within_bounds() {
        let part = FractionRule(100, 1000);
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
}
