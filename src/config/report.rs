//! Collects what is wrong with a configuration, so that everything is said at once, and what is
//! worth a line in the log although nothing is wrong. No text in here may hold a secret.

use std::fmt;

use crate::config::wording::quoted;

/// Everything that is wrong with a configuration; displayed as one line per mistake, in the order
/// of the file, then of the environment.
#[derive(Debug)]
pub struct Mistakes {
    file: String,
    list: Vec<Mistake>,
}

impl Mistakes {
    /// One mistake after the other, each a whole line without its line break.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.list.iter().map(|mistake| mistake.line(&self.file))
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.lines().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Where something was said. The order is the one in which mistakes are shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// In a line of the file, counted from 1.
    Line(usize),
    /// Nowhere in particular: the file as a whole, or a built-in default.
    File,
    /// In an environment variable.
    Variable(String),
}

/// What a mistake is about.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) place: Place,
    /// Title of the section without brackets, as in `route data`.
    pub(super) section: Option<String>,
    pub(super) key: Option<String>,
    /// The value as it may be shown: quoted, without secrets.
    pub(super) shown: Option<String>,
}

impl Subject {
    /// A place that belongs to no section.
    pub(super) fn place(place: Place) -> Self {
        Self {
            place,
            section: None,
            key: None,
            shown: None,
        }
    }

    /// A section as a whole.
    pub(super) fn section(place: Place, title: &str) -> Self {
        Self {
            place,
            section: Some(title.to_owned()),
            key: None,
            shown: None,
        }
    }

    /// One key of a section.
    pub(super) fn key(place: Place, title: &str, key: &str) -> Self {
        Self {
            key: Some(key.to_owned()),
            ..Self::section(place, title)
        }
    }

    /// The same, with the value shown, which must not be a secret.
    pub(super) fn showing(self, value: &str) -> Self {
        Self {
            shown: Some(quoted(value)),
            ..self
        }
    }
}

/// One mistake: what it is about, and what is wrong and allowed.
#[derive(Debug)]
struct Mistake {
    subject: Subject,
    text: String,
}

impl Mistake {
    /// `config.ini:13: [redis] timeout = "500": needs a unit`
    fn line(&self, file: &str) -> String {
        let mut line = match &self.subject.place {
            Place::Line(number) => format!("{file}:{number}:"),
            Place::File => format!("{file}:"),
            Place::Variable(name) => format!("{name}:"),
        };
        if let Some(section) = &self.subject.section {
            line.push_str(&format!(" [{section}]"));
        }
        if let Some(key) = &self.subject.key {
            line.push_str(&format!(" {key}"));
        }
        if let Some(shown) = &self.subject.shown {
            line.push_str(&format!(" = {shown}"));
        }
        let separator = if self.subject.section.is_some() {
            ":"
        } else {
            ""
        };
        format!("{line}{separator} {}", self.text)
    }
}

/// What is found out while a configuration is read.
pub(super) struct Report {
    file: String,
    mistakes: Vec<Mistake>,
    notes: Vec<String>,
}

impl Report {
    /// An empty report on the file that is called `file` in every text.
    pub(super) fn new(file: &str) -> Self {
        let file = file.chars().flat_map(char::escape_debug).collect();
        Self {
            file,
            mistakes: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Records that `text` is wrong with `subject`.
    pub(super) fn mistake(&mut self, subject: Subject, text: impl Into<String>) {
        self.mistakes.push(Mistake {
            subject,
            text: text.into(),
        });
    }

    /// Records something that is allowed, but worth a line in the log.
    pub(super) fn note(&mut self, subject: Subject, text: impl Into<String>) {
        self.notes.push(
            Mistake {
                subject,
                text: text.into(),
            }
            .line(&self.file),
        );
    }

    /// Whether there is a mistake in this key already, so that nothing should be concluded from
    /// the default that stands in for its value.
    pub(super) fn spoiled(&self, title: &str, key: &str) -> bool {
        self.mistakes.iter().any(|mistake| {
            mistake.subject.section.as_deref() == Some(title)
                && mistake.subject.key.as_deref() == Some(key)
        })
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_clean(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// What is worth a line in the log.
    pub(super) fn into_notes(self) -> Vec<String> {
        self.notes
    }

    /// Everything that is wrong, in the order of the places.
    pub(super) fn into_mistakes(mut self) -> Mistakes {
        self.mistakes
            .sort_by(|a, b| a.subject.place.cmp(&b.subject.place));
        Mistakes {
            file: self.file,
            list: self.mistakes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_come_in_the_order_of_the_file_then_of_the_environment() {
        let mut report = Report::new("c.ini");
        report.mistake(
            Subject::key(Place::Variable("EVENKEEL_A".into()), "redis", "url"),
            "v",
        );
        report.mistake(Subject::place(Place::File), "f");
        report.mistake(
            Subject::key(Place::Line(9), "redis", "url").showing("x"),
            "nine",
        );
        report.mistake(Subject::section(Place::Line(2), "route data"), "two");
        let text = report.into_mistakes().to_string();
        let expected = "c.ini:2: [route data]: two\nc.ini:9: [redis] url = \"x\": nine\n\
                        c.ini: f\nEVENKEEL_A: [redis] url: v";
        assert_eq!(text, expected);
    }
}
