//! Overrides by environment variables: `EVENKEEL_` and section and key joined by `_`, in capitals,
//! as in `EVENKEEL_ROUTE_DATA_TTL`. Variables that do not begin with `EVENKEEL_` are left alone,
//! but for systemd's `CREDENTIALS_DIRECTORY`.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::report::{Place, Report, Subject};
use crate::config::section::Section;
use crate::config::wording::nearest;

/// What every variable of ours begins with.
const PREFIX: &str = "EVENKEEL_";

/// A secret that has no key in the file.
pub(crate) const PASSWORD: &str = "EVENKEEL_REDIS_PASSWORD";

/// The same for the Sentinels.
pub(crate) const SENTINEL_PASSWORD: &str = "EVENKEEL_REDIS_SENTINEL_PASSWORD";

/// Where systemd puts the files of `LoadCredential=` (systemd.exec(5)).
pub(crate) const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// What the environment says about secrets. Has no `Debug`, so that it can not be shown.
#[derive(Default)]
pub(crate) struct Secrets {
    /// From `EVENKEEL_REDIS_PASSWORD`; never empty.
    pub(crate) password: Option<String>,
    /// From `EVENKEEL_REDIS_SENTINEL_PASSWORD`; never empty.
    pub(crate) sentinel_password: Option<String>,
    /// From `CREDENTIALS_DIRECTORY`.
    pub(crate) credentials: Option<PathBuf>,
}

/// Puts the variables in the place of what the file says, and hands back the secrets. A variable of
/// ours that fits nothing is a mistake; its value is not shown.
pub(crate) fn apply<K, V>(
    environment: impl IntoIterator<Item = (K, V)>,
    sections: &mut [Section],
    report: &mut Report,
) -> Secrets
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let mut secrets = Secrets::default();
    let mut ours: Vec<(String, OsString)> = Vec::new();
    for (name, value) in environment {
        let (name, value): (OsString, OsString) = (name.into(), value.into());
        let name = name.to_string_lossy().into_owned();
        if name == CREDENTIALS && !value.is_empty() {
            secrets.credentials = Some(PathBuf::from(value));
        } else if name.starts_with(PREFIX) {
            ours.push((name, value));
        }
    }
    // The environment has no order of its own; mistakes need one.
    ours.sort();
    let names = names(sections);
    for (name, value) in ours {
        let subject = || Subject::place(Place::Variable(name.clone()));
        let Ok(value) = value.into_string() else {
            report.mistake(subject(), "is not UTF-8");
            continue;
        };
        let secret = match name.as_str() {
            PASSWORD => Some(&mut secrets.password),
            SENTINEL_PASSWORD => Some(&mut secrets.sentinel_password),
            _ => None,
        };
        if let Some(secret) = secret {
            if value.is_empty() {
                report.mistake(subject(), "is empty: unset it, or give the password");
            }
            *secret = Some(value).filter(|password| !password.is_empty());
            continue;
        }
        match target(&names, &name) {
            Ok(known) => {
                if let Some(section) = sections.get_mut(known.section) {
                    section.give(known.key, value.trim().to_owned());
                    let place = Place::Variable(name);
                    report.locate(&section.title(), Some(known.key), place);
                }
            }
            Err(why) => report.mistake(subject(), why),
        }
    }
    secrets
}

/// A variable that would be understood.
struct Name {
    variable: String,
    /// Its beginning, up to the key.
    section_part: String,
    /// Index of the section it belongs to.
    section: usize,
    key: &'static str,
    /// Heading of the section, with brackets.
    heading: String,
}

/// Every variable that would be understood with these sections.
fn names(sections: &[Section]) -> Vec<Name> {
    let mut names = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        let title = section.title();
        let part = title.replace([' ', '-'], "_").to_uppercase();
        names.extend(section.kind.settings().map(|setting| Name {
            variable: format!("{PREFIX}{part}_{}", setting.name.to_uppercase()),
            section_part: format!("{PREFIX}{part}_"),
            section: index,
            key: setting.name,
            heading: format!("[{title}]"),
        }));
    }
    names
}

/// What a variable means. Whole names are compared, so `_` in the name of a route does no harm; only
/// names that differ in nothing but `-`, `_` and case can not be told apart.
fn target<'a>(names: &'a [Name], variable: &str) -> Result<&'a Name, String> {
    let fits = names.iter().filter(|name| name.variable == variable);
    let fits: Vec<&Name> = fits.collect();
    match fits.as_slice() {
        [] => Err(unknown(names, variable)),
        [only] => Ok(only),
        several => {
            let headings: Vec<&str> = several.iter().map(|name| name.heading.as_str()).collect();
            let headings = headings.join(" and ");
            Err(format!("fits {headings}: rename all but one of them"))
        }
    }
}

/// What to say of a variable that fits nothing.
fn unknown(names: &[Name], variable: &str) -> String {
    // The common beginning would make everything look alike.
    let bare = variable.strip_prefix(PREFIX).unwrap_or_default();
    let known: Vec<&str> = names
        .iter()
        .map(|name| name.variable.as_str())
        .chain([PASSWORD, SENTINEL_PASSWORD])
        .filter_map(|name| name.strip_prefix(PREFIX))
        .collect();
    if let Some(name) = nearest(bare, known.iter().copied()) {
        return format!("fits no setting; did you mean {PREFIX}{name}?");
    }
    let of_section = |name: &&Name| variable.starts_with(&name.section_part);
    let sections = names.iter().filter(of_section);
    let Some(longest) = sections.max_by_key(|name| name.section_part.len()) else {
        return "fits no setting: after EVENKEEL_ come section and key, as in \
                EVENKEEL_REDIS_TIMEOUT or EVENKEEL_ROUTE_DATA_TTL"
            .to_owned();
    };
    let keys = names.iter().filter(|name| name.section == longest.section);
    let keys: Vec<String> = keys.map(|name| name.key.to_uppercase()).collect();
    let (heading, part, keys) = (&longest.heading, &longest.section_part, keys.join(", "));
    format!("fits no key of {heading}; after {part} may come {keys}")
}
