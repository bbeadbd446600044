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

/// A rule without bounds to choose: a function that reads the value, and what it takes in words.
pub(crate) struct Parsed<T> {
    reader: fn(&str) -> Result<T, String>,
    allowed: &'static str,
    may_be_shown: bool,
}

impl<T> Parsed<T> {
    pub(crate) const fn by(reader: fn(&str) -> Result<T, String>, allowed: &'static str) -> Self {
        Self {
            reader,
            allowed,
            may_be_shown: true,
        }
    }

    /// For values that may hold a secret.
    pub(crate) const fn unshown(self) -> Self {
        Self {
            may_be_shown: false,
            ..self
        }
    }
}

impl<T> Rule for Parsed<T> {
    type Value = T;

    fn parse(&self, text: &str) -> Result<T, String> {
        (self.reader)(text)
    }

    fn allowed(&self) -> String {
        self.allowed.to_owned()
    }

    fn may_be_shown(&self) -> bool {
        self.may_be_shown
    }
}

/// For rules: what is wrong with a value unless something holds.
pub(crate) fn ensure(holds: bool, why: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why.into()) }
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
