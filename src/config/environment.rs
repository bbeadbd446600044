//! Overrides by environment variables: `EVENKEEL_` and section and key joined by `_`, in capitals,
//! as in `EVENKEEL_ROUTE_DATA_TTL`. Variables that do not begin with `EVENKEEL_` are left alone,
//! but for systemd's `CREDENTIALS_DIRECTORY`.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::report::{Place, Report, Subject};
use crate::config::section::Section;
use crate::config::setting::ensure;
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
pub(crate) fn apply(
    environment: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    sections: &mut [Section],
    report: &mut Report,
) -> Secrets {
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
        let subject = Subject::place(Place::Variable(name.clone()));
        let used = match (name.as_str(), value.into_string()) {
            (_, Err(_)) => Err("is not UTF-8".to_owned()),
            (PASSWORD, Ok(value)) => keep(value, &mut secrets.password),
            (SENTINEL_PASSWORD, Ok(value)) => keep(value, &mut secrets.sentinel_password),
            (_, Ok(value)) => target(&names, &name).map(|known| {
                if let Some(section) = sections.get_mut(known.section) {
                    section.give(known.key, value.trim().to_owned());
                    report.locate(&section.title(), known.key, Place::Variable(name));
                }
            }),
        };
        if let Err(why) = used {
            report.mistake(subject, why);
        }
    }
    secrets
}

fn keep(value: String, secret: &mut Option<String>) -> Result<(), String> {
    let why = "is empty: unset it, or give the password";
    ensure(!value.is_empty(), why)?;
    *secret = Some(value);
    Ok(())
}

/// A variable that would be understood.
struct Name {
    variable: String,
    /// Its beginning, up to the key.
    begin: String,
    /// Index of the section it belongs to, and its heading without brackets.
    section: usize,
    title: String,
    key: &'static str,
}

/// Every variable that would be understood with these sections.
fn names(sections: &[Section]) -> Vec<Name> {
    let of_section = |(index, section): (usize, &Section)| {
        let title = section.title();
        let begin = title.replace([' ', '-'], "_").to_uppercase();
        let begin = format!("{PREFIX}{begin}_");
        section.kind.settings().map(move |setting| Name {
            variable: format!("{begin}{}", setting.name.to_uppercase()),
            begin: begin.clone(),
            section: index,
            title: title.clone(),
            key: setting.name,
        })
    };
    sections.iter().enumerate().flat_map(of_section).collect()
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
            let headings = several.iter().map(|name| format!("[{}]", name.title));
            let headings = headings.collect::<Vec<_>>().join(" and ");
            Err(format!("fits {headings}: rename all but one of them"))
        }
    }
}

/// What to say of a variable that fits nothing.
fn unknown(names: &[Name], variable: &str) -> String {
    // The common beginning would make everything look alike.
    let bare = variable.strip_prefix(PREFIX).unwrap_or_default();
    let known = names.iter().map(|name| name.variable.as_str());
    let known = known.chain([PASSWORD, SENTINEL_PASSWORD]);
    let known = known.filter_map(|name| name.strip_prefix(PREFIX));
    if let Some(name) = nearest(bare, known) {
        return format!("fits no setting; did you mean {PREFIX}{name}?");
    }
    let of_section = names
        .iter()
        .filter(|name| variable.starts_with(&name.begin));
    let Some(longest) = of_section.max_by_key(|name| name.begin.len()) else {
        return "fits no setting: after EVENKEEL_ come section and key, as in \
                EVENKEEL_REDIS_TIMEOUT or EVENKEEL_ROUTE_DATA_TTL"
            .to_owned();
    };
    let Name { begin, title, .. } = longest;
    let keys = names.iter().filter(|name| name.section == longest.section);
    let keys: Vec<String> = keys.map(|name| name.key.to_uppercase()).collect();
    let keys = keys.join(", ");
    format!("fits no key of [{title}]; after {begin} may come {keys}")
}
