//! Sections by what they are: which kinds there are, which of their keys are given, and reading
//! those keys by their settings. Whatever is given and not read in the end is a mistake.

use crate::config::ini::Block;
use crate::config::report::{Place, Report, Subject};
use crate::config::setting::{Known, Rule, Setting};
use crate::config::wording::{either, nearest, oddity, quoted, suggestion};
use crate::config::{policy, redis_settings, route, server, source};

/// A kind of section and all its keys.
pub(super) struct Kind {
    /// First word of the heading.
    pub(super) title: &'static str,
    /// Name of the one that is there when the file has none of this kind; no name: there is one at
    /// most, and its heading is the title alone.
    pub(super) default_name: Option<&'static str>,
    pub(super) settings: &'static [&'static dyn Known],
}

impl Kind {
    /// The heading as documentation writes it, without brackets.
    fn pattern(&self) -> String {
        let name = if self.default_name.is_some() {
            " NAME"
        } else {
            ""
        };
        format!("{}{name}", self.title)
    }

    fn knows(&self, key: &str) -> bool {
        self.settings.iter().any(|setting| setting.name() == key)
    }
}

/// Every kind there is.
pub(super) static KINDS: [&Kind; 9] = [
    &server::SERVER,
    &redis_settings::REDIS,
    &policy::BREAKER,
    &policy::MEMORY,
    &policy::HEALTH,
    &policy::ADMIN,
    &route::ROUTE,
    &source::SOURCE,
    &server::LOG,
];

/// Names of routes and sources are at most this long.
const MAX_NAME: usize = 64;

/// One line of the table of all known keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Section without brackets, as in `redis` or `route NAME`.
    pub section: String,
    /// Name of the key.
    pub key: &'static str,
    /// What holds when the key is not given, as it would be written.
    pub default: &'static str,
    /// Bounds and units.
    pub allowed: String,
    /// Why one would change it.
    pub about: &'static str,
}

/// Every known key, section by section.
pub fn table() -> impl Iterator<Item = Row> {
    KINDS.into_iter().flat_map(|kind| {
        kind.settings.iter().map(|setting| Row {
            section: kind.pattern(),
            key: setting.name(),
            default: setting.default(),
            allowed: setting.allowed(),
            about: setting.about(),
        })
    })
}

/// A section of a known kind, with what the file and the environment give for it.
pub(super) struct Section {
    pub(super) kind: &'static Kind,
    /// NAME of a route or source; else empty.
    pub(super) name: String,
    place: Place,
    given: Vec<Given>,
}

/// A key with its value, and where they were given.
struct Given {
    key: String,
    value: String,
    place: Place,
    /// Whether a setting has read it.
    read: bool,
}

impl Section {
    /// The section that is there when the file has none of its kind.
    fn absent(kind: &'static Kind) -> Self {
        let name = kind.default_name.unwrap_or_default().to_owned();
        Self {
            kind,
            name,
            place: Place::File,
            given: Vec::new(),
        }
    }

    /// The heading without brackets.
    pub(super) fn title(&self) -> String {
        let space = if self.name.is_empty() { "" } else { " " };
        format!("{}{space}{}", self.kind.title, self.name)
    }

    /// The section as what a mistake is about.
    pub(super) fn subject(&self) -> Subject {
        Subject::section(self.place.clone(), &self.title())
    }

    /// A key as what a mistake is about, where it is given or else where the section begins; its
    /// value is not shown.
    pub(super) fn subject_of(&self, key: &str) -> Subject {
        let given = self.given.iter().find(|given| given.key == key);
        let place = given.map_or(&self.place, |given| &given.place);
        Subject::key(place.clone(), &self.title(), key)
    }

    /// Lets the environment decide a key.
    pub(super) fn override_key(&mut self, key: &str, value: String, variable: &str) {
        self.given.retain(|given| given.key != key);
        let place = Place::Variable(variable.to_owned());
        self.given.push(Given {
            key: key.to_owned(),
            value,
            place,
            read: false,
        });
    }

    /// The value of a key; where none is given, or a bad one, which is reported, the default.
    /// None only for a key that has no good default: it must be given.
    pub(super) fn read<R: Rule>(
        &mut self,
        setting: &Setting<R>,
        report: &mut Report,
    ) -> Option<R::Value> {
        let rule = &setting.rule;
        let subject = self.subject_of(setting.name);
        let given = self
            .given
            .iter_mut()
            .find(|given| given.key == setting.name);
        let Some(given) = given else {
            let default = rule.parse(setting.default);
            return default
                .map_err(|_| {
                    report.mistake(subject, format!("must be given ({})", rule.allowed()));
                })
                .ok();
        };
        given.read = true;
        let shown = if rule.may_be_shown() {
            subject.showing(&given.value)
        } else {
            subject
        };
        let odd = oddity(&given.value);
        match rule.parse(&given.value) {
            Ok(value) => {
                if let (Some(odd), true) = (odd, rule.may_be_shown()) {
                    report.note(shown, odd);
                }
                Some(value)
            }
            Err(why) => {
                let odd = odd.map(|odd| format!("; {odd}")).unwrap_or_default();
                report.mistake(shown, format!("{why} ({}){odd}", rule.allowed()));
                rule.parse(setting.default).ok()
            }
        }
    }

