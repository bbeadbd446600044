//! Which signals the service hears, each on a thread that may log and lock. SIGINT and SIGTERM are meant to
//! stop it, SIGHUP and SIGUSR1 are what logrotate, init scripts and administrators send; what is sent by
//! accident ends nothing. SIGPIPE is ignored already by the standard library.

use std::io;
use std::sync::Arc;
use std::thread;

use rustix::process::Signal as Number;
use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGIO, SIGPROF, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXFSZ,
};
use signal_hook::iterator::Signals;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT or SIGTERM: end.
    Stop,
    /// SIGHUP: read again what can be read again.
    Reload,
    /// SIGUSR1: open the log file again.
    Reopen,
}

/// Taken and dropped: whose default is to end the process, though nobody who sends them means that. SIGXFSZ
/// comes when a log file meets `ulimit -f`, SIGPWR from what watches a power supply.
const IGNORED: [i32; 7] = [
    SIGUSR2,
    SIGALRM,
    SIGVTALRM,
    SIGPROF,
    SIGIO,
    SIGXFSZ,
    Number::POWER.as_raw(),
];

/// Calls `heard` for every signal that asks for something, from now on.
///
/// # Errors
/// When a signal is taken already or there is no thread to be had.
pub fn listen(heard: impl Fn(Signal) + Send + Sync + 'static) -> io::Result<()> {
    let heard = Arc::new(heard);
    let others = [SIGTERM, SIGHUP, SIGUSR1];
    let mut signals = Signals::new(others.iter().chain(&IGNORED))?;
    let on_interrupt = Arc::clone(&heard);
    ctrlc::set_handler(move || on_interrupt(Signal::Stop)).map_err(io::Error::other)?;
    let thread = thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGTERM => heard(Signal::Stop),
                SIGHUP => heard(Signal::Reload),
                SIGUSR1 => heard(Signal::Reopen),
                _ => {}
            }
        }
    })?;
    Ok(())
}
