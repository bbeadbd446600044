//! From a file and the environment to a [`Config`], or to everything that is wrong with them.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::environment::{self, Secrets};
use crate::config::report::{Mistakes, Place, Report, Subject};
use crate::config::section::{Kind, Section};
use crate::config::sections::admin::{ADMIN, Admin};
use crate::config::sections::breaker::{BREAKER, Breaker};
use crate::config::sections::health::{HEALTH, Health};
use crate::config::sections::log::{LOG, Log};
use crate::config::sections::memory::{MEMORY, Memory};
use crate::config::sections::redis::{self, keys::REDIS};
use crate::config::sections::route::{Draft, ROUTE};
use crate::config::sections::server::{SERVER, Server};
use crate::config::sections::source::{SOURCE, Source};
use crate::config::values::file::read_at_most;
use crate::config::whole::Config;
use crate::config::{ini, rules, schema};

/// Looked for in this order when no file is given.
const CANDIDATES: [&str; 2] = ["config.ini", "/etc/evenkeel/config.ini"];

/// What the texts call the configuration when there is no file.
const BUILT_IN: &str = "built-in defaults";

/// Bytes of a file; a longer one is no configuration.
const MAX_BYTES: u64 = 1 << 20;

/// An environment without variables, for [`parse`].
pub const NO_ENVIRONMENT: [(&str, &str); 0] = [];

/// A configuration and where it comes from.
#[derive(Debug)]
pub struct Loaded {
    /// Without mistakes.
    pub config: Config,
    /// The file that was read; none: built-in defaults.
    pub origin: Option<PathBuf>,
    /// Each worth one line in the log.
    pub notes: Vec<String>,
}

/// Reads `path`, or else `./config.ini`, or else `/etc/evenkeel/config.ini`, or else takes the
/// built-in defaults; then applies the environment, of which `std::env::vars_os()` is the one.
///
/// Names to listen on are resolved and `password_file` is read; no port is touched.
///
/// # Errors
/// Everything that is wrong, at once; a given file that can not be read among it.
pub fn load(
    path: Option<&Path>,
    environment: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
) -> Result<Loaded, Mistakes> {
    let candidates = CANDIDATES.map(Path::new);
    let found = match path {
        Some(path) => Some((path, read_file(path))),
        None => first_of(&candidates),
    };
    let Some((path, content)) = found else {
        let mut loaded = parse("", BUILT_IN, environment)?;
        let tried = CANDIDATES.join(", ");
        let note = format!("no config file ({tried}): built-in defaults");
        loaded.notes.insert(0, note);
        return Ok(loaded);
    };
    let name = path.to_string_lossy();
    let refuse = |place, why: String| {
        let mut report = Report::new(&name);
        report.mistake(Subject::place(place), why);
        report.into_mistakes()
    };
    let bytes =
        content.map_err(|error| refuse(Place::File, format!("can not be read: {error}")))?;
    let text = ini::decode(&bytes).map_err(|(line, why)| refuse(Place::Line(line), why))?;
    let loaded = parse(text, &name, environment)?;
    Ok(Loaded {
        origin: Some(path.to_owned()),
        ..loaded
    })
}

/// Reads a configuration from its text. Mistakes and notes call it `file_name`, and relative paths
/// in it are taken from the folder of that name.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn parse(
    text: &str,
    file_name: &str,
    environment: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
) -> Result<Loaded, Mistakes> {
    let mut report = Report::new(file_name);
    let blocks = ini::read(text, &mut report);
    let mut sections = schema::arrange(blocks, &mut report);
    let secrets = environment::apply(environment, &mut sections, &mut report);
    let folder = Path::new(file_name).parent().unwrap_or(Path::new(""));
    let config = build(sections, &secrets, folder, &mut report);
    conclude(config, report)
}