    /// Takes those of `keys` that are given but were not read out of what [`Section::finish`] will
    /// report: they are the caller's to report.
    pub(super) fn take_unread(&mut self, keys: &[&str]) -> Vec<Subject> {
        let title = self.title();
        let unread = |given: &&mut Given| !given.read && keys.contains(&given.key.as_str());
        let take = |given: &mut Given| {
            given.read = true;
            Subject::key(given.place.clone(), &title, &given.key)
        };
        self.given.iter_mut().filter(unread).map(take).collect()
    }

    /// Reports every given key that was not read. Its value is not shown: who misspells
    /// `password_file` may have written a password.
    pub(super) fn finish(self, report: &mut Report) {
        let title = self.title();
        for given in self.given.iter().filter(|given| !given.read) {
            let subject = Subject::key(given.place.clone(), &title, &given.key);
            report.mistake(subject, unknown_key(self.kind, &given.key));
        }
    }
}

/// What to say of a key that this kind does not have.
fn unknown_key(kind: &Kind, key: &str) -> String {
    let of_url = ["host", "port", "user", "password", "socket"];
    if kind.title == "redis" && of_url.contains(&key) {
        return "unknown key: it is part of url; a password may also come from password_file or \
                EVENKEEL_REDIS_PASSWORD"
            .to_owned();
    }
    let names: Vec<&str> = kind.settings.iter().map(|setting| setting.name()).collect();
    let elsewhere: Vec<String> = KINDS
        .into_iter()
        .filter(|other| other.knows(key))
        .map(|other| format!("[{}]", other.pattern()))
        .collect();
    let elsewhere: Vec<&str> = elsewhere.iter().map(String::as_str).collect();
    if nearest(key, names.iter().copied()).is_none() && !elsewhere.is_empty() {
        return format!("unknown key here; it belongs to {}", either(&elsewhere));
    }
    format!("unknown key{}", suggestion(key, &names))
}

/// Sorts the blocks of a file by kind, reports the unknown ones, and adds what is there by default.
pub(super) fn arrange(blocks: Vec<Block>, report: &mut Report) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for block in blocks {
        let (word, name) = block.title.split_once(' ').unwrap_or((&block.title, ""));
        let kind = KINDS.into_iter().find(|kind| kind.title == word);
        let problem = match kind {
            None => Some(unknown_section(word)),
            Some(kind) => {
                seen.push(kind.title);
                wrong_name(kind, name)
            }
        };
        let (None, Some(kind)) = (problem.as_ref(), kind) else {
            let text = format!(
                "section {} {}",
                quoted(&block.title),
                problem.unwrap_or_default()
            );
            report.mistake(Subject::place(Place::Line(block.line)), text);
            continue;
        };
        let name = name.to_owned();
        let given = block.entries.into_iter().map(|entry| Given {
            key: entry.key,
            value: entry.value,
            place: Place::Line(entry.line),
            read: false,
        });
        let (place, given) = (Place::Line(block.line), given.collect());
        sections.push(Section {
            kind,
            name,
            place,
            given,
        });
    }
    let absent = KINDS.into_iter().filter(|kind| !seen.contains(&kind.title));
    sections.extend(absent.map(Section::absent));
    sections
}

/// What to say of a heading whose first word is no kind.
fn unknown_section(word: &str) -> String {
    let patterns: Vec<String> = KINDS
        .iter()
        .map(|kind| format!("[{}]", kind.pattern()))
        .collect();
    match nearest(word, KINDS.iter().map(|kind| kind.title)) {
        Some(title) => {
            let meant = KINDS.iter().position(|kind| kind.title == title);
            let meant = meant
                .and_then(|index| patterns.get(index))
                .map_or("", String::as_str);
            format!("is unknown; did you mean {meant}?")
        }
        None => format!("is unknown; known are {}", patterns.join(" ")),
    }
}

/// What is wrong with the name in a heading of this kind.
fn wrong_name(kind: &Kind, name: &str) -> Option<String> {
    let sound = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if kind.default_name.is_none() {
        return (!name.is_empty()).then(|| format!("takes no name: write [{}]", kind.title));
    }
    if name.is_empty() {
        return Some(format!("needs a name: write [{} NAME]", kind.title));
    }
    let good = name.len() <= MAX_NAME && name.bytes().all(sound);
    (!good).then(|| format!("has a bad name: 1 to {MAX_NAME} letters, digits, _ and -"))
}

/// Takes the one section of a kind out of all.
pub(super) fn draw(sections: &mut Vec<Section>, kind: &'static Kind) -> Section {
    let index = sections
        .iter()
        .position(|section| section.kind.title == kind.title);
    index.map_or_else(|| Section::absent(kind), |index| sections.remove(index))
}
