//! The thread that feeds systemd's watchdog and keeps the status line true. It feeds only while the
//! service serves: while a worker answers a request to ourselves through the real port. A service that is
//! only slow or full must not be ended, for a restart makes neither better.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use log::warn;

use crate::base::address::Address;
use crate::base::breaker::State;
use crate::base::clock::{self, Deadline};
use crate::observe::logging::LogThrottle;
use crate::observe::metrics::Outcome;
use crate::ops::health::{Health, SelfCheck};
use crate::ops::systemd::notify::{Notifier, watchdog_limit};
use crate::ops::systemd::self_request;

/// Self-requests within the limit of the watchdog: three have to fail in a row before systemd ends the
/// process. Each may take until the next one is due.
const ASKED_PER_LIMIT: u32 = 4;
/// How often the status line is brought up to date.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// The service that is watched.
pub(crate) struct Watched {
    pub(crate) health: Arc<Health>,
    /// Where it listens.
    pub(crate) address: Address,
    pub(crate) request_timeout: Duration,
}

/// The running thread.
pub(crate) struct Watchdog {
    notifier: Arc<Notifier>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Tells systemd that the service is ready, and goes on telling it that it is well. `None` without
    /// systemd.
    ///
    /// # Errors
    /// There is no thread left.
    pub(crate) fn start(watched: Watched) -> io::Result<Option<Self>> {
        let Some(notifier) = Notifier::from_environment().map(Arc::new) else {
            return Ok(None);
        };
        let limit = watchdog_limit();
        if let Some(limit) = limit.filter(|&limit| limit <= watched.request_timeout) {
            warn!(
                "WatchdogSec= is {limit:?}: requests that hold all connections for [server] \
                 request_timeout would count as a service that is stuck"
            );
        }
        let status = watched.status();
        notifier.tell(&format!("READY=1\nSTATUS={status}"));
        let feeding = Feeding {
            seen: watched.signs(),
            watched,
            notifier: Arc::clone(&notifier),
            interval: limit.map(|limit| limit / ASKED_PER_LIMIT),
            status,
            said: LogThrottle::default(),
        };
        let (stop, stopped) = mpsc::channel();
        let spawned = thread::Builder::new().name("watchdog".to_owned());
        let thread = spawned.spawn(move || feeding.run(&stopped))?;
        Ok(Some(Self {
            notifier,
            stop: Some(stop),
            thread: Some(thread),
        }))
    }