/// The first candidate that exists, with what is in it or why it can not be read.
fn first_of<'a>(candidates: &[&'a Path]) -> Option<(&'a Path, io::Result<Vec<u8>>)> {
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let mut read = candidates.iter().map(|path| (*path, read_file(path)));
    read.find(|(_, content)| !content.as_ref().is_err_and(missing))
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let too_long = || io::Error::other("longer than 1MiB: is it the right file?");
    read_at_most(MAX_BYTES, path)?.ok_or_else(too_long)
}

/// Reads every section, then holds them against each other. None only where a mistake was reported.
fn build(
    mut sections: Vec<Section>,
    secrets: &Secrets,
    folder: &Path,
    report: &mut Report,
) -> Option<Config> {
    let s = &mut sections;
    let server = Server::read(only(&SERVER, s)?, report)?;
    let mut redis = redis::read(only(&REDIS, s)?, secrets, folder, report)?;
    let breaker = Breaker::read(only(&BREAKER, s)?, report)?;
    let memory = Memory::read(only(&MEMORY, s)?, report)?;
    let health = Health::read(only(&HEALTH, s)?, report)?;
    let admin = Admin::read(only(&ADMIN, s)?, report)?;
    let log = Log::read(only(&LOG, s)?, report)?.in_folder(folder);
    let sources = all(&SOURCE, s).filter_map(|section| Source::of(section, report));
    let sources: Vec<Source> = sources.collect();
    let drafts = all(&ROUTE, s).filter_map(|section| Draft::read(section, report));
    let drafts: Vec<Draft> = drafts.collect();
    for section in &sections {
        schema::refuse_unread(section, report);
    }
    let (key_prefix, contract) = (&redis.key_prefix, server.contract);
    let routes = rules::routes::resolve(drafts, &sources, key_prefix, contract, report);
    rules::settle_pool_size(&mut redis, server.workers, report);
    let config = Config {
        server,
        redis,
        breaker,
        memory,
        health,
        admin,
        log,
        routes,
        sources,
    };
    rules::check(&config, report);
    Some(config)
}

/// The sections of a kind.
fn all<'a>(
    kind: &'static Kind,
    sections: &'a mut [Section],
) -> impl Iterator<Item = &'a mut Section> {
    let is_of_it = |section: &&mut Section| section.kind.title == kind.title;
    sections.iter_mut().filter(is_of_it)
}

/// The one section of a kind; an empty one where the file has spoiled it.
fn only<'a>(kind: &'static Kind, sections: &'a mut Vec<Section>) -> Option<&'a mut Section> {
    if all(kind, sections).next().is_none() {
        sections.push(Section::absent(kind));
    }
    all(kind, sections).next()
}

/// The configuration if there is no mistake.
fn conclude(config: Option<Config>, mut report: Report) -> Result<Loaded, Mistakes> {
    if !report.is_clean() {
        return Err(report.into_mistakes());
    }
    let Some(config) = config else {
        report.mistake(Subject::place(Place::File), "a built-in default is broken");
        return Err(report.into_mistakes());
    };
    Ok(Loaded {
        config,
        origin: None,
        notes: report.into_notes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_candidate_that_exists_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (absent, first, second) = (
            folder.path().join("0"),
            folder.path().join("1"),
            folder.path().join("2"),
        );
        std::fs::write(&first, "1").unwrap();
        std::fs::write(&second, "2").unwrap();
        let (path, content) = first_of(&[&absent, &first, &second]).unwrap();
        assert_eq!(
            (path, content.unwrap().as_slice()),
            (first.as_path(), &b"1"[..])
        );
        assert!(first_of(&[&absent]).is_none());
        let (path, content) = first_of(&[&absent, folder.path(), &first]).unwrap();
        assert_eq!(
            (path, content.is_err()),
            (folder.path(), true),
            "it hides nothing behind it"
        );
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("long.ini");
        std::fs::write(&file, vec![b'#'; (1 << 20) + 1]).unwrap();
        let why = load(Some(&file), NO_ENVIRONMENT).unwrap_err().to_string();
        assert!(
            why.contains("long.ini: can not be read: longer than 1MiB"),
            "{why}"
        );
    }
}
