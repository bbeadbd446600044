//! What a setting of the configuration is: a name, a default as text, a rule that its value obeys and a
//! line that says why one would change it. They are declared with `settings!` (`declare.rs`).

/// What values a setting may have, and what becomes of them.
pub(crate) trait Rule {
    /// What a good value becomes.
    type Value;

    /// The value of `text`, or what is wrong with it: lower case, to be followed by what is
    /// allowed. The text comes trimmed and may be empty.
    fn parse(&self, text: &str) -> Result<Self::Value, String>;

    /// What is allowed, bounds included, as in `1ms to 60s`.
    fn allowed(&self) -> String;

    /// Whether a mistake may show the value; not if it may hold a secret.
    fn may_be_shown(&self) -> bool {
        true
    }
}

/// For rules that take no empty text.
pub(crate) fn refuse_empty(text: &str) -> Result<(), String> {
    match text {
        "" => Err("is empty".to_owned()),
        _ => Ok(()),
    }
}

/// A setting as the tables of all settings have it; its rule is in what reads it.
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    /// As it would be written in the file. A rule that refuses it makes the setting a required one.
    pub(crate) default: &'static str,
    /// See [`Rule::allowed`].
    pub(crate) allowed: fn() -> String,
    /// Why one would change it, in one line.
    pub(crate) about: &'static str,
}
