//! Words of a list, and texts.

use crate::config::setting::{Rule, ensure};
use crate::config::wording::{either, nearest};

/// One word of a list, each with what it means.
pub(crate) struct Choice<T: 'static>(pub(crate) &'static [(&'static str, T)]);

/// `true` or `false`.
pub(crate) const YES_OR_NO: Choice<bool> = Choice(&[("true", true), ("false", false)]);

impl<T: Copy> Choice<T> {
    fn words(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|(word, _)| *word)
    }
}

impl<T: Copy> Rule for Choice<T> {
    type Value = T;

    fn parse(&self, text: &str) -> Result<T, String> {
        ensure(!text.is_empty(), "is empty")?;
        let found = self.0.iter().find(|(word, _)| *word == text);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let meant = nearest(text, self.words());
            let meant = meant.map(|word| format!("; did you mean {word}?"));
            format!("is unknown{}", meant.unwrap_or_default())
        })
    }

    fn allowed(&self) -> String {
        either(&self.words().collect::<Vec<_>>())
    }
}

/// Any text without control characters, also none at all.
pub(crate) struct Text {
    /// Bytes at most.
    pub(crate) max: usize,
    /// What it is, for people.
    pub(crate) what: &'static str,
}

/// What is put before keys, and the like.
pub(crate) const ANY_TEXT: Text = Text {
    max: 256,
    what: "any text",
};

impl Rule for Text {
    type Value = String;

    fn parse(&self, text: &str) -> Result<String, String> {
        let is_plain = !text.chars().any(char::is_control);
        ensure(is_plain, "holds a control character")?;
        let length = text.len();
        ensure(length <= self.max, format!("is {length} bytes long"))?;
        Ok(text.to_owned())
    }

    fn allowed(&self) -> String {
        format!("{}, at most {} bytes, or empty", self.what, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
