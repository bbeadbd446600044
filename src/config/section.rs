//! One section as it was given: its keys with their values, and how they are read. What is given and not
//! read in the end is a mistake, which `schema.rs` reports.

use std::collections::HashMap;

use crate::config::report::Report;
use crate::config::setting::{Rule, Setting};
use crate::config::wording::oddity;

/// A kind of section and all its settings.
pub(crate) struct Kind {
    /// First word of the heading.
    pub(crate) title: &'static str,
    /// Name of the one that is there when the file has none of this kind; no name: there is one at
    /// most, and its heading is the title alone.
    pub(crate) default_name: Option<&'static str>,
    groups: &'static [&'static [Setting]],
}

impl Kind {
    /// A section that there is once.
    pub(crate) const fn one(title: &'static str, groups: &'static [&'static [Setting]]) -> Self {
        let default_name = None;
        Self {
            title,
            default_name,
            groups,
        }
    }

    /// Sections that have a name.
    pub(crate) const fn named(self, default_name: &'static str) -> Self {
        let default_name = Some(default_name);
        Self {
            default_name,
            ..self
        }
    }

    /// In the order of the shipped file.
    pub(crate) fn settings(&self) -> impl Iterator<Item = &'static Setting> {
        self.groups.iter().copied().flatten()
    }

    /// The heading as documentation writes it, without brackets.
    pub(crate) fn pattern(&self) -> String {
        let name = self.default_name.map_or("", |_| " NAME");
        format!("{}{name}", self.title)
    }
}

/// A section of a known kind, with what the file and the environment give for it.
pub(crate) struct Section {
    pub(crate) kind: &'static Kind,
    /// NAME of a route or source; else empty.
    pub(crate) name: String,
    /// Keys with their values; who reads one takes it out.
    given: HashMap<String, String>,
}

impl Section {
    /// One without keys.
    pub(crate) fn new(kind: &'static Kind, name: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            given: HashMap::new(),
        }
    }

    /// The section that is there when the file has none of its kind.
    pub(crate) fn absent(kind: &'static Kind) -> Self {
        Self::new(kind, kind.default_name.unwrap_or_default())
    }

    /// The heading without brackets.
    pub(crate) fn title(&self) -> String {
        let space = if self.name.is_empty() { "" } else { " " };
        format!("{}{space}{}", self.kind.title, self.name)
    }

    /// Gives a key its value, instead of an earlier one.
    pub(crate) fn give(&mut self, key: &str, value: String) {
        self.given.insert(key.to_owned(), value);
    }

    /// The value of a key; where none is given, or a bad one, which is reported, the default.
    /// None only for a key that has no good default: it must be given.
    pub(crate) fn read<R: Rule>(
        &mut self,
        key: &str,
        default: &str,
        rule: &R,
        report: &mut Report,
    ) -> Option<R::Value> {
        let subject = report.key(&self.title(), key);
        let Some(given) = self.given.remove(key) else {
            let value = rule.parse(default).ok();
            if value.is_none() {
                report.mistake(subject, format!("must be given ({})", rule.allowed()));
            }
            return value;
        };
        let subject = match rule.may_be_shown() {
            true => subject.showing(&given),
            false => subject,
        };
        let odd = oddity(&given);
        match rule.parse(&given) {
            Ok(value) => {
                if let Some(odd) = odd.filter(|_| rule.may_be_shown()) {
                    report.note(subject, odd);
                }
                Some(value)
            }
            Err(why) => {
                let odd = odd.map(|odd| format!("; {odd}")).unwrap_or_default();
                report.mistake(subject, format!("{why} ({}){odd}", rule.allowed()));
                rule.parse(default).ok()
            }
        }
    }

    /// Takes a key out unread, and says whether it was given.
    pub(crate) fn take(&mut self, key: &str) -> bool {
        self.given.remove(key).is_some()
    }

    /// The given keys that nobody has read.
    pub(crate) fn unread(&self) -> impl Iterator<Item = &String> {
        self.given.keys()
    }
}
