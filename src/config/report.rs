//! Collects what is wrong with a configuration, so that everything is said at once, and what is
//! worth a line in the log although nothing is wrong. No text in here may hold a secret.

use std::collections::HashMap;
use std::fmt;

use crate::config::wording::quoted;

/// Everything that is wrong with a configuration; displayed as one line per mistake, in the order
/// of the file, then of the environment.
#[derive(Debug)]
pub struct Mistakes(Vec<String>);

impl Mistakes {
    /// One mistake after the other, each a whole line without its line break.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().cloned()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Mistakes {}

/// Where something was said. The order is the one in which mistakes are shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// In a line of the file, counted from 1.
    Line(usize),
    /// Nowhere in particular: the file as a whole, or a built-in default.
    File,
    /// In an environment variable.
    Variable(String),
}

/// What a mistake is about.
#[derive(Clone)]
pub(crate) struct Subject {
    place: Place,
    /// Title of the section without brackets, as in `route data`; empty: none.
    section: String,
    /// Empty: the section as a whole.
    key: String,
    /// ` = "value"`, as it may be shown; empty: it may not.
    shown: String,
}

impl Subject {
    /// A place that belongs to no section.
    pub(crate) fn place(place: Place) -> Self {
        Self::key(place, "", "")
    }

    /// One key of a section; an empty one: the section as a whole.
    pub(crate) fn key(place: Place, title: &str, key: &str) -> Self {
        Self {
            place,
            section: title.to_owned(),
            key: key.to_owned(),
            shown: String::new(),
        }
    }

    /// The same, with the value shown, which must not be a secret.
    pub(crate) fn showing(mut self, value: &str) -> Self {
        self.shown = format!(" = {}", quoted(value));
        self
    }

    /// `config.ini:13: [redis] timeout = "500": needs a unit`
    fn line(&self, file: &str, text: &str) -> String {
        let place = match &self.place {
            Place::Line(number) => format!("{file}:{number}"),
            Place::File => file.to_owned(),
            Place::Variable(name) => name.clone(),
        };
        let shown = &self.shown;
        match (self.section.as_str(), self.key.as_str()) {
            ("", _) => format!("{place}: {text}"),
            (section, "") => format!("{place}: [{section}]: {text}"),
            (section, key) => format!("{place}: [{section}] {key}{shown}: {text}"),
        }
    }
}

/// What is found out while a configuration is read, and where everything stands.
pub(crate) struct Report {
    file: String,
    /// Of sections by their titles, and of the keys in them; of a section itself the key is empty.
    places: HashMap<(String, String), Place>,
    mistakes: Vec<(Subject, String)>,
    notes: Vec<String>,
}

impl Report {
    /// An empty report on the file that is called `file` in every text.
    pub(crate) fn new(file: &str) -> Self {
        Self {
            file: file.chars().flat_map(char::escape_debug).collect(),
            places: HashMap::new(),
            mistakes: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Remembers where a key is given, or where the section itself begins; the last word counts.
    pub(crate) fn locate(&mut self, title: &str, key: &str, place: Place) {
        let name = (title.to_owned(), key.to_owned());
        self.places.insert(name, place);
    }

    /// A section as what a mistake is about.
    pub(crate) fn section(&self, title: &str) -> Subject {
        self.key(title, "")
    }

    /// A key as what a mistake is about, where it is given or else where its section begins; its
    /// value is not shown.
    pub(crate) fn key(&self, title: &str, key: &str) -> Subject {
        let place = |key: &str| self.places.get(&(title.to_owned(), key.to_owned()));
        let place = place(key).or_else(|| place("")).unwrap_or(&Place::File);
        Subject::key(place.clone(), title, key)
    }

    /// Records that `text` is wrong with `subject`.
    pub(crate) fn mistake(&mut self, subject: Subject, text: impl Into<String>) {
        self.mistakes.push((subject, text.into()));
    }

    /// Records something that is allowed, but worth a line in the log.
    pub(crate) fn note(&mut self, subject: Subject, text: impl Into<String>) {
        self.notes.push(subject.line(&self.file, &text.into()));
    }

    /// Whether there is a mistake in this key already, so that nothing should be concluded from
    /// the default that stands in for its value.
    pub(crate) fn spoiled(&self, title: &str, key: &str) -> bool {
        let mut subjects = self.mistakes.iter().map(|(subject, _)| subject);
        subjects.any(|subject| subject.section == title && subject.key == key)
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_clean(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// What is worth a line in the log.
    pub(crate) fn into_notes(self) -> Vec<String> {
        self.notes
    }

    /// Everything that is wrong, in the order of the places.
    pub(crate) fn into_mistakes(mut self) -> Mistakes {
        self.mistakes
            .sort_by(|(a, _), (b, _)| a.place.cmp(&b.place));
        let lines = self.mistakes.iter();
        let lines = lines.map(|(subject, text)| subject.line(&self.file, text));
        Mistakes(lines.collect())
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
        report.mistake(Subject::key(Place::Line(2), "route data", ""), "two");
        let text = report.into_mistakes().to_string();
        let expected = "c.ini:2: [route data]: two\nc.ini:9: [redis] url = \"x\": nine\n\
                        c.ini: f\nEVENKEEL_A: [redis] url: v";
        assert_eq!(text, expected);
    }
}
