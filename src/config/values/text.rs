//! Words of a list, and texts.

use crate::config::setting::{Rule, refuse_empty};
use crate::config::wording::{either, nearest};

/// One word of a list, each with what it means.
pub(crate) struct Choice<T: 'static>(pub(crate) &'static [(&'static str, T)]);

/// `true` or `false`.
pub(crate) const YES_OR_NO: Choice<bool> = Choice(&[("true", true), ("false", false)]);

impl<T: Copy + Sync> Rule for Choice<T> {
    type Value = T;

    fn parse(&self, text: &str) -> Result<T, String> {
        refuse_empty(text)?;
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
pub(crate) struct Text {
    /// Bytes at most.
    pub(crate) max: usize,
    /// What it is, for people.
    pub(crate) what: &'static str,
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

/// What is put before keys, and the like.
pub(crate) const ANY_TEXT: Text = Text {
    max: 256,
    what: "any text",
};

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
