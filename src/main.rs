//! The life of the process: arguments, configuration, start, a signal, drain, exit code.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use evenkeel::app::{App, StartError, preflight};
use evenkeel::base::shutdown::{Asked, Shutdown};
use evenkeel::base::signals::{self, Signal};
use evenkeel::config::{self, Config, Loaded};
use evenkeel::observe::logging::{self, to_stderr};
use log::{Level, error, info, warn};

const USAGE: &str = "\
usage: evenkeel [--config FILE]            serve (default ./config.ini, then /etc/evenkeel/config.ini)
       evenkeel --check [--config FILE]    say what is wrong with the configuration, or \"ok\"
       evenkeel --help | --version
exit codes: 0 ok, 64 usage, 69 cannot listen, 70 internal, 78 configuration
";

/// The exit codes, after sysexits(3).
#[derive(Debug, Clone, Copy)]
enum Exit {
    Ok = 0,
    Usage = 64,
    Unavailable = 69,
    Internal = 70,
    Config = 78,
}

enum Command {
    Serve,
    Check,
    Say(String),
}

fn main() -> ExitCode {
    ExitCode::from(run() as u8)
}

fn run() -> Exit {
    let (command, path) = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            to_stderr(Level::Error, &format!("evenkeel: {error}\n{USAGE}"));
            return Exit::Usage;
        }
    };
    if let Command::Say(text) = command {
        return say(&text);
    }
    match command {
        Command::Check => check(path.as_deref()),
        _ => serve(path.as_deref()),
    }
}

fn load(path: Option<&Path>) -> Result<Loaded, Exit> {
    config::load(path, std::env::vars_os()).map_err(|mistakes| {
        to_stderr(Level::Error, &format!("{mistakes}\n"));
        Exit::Config
    })
}

fn check(path: Option<&Path>) -> Exit {
    let loaded = match load(path) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let of_the_unit = loaded.origin.as_deref();
    let of_the_unit = of_the_unit.map(|origin| preflight::as_the_unit(&loaded.config, origin));
    for note in loaded.notes.iter().chain(of_the_unit.iter().flatten()) {
        to_stderr(Level::Warn, &format!("note: {note}\n"));
    }
    match logging::could_start(&loaded.config.log) {
        Ok(()) => say("ok\n"),
        Err(why) => no_log(&loaded.config, &why),
    }
}

fn serve(path: Option<&Path>) -> Exit {
    // First of all: no signal may meet a process that does not know it.
    let shutdown = Shutdown::default();
    let asked = shutdown.clone();
    let listening = signals::listen(move |signal| on_signal(signal, &asked));
    let Loaded {
        config,
        origin,
        notes,
    } = match load(path) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    if let Err(why) = logging::start(&config.log) {
        return no_log(&config, &why);
    }
    logging::log_panics();
    if let Err(error) = listening {
        error!("cannot listen to signals: {error}");
        return Exit::Internal;
    }
    if let Some(origin) = origin {
        info!("configuration: {}", origin.display());
    }
    for note in notes {
        warn!("configuration: {note}");
    }
    shutdown.begin_to_serve();
    match start(&config) {
        Ok(app) => {
            shutdown.wait();
            app.drain();
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

/// There is a configuration, and no log.
fn no_log(config: &Config, why: &str) -> Exit {
    let file = config.log.file.as_deref().unwrap_or(Path::new(""));
    let text = format!("evenkeel: [log] file = {}: {why}\n", file.display());
    to_stderr(Level::Error, &text);
    Exit::Config
}

fn on_signal(signal: Signal, shutdown: &Shutdown) {
    match signal {
        Signal::Stop => match shutdown.ask() {
            Asked::First => {}
            Asked::BeforeStart => end_now("asked to end before anything was served"),
            Asked::Again => end_now("second signal: ending at once"),
        },
        Signal::Reload => logging::reopen("SIGHUP", "; changed settings need a restart"),
        Signal::Reopen => logging::reopen("SIGUSR1", ""),
    }
}

fn start(config: &Config) -> Result<App, Exit> {
    App::start(config).map_err(|error| {
        error!("{error}");
        if config.log.file.is_some() {
            to_stderr(Level::Error, &format!("evenkeel: {error}\n"));
        }
        match error {
            StartError::Bind(..) | StartError::Passed(_) => Exit::Unavailable,
            StartError::System(_) => Exit::Internal,
        }
    })
}

/// Nothing is drained, or whoever asks does not want to wait for it.
#[expect(clippy::disallowed_methods, reason = "the drain is not waited for")]
fn end_now(why: &str) {
    warn!("{why}");
    std::process::exit(Exit::Ok as i32);
}

fn arguments() -> Result<(Command, Option<PathBuf>), lexopt::Error> {
    use lexopt::prelude::*;
    let mut command = Command::Serve;
    let mut path: Option<OsString> = None;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("config") if path.is_none() => path = Some(parser.value()?),
            Long("check") => command = Command::Check,
            Long("help") | Short('h') => return Ok((Command::Say(USAGE.to_owned()), None)),
            Long("version") | Short('V') => {
                let version = format!("evenkeel {}\n", env!("CARGO_PKG_VERSION"));
                return Ok((Command::Say(version), None));
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok((command, path.map(PathBuf::from)))
}

/// Writes to stdout; a closed one is no reason to panic.
fn say(text: &str) -> Exit {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Exit::Ok,
        Err(_) => Exit::Internal,
    }
}