    /// Tells systemd that the service is draining.
    pub(crate) fn tell_stopping(&self, status: &str) {
        self.notifier.tell(&format!("STOPPING=1\nSTATUS={status}"));
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Feeding {
    watched: Watched,
    notifier: Arc<Notifier>,
    /// Between two self-requests; none without a watchdog.
    interval: Option<Duration>,
    /// As they were after the last self-request.
    seen: Signs,
    status: String,
    said: LogThrottle,
}

impl Feeding {
    fn run(mut self, stopped: &Receiver<()>) {
        let mut due = clock::now();
        loop {
            let now = clock::now();
            if let Some(interval) = self.interval
                && now >= due
            {
                due = now + interval;
                self.feed(Deadline::after(now, interval));
            }
            self.tell_status();
            let pause = match self.interval {
                Some(_) => STATUS_INTERVAL.min(due.saturating_duration_since(clock::now())),
                None => STATUS_INTERVAL,
            };
            if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// One self-request; feeds the watchdog if it shows that the service serves. A draining service has
    /// closed its port, so it is fed anyway: `drain_timeout` and `TimeoutStopSec=` bound its time.
    fn feed(&mut self, deadline: Deadline) {
        let Watched {
            health, address, ..
        } = &self.watched;
        let is_wanted = || !health.is_draining();
        let target = health.self_check.target();
        let answer = self_request::ask(address, target, deadline, &is_wanted);
        let before = std::mem::replace(&mut self.seen, self.watched.signs());
        if health.is_draining() || is_well(&answer, before, self.seen) {
            self.notifier.tell("WATCHDOG=1");
        } else if let Some(more) = self.said.say("self-request", clock::now()) {
            let said = match &answer {
                // Its body says what is wrong.
                Ok(answer) => {
                    let body = answer.lines().last().unwrap_or("no answer");
                    body.chars().filter(|c| !c.is_control()).take(200).collect()
                }
                Err(error) => error.to_string(),
            };
            warn!(
                "systemd's watchdog is not fed: no worker says that all is well when we ask ourselves: \
                 {said}{more}"
            );
        }
    }

    fn tell_status(&mut self) {
        let status = self.watched.status();
        if status != self.status && !self.watched.health.is_draining() {
            self.notifier.tell(&format!("STATUS={status}"));
            self.status = status;
        }
    }
}

/// Counts that show without a request whether the service's threads work.
#[derive(Debug, Clone, Copy)]
struct Signs {
    /// How often the accept loop had no room.
    short_of_room: u64,
    /// Pieces of work that workers have finished, and values that were served: while Redis is down the
    /// event loop serves them from memory, and the workers have nothing to do.
    served: u64,
}

/// Whether the service serves. A request without an answer is excused in one case: the accept loop
/// lives and has no room for it, and other requests are served meanwhile. That is overload, and a restart
/// would lose what is served.
fn is_well(answer: &io::Result<String>, before: Signs, after: Signs) -> bool {
    let has_no_room = match answer {
        Ok(answer) if !answer.is_empty() => return SelfCheck::is_sound(answer),
        // Our connection was evicted before its request was read.
        Ok(_) => false,
        Err(error) => is_shortage(error),
    };
    let has_no_room = has_no_room || after.short_of_room > before.short_of_room;
    has_no_room && after.served > before.served
}

/// Whether this side has no descriptor or port left for the request.
fn is_shortage(error: &io::Error) -> bool {
    let is_about_the_service = matches!(
        error.kind(),
        ErrorKind::TimedOut
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::InvalidData
    );
    !is_about_the_service
}

impl Watched {
    fn signs(&self) -> Signs {
        use Outcome::{MemoryFresh, MemoryStale, NoSuchThing, Redis, Source};
        let values = [Redis, MemoryFresh, MemoryStale, Source, NoSuchThing];
        let Health {
            metrics, progress, ..
        } = &*self.health;
        let values = values.iter().map(|&o| metrics.answers(o)).sum::<u64>();
        Signs {
            short_of_room: metrics.short_of_room.get(),
            served: progress.finished() + values,
        }
    }

    /// One line for `systemctl status`.
    fn status(&self) -> String {
        let policy = &self.health.policy;
        let redis = policy.cache().status(clock::now());
        let sources = policy.sources().iter();
        let away = sources.filter(|source| source.breaker.state().0 != State::Closed);
        let away: String = away
            .map(|source| format!("; source {} is not usable", source.name))
            .collect();
        if redis.is_up() {
            return format!("serving on {}; redis up{away}", self.address);
        }
        let worst = redis.worst();
        let fault = worst.and_then(|node| node.last_fault.as_ref());
        let fault = fault.or(redis.fault.as_ref()).cloned().unwrap_or_default();
        // Part of the text comes from Redis: it must not begin a line of its own.
        let fault = fault.replace(|c: char| c.is_control(), " ");
        let state = worst.map_or(State::Open, |node| node.state).word();
        let without = match redis.is_down() {
            true => "without redis",
            false => "without redis for some of the keys",
        };
        format!(
            "serving on {} {without} (breaker {state}): {fault}{away}",
            self.address
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: Signs = Signs {
        short_of_room: 3,
        served: 7,
    };

    fn after(short_of_room: u64, served: u64) -> Signs {
        Signs {
            short_of_room,
            served,
        }
    }

    #[test]
    fn only_the_answer_of_a_worker_counts() {
        let busy = after(4, 8);
        let well = |answer: &str| is_well(&Ok(answer.to_owned()), BEFORE, busy);
        assert!(well(
            "HTTP/1.1 200 OK\r\n\r\n{\"status\":\"ok\",\"worker\":\"reader-0\"}"
        ));
        // By the front, or by another process on our port.
        assert!(!well("HTTP/1.1 200 OK\r\n\r\n{\"status\":\"ok\"}"));
        assert!(!well(
            "HTTP/1.1 503 X\r\n\r\n{\"status\":\"down\",\"worker\":\"reader-0\"}"
        ));
    }

    #[test]
    fn overload_is_no_reason_to_end_the_process() {
        let times_out = || Err(ErrorKind::TimedOut.into());
        assert!(is_well(&times_out(), BEFORE, after(4, 8)));
        assert!(is_well(&Ok(String::new()), BEFORE, after(4, 8)));
        assert!(is_well(
            &Err(io::Error::from_raw_os_error(24)),
            BEFORE,
            after(3, 8)
        ));
    }

    #[test]
    fn a_door_that_does_not_open_and_workers_that_do_not_work_are_one() {
        let times_out = || Err(ErrorKind::TimedOut.into());
        assert!(
            !is_well(&times_out(), BEFORE, after(3, 8)),
            "there was room"
        );
        assert!(
            !is_well(&times_out(), BEFORE, after(4, 7)),
            "nobody was served"
        );
        let refused = Err(ErrorKind::ConnectionRefused.into());
        assert!(!is_well(&refused, BEFORE, after(3, 8)));
    }
}
