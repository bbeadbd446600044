//! The life of the process: arguments, configuration, start, a signal, drain, exit code.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use evenkeel::app::{App, StartError};
use evenkeel::base::shutdown::Shutdown;
use evenkeel::config::{self, Config, Loaded};
use evenkeel::observe::logging;
use log::{error, info, warn};

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
            say_to_stderr(&format!("evenkeel: {error}\n{USAGE}"));
            return Exit::Usage;
        }
    };
    if let Command::Say(text) = command {
        return say(&text);
    }
    let loaded = match config::load(path.as_deref(), std::env::vars_os()) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            say_to_stderr(&format!("{mistakes}\n"));
            return Exit::Config;
        }
    };
    match command {
        Command::Check => {
            for note in &loaded.notes {
                say_to_stderr(&format!("note: {note}\n"));
            }
            say("ok\n")
        }
        _ => serve(&loaded),
    }
}

fn serve(loaded: &Loaded) -> Exit {
    let Loaded {
        config,
        origin,
        notes,
    } = loaded;
    if let Err(error) = logging::start(&config.log) {
        let file = config
            .log
            .file
            .as_deref()
            .unwrap_or_else(|| "".as_ref())
            .display();
        say_to_stderr(&format!("evenkeel: [log] file = {file}: {error}\n"));
        return Exit::Config;
    }
    logging::log_panics();
    let shutdown = match Shutdown::on_signals(end_now) {
        Ok(shutdown) => shutdown,
        Err(error) => {
            error!("cannot listen to signals: {error}");
            return Exit::Internal;
        }
    };
    if let Some(origin) = origin {
        info!("configuration: {}", origin.display());
    }
    for note in notes {
        warn!("configuration: {note}");
    }
    match start(config) {
        Ok(app) => {
            shutdown.wait();
            app.drain();
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

fn start(config: &Config) -> Result<App, Exit> {
    App::start(config).map_err(|error| {
        error!("{error}");
        if config.log.file.is_some() {
            say_to_stderr(&format!("evenkeel: {error}\n"));
        }
        match error {
            StartError::Bind(..) | StartError::Passed(_) => Exit::Unavailable,
            StartError::System(_) => Exit::Internal,
        }
    })
}

/// What the second signal does: its sender does not want to wait.
#[expect(clippy::disallowed_methods, reason = "the drain is not waited for")]
fn end_now() {
    log::logger().flush();
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

fn say_to_stderr(text: &str) {
    // There is nowhere else to report that stderr is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
