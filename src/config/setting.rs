//! What one key of the configuration is: its name, its default as text, the rule its value obeys
//! and one line of why. Everything that is said about a key anywhere is taken from here.

/// What values a key may have, and what becomes of them.
pub(super) trait Rule: Sync {
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

/// One key.
pub(super) struct Setting<R> {
    pub(super) name: &'static str,
    /// As it would be written in the file. A rule that refuses it makes the key a required one.
    pub(super) default: &'static str,
    pub(super) rule: R,
    /// Why one would change it, in one line.
    pub(super) about: &'static str,
}

/// A key.
pub(super) const fn setting<R>(
    name: &'static str,
    default: &'static str,
    rule: R,
    about: &'static str,
) -> Setting<R> {
    Setting {
        name,
        default,
        rule,
        about,
    }
}

/// A [`Setting`] whatever its rule, for tables of them.
pub(super) trait Known: Sync {
    /// See [`Setting::name`].
    fn name(&self) -> &'static str;
    /// See [`Setting::default`].
    fn default(&self) -> &'static str;
    /// See [`Rule::allowed`].
    fn allowed(&self) -> String;
    /// See [`Setting::about`].
    fn about(&self) -> &'static str;
}

impl<R: Rule> Known for Setting<R> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn default(&self) -> &'static str {
        self.default
    }

    fn allowed(&self) -> String {
        self.rule.allowed()
    }

    fn about(&self) -> &'static str {
        self.about
    }
}
