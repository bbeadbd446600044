//! Which kinds of sections there are: the table of all settings, the blocks of a file sorted into sections,
//! and what is said of names that are not known.

use crate::config::ini::Block;
use crate::config::report::{Place, Report, Subject};
use crate::config::section::{Kind, Section};
use crate::config::sections::admin::ADMIN;
use crate::config::sections::breaker::BREAKER;
use crate::config::sections::health::HEALTH;
use crate::config::sections::log::LOG;
use crate::config::sections::memory::MEMORY;
use crate::config::sections::redis::keys::REDIS;
use crate::config::sections::route::ROUTE;
use crate::config::sections::server::SERVER;
use crate::config::sections::source::SOURCE;
use crate::config::wording::{either, nearest, quoted, suggestion};

/// Every kind there is, in the order of the shipped file.
static KINDS: [&Kind; 9] = [
    &SERVER, &REDIS, &BREAKER, &MEMORY, &HEALTH, &ADMIN, &ROUTE, &SOURCE, &LOG,
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
        kind.settings().map(|setting| Row {
            section: kind.pattern(),
            key: setting.name,
            default: setting.default,
            allowed: (setting.allowed)(),
            about: setting.about,
        })
    })
}

/// Sorts the blocks of a file by kind, reports the unknown ones, and adds what is there by default.
pub(crate) fn arrange(blocks: Vec<Block>, report: &mut Report) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut absent = KINDS.to_vec();
    for block in blocks {
        let place = Place::Line(block.line);
        let (word, name) = block.title.split_once(' ').unwrap_or((&block.title, ""));
        absent.retain(|kind| kind.title != word);
        let mut section = match named(word, name) {
            Ok(kind) => Section::new(kind, name),
            Err(why) => {
                let text = format!("section {} {why}", quoted(&block.title));
                report.mistake(Subject::place(place), text);
                continue;
            }
        };
        report.locate(&block.title, "", place);
        for entry in block.entries {
            report.locate(&block.title, &entry.key, Place::Line(entry.line));
            section.give(&entry.key, entry.value);
        }
        sections.push(section);
    }
    sections.extend(absent.into_iter().map(Section::absent));
    sections
}

/// The kind of a heading, or what is wrong with its words.
fn named(word: &str, name: &str) -> Result<&'static Kind, String> {
    let known = KINDS.into_iter().find(|kind| kind.title == word);
    let kind = known.ok_or_else(|| unknown_section(word))?;
    let is_sound = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    match kind.default_name {
        None if !name.is_empty() => Err(format!("takes no name: write [{}]", kind.title)),
        None => Ok(kind),
        Some(_) if name.is_empty() => Err(format!("needs a name: write [{} NAME]", kind.title)),
        Some(_) if name.len() <= MAX_NAME && name.bytes().all(is_sound) => Ok(kind),
        Some(_) => Err(format!(
            "has a bad name: 1 to {MAX_NAME} letters, digits, _ and -"
        )),
    }
}

/// What to say of a heading whose first word is no kind.
fn unknown_section(word: &str) -> String {
    let meant = nearest(word, KINDS.iter().map(|kind| kind.title));
    match KINDS.iter().find(|kind| Some(kind.title) == meant) {
        Some(kind) => format!("is unknown; did you mean [{}]?", kind.pattern()),
        None => format!("is unknown; known are {}", headings(|_| true).join(" ")),
    }
}

/// The headings of some kinds, as documentation writes them.
fn headings(which: impl Fn(&Kind) -> bool) -> Vec<String> {
    let kinds = KINDS.into_iter().filter(|kind| which(kind));
    kinds.map(|kind| format!("[{}]", kind.pattern())).collect()
}

/// Reports every given key that was not read. Its value is not shown: who misspells `password_file`
/// may have written a password.
pub(crate) fn refuse_unread(section: &Section, report: &mut Report) {
    for key in section.unread() {
        let subject = report.key(&section.title(), key);
        report.mistake(subject, unknown_key(section.kind, key));
    }
}

/// What to say of a key that this kind does not have.
fn unknown_key(kind: &Kind, key: &str) -> String {
    let of_url = ["host", "port", "user", "password", "socket"];
    if kind.title == REDIS.title && of_url.contains(&key) {
        return "unknown key: it is part of url; a password may also come from password_file or \
                EVENKEEL_REDIS_PASSWORD"
            .to_owned();
    }
    let names: Vec<&str> = kind.settings().map(|setting| setting.name).collect();
    let elsewhere = headings(|kind| kind.settings().any(|setting| setting.name == key));
    if nearest(key, names.iter().copied()).is_none() && !elsewhere.is_empty() {
        return format!("unknown key here; it belongs to {}", either(&elsewhere));
    }
    format!("unknown key{}", suggestion(key, &names))
}
