//! From a file and the environment to a [`Config`], or to everything that is wrong with them.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::environment;
use crate::config::environment::Secrets;
use crate::config::report::{Place, Report, Subject};
use crate::config::section::{Section, arrange, draw};
use crate::config::{Config, Mistakes, check, ini, policy, redis_settings, route, server, source};

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
pub fn load<K, V>(
    path: Option<&Path>,
    environment: impl IntoIterator<Item = (K, V)>,
) -> Result<Loaded, Mistakes>
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let candidates = CANDIDATES.map(Path::new);
    let found = match path {
        Some(path) => Some((path, read_file(path))),
        None => first_of(&candidates),
    };
    let Some((path, content)) = found else {
        let mut loaded = parse("", BUILT_IN, environment)?;
        let note = format!(
            "no config file ({}): built-in defaults",
            CANDIDATES.join(", ")
        );
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
pub fn parse<K, V>(
    text: &str,
    file_name: &str,
    environment: impl IntoIterator<Item = (K, V)>,
) -> Result<Loaded, Mistakes>
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let mut report = Report::new(file_name);
    let blocks = ini::read(text, &mut report);
    let mut sections = arrange(blocks, &mut report);
    let secrets = environment::apply(environment, &mut sections, &mut report);
    let folder = Path::new(file_name).parent().unwrap_or(Path::new(""));
    let config = build(sections, &secrets, folder, &mut report);
    conclude(config, report)
}

/// The first candidate that exists, with what is in it or why it can not be read.
fn first_of<'a>(candidates: &[&'a Path]) -> Option<(&'a Path, io::Result<Vec<u8>>)> {
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    candidates
        .iter()
        .map(|path| (*path, read_file(path)))
        .find(|(_, content)| !content.as_ref().is_err_and(missing))
}

/// Reads at most one byte more than is allowed, so that not even `/dev/zero` fills the memory.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("longer than 1MiB: is it the right file?"));
    }
    Ok(bytes)
}

/// Reads every section, then holds them against each other. None only where a mistake was reported.
fn build(
    mut sections: Vec<Section>,
    secrets: &Secrets,
    folder: &Path,
    report: &mut Report,
) -> Option<Config> {
    let server = draw(&mut sections, &server::SERVER);
    let redis = draw(&mut sections, &redis_settings::REDIS);
    let breaker = draw(&mut sections, &policy::BREAKER);
    let admin = draw(&mut sections, &policy::ADMIN);
    let subjects = check::Subjects {
        pool_size: redis.subject_of("pool_size"),
        breaker_mode: breaker.subject_of("mode"),
        stall_calls: breaker.subject_of("stall_calls"),
        drain_timeout: server.subject_of("drain_timeout"),
        max_head: server.subject_of("max_head"),
        admin_listen: admin.subject_of("listen"),
    };
    let server = server::server(server, report);
    let redis = redis_settings::redis(redis, secrets, folder, report);
    let breaker = policy::breaker(breaker, report);
    let memory = policy::memory(draw(&mut sections, &policy::MEMORY), report);
    let health = policy::health(draw(&mut sections, &policy::HEALTH), report);
    let admin = policy::admin(admin, report);
    let log = server::log(draw(&mut sections, &server::LOG), folder, report);
    // Only routes and sources are left.
    let (routes, sources): (Vec<_>, Vec<_>) = sections
        .into_iter()
        .partition(|section| section.kind.title == route::ROUTE.title);
    let sources = sources
        .into_iter()
        .filter_map(|section| source::source(section, report));
    let sources: Vec<_> = sources.collect();
    let drafts = routes
        .into_iter()
        .filter_map(|section| route::draft(section, report));
    let drafts: Vec<_> = drafts.collect();
    let (server, redis) = (server?, redis?);
    let routes = route::resolve(
        &drafts,
        &sources,
        &redis.key_prefix,
        server.contract,
        report,
    );
    let (breaker, memory, health) = (breaker?, memory?, health?);
    let (admin, log) = (admin?, log?);
    let mut config = Config {
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
    check::check(&mut config, &drafts, subjects, report);
    Some(config)
}

/// The configuration if there is no mistake.
fn conclude(config: Option<Config>, mut report: Report) -> Result<Loaded, Mistakes> {
    match config {
        Some(config) if report.is_clean() => {
            return Ok(Loaded {
                config,
                origin: None,
                notes: report.into_notes(),
            });
        }
        None if report.is_clean() => {
            report.mistake(Subject::place(Place::File), "a built-in default is broken");
        }
        _ => {}
    }
    Err(report.into_mistakes())
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
