//! The background prober: asks Redis whether it is well while the breaker is open, on a connection
//! of its own, so that no client request ever pays for a trial. Also looks once at the start, which
//! delays nothing and only logs.

use std::sync::Arc;
use std::time::Duration;

use log::{debug, info, warn};
use redis::Value;

use crate::base::breaker::State;
use crate::base::clock::{self, Deadline};
use crate::base::notify::{NotifiedThread, Notify};
use crate::cache::RedisCache;
use crate::cache::node::{Node, elapsed};
use crate::cache::routing::router::Router;
use crate::cache::wire::command::{Command, Get, command};
use crate::cache::wire::connection::REPLY_MAX_BYTES;
use crate::cache::wire::fault::{Fault, is_out_of_reach};
use crate::observe::metrics::RedisOp;

/// A Redis that is nearly too slow would be given up again at once.
const WELL_WITHIN: f64 = 0.8;

/// The prober's thread; ends when dropped.
pub(crate) struct Prober {
    _thread: NotifiedThread,
}

impl Prober {
    /// Starts it. With `interval` zero it looks once and ends: the breaker is then closed by a
    /// trial. `probe_key` is read after the PING: an ACL or a cluster may refuse one and not the other.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(
        cache: &RedisCache,
        interval: Duration,
        probe_key: String,
    ) -> std::io::Result<Self> {
        let router = Arc::clone(cache.router());
        let run = move |closed: &Notify| {
            for node in router.slot_map().nodes() {
                node.claim_first_probe();
                probe_first(node, &probe_key);
            }
            if !interval.is_zero() {
                run(&router, &probe_key, interval, closed);
            }
        };
        Ok(Self {
            _thread: NotifiedThread::spawn("prober", Arc::default(), run)?,
        })
    }
}

fn run(router: &Router, probe_key: &str, interval: Duration, closed: &Notify) {
    loop {
        // Jitter of a tenth: many instances must not knock at once.
        let jittered = interval.mul_f64(0.9 + fastrand::f64() * 0.2);
        if !closed.wait(Duration::ZERO, jittered) {
            return;
        }
        router.factory.reload_changed_files();
        for node in router.slot_map().nodes() {
            if node.breaker.state().0 != State::Closed {
                probe_again(node, probe_key);
            } else if node.claim_first_probe() {
                probe_first(node, probe_key);
            }
        }
    }
}

/// The early check. A Redis that is not there opens the breaker before a client has to find out.
fn probe_first(node: &Node, probe_key: &str) {
    let address = node.address();
    match probe(node, probe_key) {
        // The nodes of a cluster are told of together.
        Ok(()) if node.server().is_some() => debug!("redis at {address} is ready"),
        Ok(()) => info!("redis at {address} is ready"),
        Err(_) if node.is_retired() => {}
        Err(fault) => {
            node.log.record_fault(&fault);
            node.log.mark_lost();
            match node.breaker.trip(clock::now()) {
                Some(transition) => node.give_up(transition, "at start: ", &fault),
                None => warn!("redis at {address} is not usable: {fault}"),
            }
        }
    }
}

/// One probe of a node whose breaker is open.
fn probe_again(node: &Node, probe_key: &str) {
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
                node.log.say_recovered(transition, "a probe succeeded");
            }
        }
        Err(fault) => node.log.say_still_failing(&fault),
    }
}

/// Asks whether a node is well, and counts that.
///
/// # Errors
/// The [`Fault`] that shows that it is not.
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
    let mut connection = node.dial.connect(deadline)?;
    let began = clock::now();
    let commands = [command(&["PING"]), Get(probe_key).encode()];
    let mut replies = connection
        .call(&commands, REPLY_MAX_BYTES, deadline)?
        .into_iter();
    let took = elapsed(began);
    if took > node.limits.patience().mul_f64(WELL_WITHIN) {
        return Err(Fault::Slow(took));
    }
    match replies.next() {
        // A server that gives no PING is no reason not to read.
        Some(Value::ServerError(error)) if !is_out_of_reach(&error) => {
            return Err(Fault::from_reply(&error));
        }
        _ => {}
    }
    match replies.next() {
        // That the key is elsewhere is an answer too.
        Some(reply) => node.decode::<Get<'_>>(reply).map(drop),
        None => Err(Fault::Protocol("GET not answered".to_owned())),
    }
}
