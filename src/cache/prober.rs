//! The background prober: asks Redis whether it is well while the breaker is open, on a connection
//! of its own, so that no client request ever pays for a trial. Also looks once at the start, which
//! delays nothing and only logs.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use log::{debug, info, warn};
use redis::Value;

use crate::base::breaker::State;
use crate::base::clock::{self, Deadline};
use crate::cache::RedisCache;
use crate::cache::node::{Node, Reply};
use crate::cache::read::{get, text};
use crate::cache::wire::connection::{Connection, REPLY_MAX_BYTES};
use crate::cache::wire::fault::{Fault, is_out_of_reach};
use crate::observe::metrics::RedisOp;

/// A change of the reason is worth a line, but not more of them than this in one outage.
const REASONS_SAID_MAX: u32 = 5;
/// A Redis that is nearly too slow would be given up again at once.
const WELL_WITHIN: f64 = 0.8;

/// The prober's thread; ends when dropped.
pub(crate) struct Prober {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Stop {
    /// Guards whether to stop.
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Prober {
    /// Starts it. With `interval` zero it looks once and ends: the breaker is then closed by a
    /// trial. `probe_key` is read after the PING: an ACL or a cluster may refuse one and not the other.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(
        cache: Arc<RedisCache>,
        interval: Duration,
        probe_key: String,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let seen = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("prober".to_owned())
            .spawn(move || {
                for node in cache.slot_map().nodes() {
                    node.claim_first_probe();
                    look_once(node, &probe_key);
                }
                if !interval.is_zero() {
                    run(&cache, &probe_key, interval, &seen);
                }
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        *self
            .stop
            .stopped
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Stop {
    /// Waits for `limit`; whether to stop.
    fn wait(&self, limit: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(stopped, limit, |stopped| !*stopped);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The early check. A Redis that is not there opens the breaker before a client has to find out.
fn look_once(node: &Node, probe_key: &str) {
    match probe(node, probe_key) {
        // The nodes of a cluster are told of together.
        Ok(()) if node.clustered.is_some() => debug!("redis at {} is ready", node.address),
        Ok(()) => info!("redis at {} is ready", node.address),
        Err(_) if node.is_retired() => {}
        Err(fault) => {
            {
                let mut report = node.report();
                report.last_fault = Some(fault.clone());
                report.is_lost = true;
            }
            match node.breaker.trip(clock::now()) {
                Some(transition) => node.give_up(transition, "at start: ", &fault),
                None => warn!("redis at {} is not usable: {fault}", node.address),
            }
        }
    }
}

fn run(cache: &RedisCache, probe_key: &str, interval: Duration, stop: &Stop) {
    loop {
        // Jitter of a tenth: many instances must not knock at once.
        let jittered = interval.mul_f64(0.9 + fastrand::f64() * 0.2);
        if stop.wait(jittered) {
            return;
        }
        cache.factory.look_for_new_files();
        for node in cache.slot_map().nodes() {
            if node.breaker.state().0 != State::Closed {
                look_again(node, probe_key);
            } else if node.claim_first_probe() {
                look_once(node, probe_key);
            }
        }
    }
}

/// One probe of a node whose breaker is open.
fn look_again(node: &Node, probe_key: &str) {
    let done = probe(node, probe_key);
    if node.is_retired() {
        return;
    }
    match done {
        Ok(()) => {
            node.pool.discard_all();
            let now = clock::now();
            node.record_success(now);
            if let Some(transition) = node.breaker.probe_succeeded(now) {
                node.mark_recovered(transition, "a probe succeeded");
            }
        }
        Err(fault) => {
            let may_be_said = {
                let mut report = node.report();
                let before = report.last_fault.replace(fault.clone());
                let is_news = before.is_none_or(|before| fault.is_news_after(&before));
                report.reasons_said += u32::from(is_news);
                is_news && report.reasons_said <= REASONS_SAID_MAX
            };
            if node.say_misconfiguration(&fault) {
                return;
            }
            if may_be_said {
                info!("redis is still not usable: {fault} ({})", node.address);
            }
        }
    }
}

/// Whether a node is well.
pub(crate) fn probe(node: &Node, probe_key: &str) -> Result<(), Fault> {
    let began = clock::now();
    let done = try_probe(node, probe_key);
    node.count_call(RedisOp::Probe, &done, began);
    done
}

/// Connects, says PING and reads a key, all within half a request's budget, and the two replies well
/// within what would be a stall again.
fn try_probe(node: &Node, probe_key: &str) -> Result<(), Fault> {
    let deadline = Deadline::after(clock::now(), node.limits.timeout / 2);
    let dial = &node.dial;
    let mut link = Connection::open(&dial.endpoint, &dial.handshake, deadline, |_| true)?;
    let began = clock::now();
    let replies = link.call(
        &[redis::cmd("PING"), get(probe_key)],
        REPLY_MAX_BYTES,
        deadline,
    )?;
    let took = clock::now().saturating_duration_since(began);
    if took > node.limits.patience().mul_f64(WELL_WITHIN) {
        return Err(Fault::Slow(took));
    }
    let mut replies = replies.into_iter();
    match replies.next() {
        // A server that gives no PING is no reason not to read.
        Some(Value::ServerError(error)) if !is_out_of_reach(&error) => {
            return Err(Fault::from_reply(&error));
        }
        _ => {}
    }
    match replies.next() {
        // That the key is elsewhere is an answer too.
        Some(reply) => Reply::of(node, reply, text).map(drop),
        None => Err(Fault::Protocol("GET not answered".to_owned())),
    }
}
