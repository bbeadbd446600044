//! One Redis server: its breaker, its connections, the calls in flight to it and what is said about
//! it. A dead server is its own outage and nobody else's, so whatever can fail is kept here, once for
//! each.

pub(crate) mod calls;
pub(crate) mod factory;
pub(crate) mod outage_log;
pub(crate) mod pool;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::debug;
use redis::{Cmd, Value};

use crate::base::breaker::{Breaker, Permit, State};
use crate::base::clock::{self, Deadline};
use crate::base::ewma::Ewma;
use crate::base::notify::Notify;
use crate::cache::limits::Limits;
use crate::cache::node::calls::Calls;
use crate::cache::node::factory::NodeFactory;
use crate::cache::node::pool::{Dial, Lease, Pool};
use crate::cache::routing::hash_slot::{Redirect, is_about_a_slot};
use crate::cache::status::Mode;
use crate::cache::wire::fault::Fault;
use crate::cache::write::Writes;
use crate::config::{HostPort, RedisAddress};
use crate::observe::metrics::{Metrics, RedisOp};

/// One server, as this process sees it.
pub struct Node {
    /// Its own number among the nodes of a table, from 1: the lane in which its lookups wait.
    place: usize,
    /// As a node of a cluster: where it is.
    pub(crate) clustered: Option<HostPort>,
    /// Where it is, without credentials: for people.
    pub(crate) address: String,
    /// What its outages and its breaker are called.
    pub(crate) name: String,
    pub(crate) limits: Arc<Limits>,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) pool: Pool,
    pub(crate) dial: Arc<Dial>,
    calls: Calls,
    /// Of one read, in microseconds.
    read_us: Ewma,
    /// When it was made.
    born: Instant,
    /// Whether MGET may be used: an ACL may allow GET alone, and the keys of a batch are seldom of one
    /// slot.
    pub(crate) may_mget: AtomicBool,
    /// Lookups answered without it since its breaker opened.
    bypassed: AtomicU64,
    /// Guards what is said about the outage.
    report: Mutex<Report>,
    pub(crate) writes: Writes,
    /// Rung when it is not what it was.
    pub(crate) notify: Arc<Notify>,
    /// It was asked whether it is there.
    was_looked_at: AtomicBool,
    /// Another has taken its place: what becomes of it is nobody's business any more.
    is_retired: AtomicBool,
    pub(crate) metrics: Arc<Metrics>,
}

/// What is known of the last time that it failed.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) last_success: Option<Instant>,
    /// A connection was lost, or it was given up, and has not been of use since.
    pub(crate) is_lost: bool,
    /// When it was of use again after it had been lost.
    back_since: Option<Instant>,
    pub(crate) last_fault: Option<Fault>,
    pub(crate) misconfiguration_was_said: bool,
    /// Reasons told by the prober since the breaker opened.
    pub(crate) reasons_said: u32,
}

/// On what terms a call is made.
#[derive(Debug, Clone, Copy)]
pub struct CallOptions {
    /// The thread that makes it, one of the `callers`.
    pub caller: usize,
    /// Requests that wait for it, and since when the first of them does; none: nobody does.
    pub waiting: Option<(usize, Instant)>,
    /// By when it must be over.
    pub deadline: Deadline,
    /// With ASKING before each command: its slot is on the way to this node.
    pub asking: bool,
}

/// What a node of a cluster says to one command; any other node has it, whatever it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply<T> {
    /// The reply itself.
    Here(T),
    /// Ask there.
    Elsewhere(Redirect),
    /// Nobody serves that slot.
    Nowhere,
}

impl<T> Reply<T> {
    /// The replies that are none of another node's, with what they come to.
    ///
    /// # Errors
    /// That of `meaning`.
    pub(crate) fn of(
        node: &Node,
        value: Value,
        meaning: impl FnOnce(Value) -> Result<T, Fault>,
    ) -> Result<Self, Fault> {
        if let (Value::ServerError(error), Some(by)) = (&value, &node.clustered) {
            if let Some(redirect) = Redirect::of(error, &by.host) {
                return Ok(Self::Elsewhere(redirect));
            }
            // To a node without a name, too.
            if is_about_a_slot(error) || matches!(error.code(), "MOVED" | "ASK") {
                node.notify.notify();
                return Ok(Self::Nowhere);
            }
        }
        meaning(value).map(Self::Here)
    }
}

impl Node {
    /// The node at `address`, made by `factory`, with a number of its own. Opens no connection.
    pub(crate) fn new(place: usize, address: &RedisAddress, factory: &NodeFactory) -> Self {
        let dial = Arc::new(factory.dial(address));
        let (clustered, name) = match (factory.mode, address) {
            (Mode::Cluster, RedisAddress::Tcp(server)) => {
                (Some(server.clone()), format!("redis {server}"))
            }
            _ => (None, "redis".to_owned()),
        };
        Self {
            place,
            may_mget: AtomicBool::new(clustered.is_none()),
            clustered,
            address: address.to_string(),
            name,
            born: clock::now(),
            limits: Arc::clone(factory.limits()),
            breaker: Arc::new(Breaker::new(factory.breaker.clone(), clock::now())),
            pool: factory.pool(&dial),
            dial,
            calls: Calls::new(factory.callers),
            read_us: Ewma::default(),
            bypassed: AtomicU64::new(0),
            report: Mutex::default(),
            writes: Writes::default(),
            notify: Arc::clone(&factory.notify),
            was_looked_at: AtomicBool::new(false),
            is_retired: AtomicBool::new(false),
            metrics: Arc::clone(&factory.metrics),
        }
    }

    /// The lane in which its lookups wait.
    #[must_use]
    pub fn place(&self) -> usize {
        self.place
    }

    /// Where it is, as a node of a cluster.
    pub(crate) fn server(&self) -> Option<&HostPort> {
        self.clustered.as_ref()
    }

    /// Whether it was made or was of use after `moment`.
    pub(crate) fn was_used_after(&self, moment: Instant) -> bool {
        self.born > moment || self.report().last_success.is_some_and(|at| at > moment)
    }

    /// Where it is, for people.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether it is worth asking.
    #[must_use]
    pub fn is_usable(&self, now: Instant) -> bool {
        !self.breaker.refuses(now)
    }

    /// Leave to make one call.
    #[must_use]
    pub fn permit(&self, now: Instant) -> Option<Permit> {
        let permit = self.breaker.permit(now)?;
        if permit.is_trial() {
            debug!("redis breaker half-open: one request is the trial");
        }
        Some(permit)
    }

    /// Leave to make a call that no client waits for: it is never the trial.
    pub(crate) fn permit_to_upkeep(&self, now: Instant) -> Option<Permit> {
        self.permit(now).filter(|permit| !permit.is_trial())
    }

    /// Draws a connection for one call on `terms`, and closes it where the fault that it met says so.
    /// The call is over when this returns, so that what its failure leads to never ends this call
    /// itself.
    pub(crate) fn on_a_connection<T>(
        &self,
        op: RedisOp,
        options: CallOptions,
        work: impl FnOnce(&mut Lease) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let began = clock::now();
        let (lookups, since) = options.waiting.unwrap_or((0, began));
        // However long they have waited for this call, it has half of their patience.
        let half_ago = began.checked_sub(self.limits.patience() / 2);
        let since = since.max(half_ago.unwrap_or(began));
        let call = self.calls.begin(options.caller, lookups, since);
        let lease = self
            .pool
            .draw(options.deadline, |socket| call.attach_socket(socket));
        let done = lease.and_then(|mut lease| {
            let done = work(&mut lease);
            if done.as_ref().is_err_and(Fault::costs_the_connection) {
                lease.discard();
            }
            done
        });
        let done = match done {
            Err(_) if call.was_given_up() => Err(Fault::GivenUp),
            done => done,
        };
        self.count_call(op, &done, began);
        done
    }

    /// Sends `commands` on a connection that was drawn, as `terms` want them; a reply to each,
    /// `max_bytes` in all.
    pub(crate) fn exchange(
        lease: &mut Lease,
        mut commands: Vec<Cmd>,
        max_bytes: u64,
        options: CallOptions,
    ) -> Result<Vec<Value>, Fault> {
        let link = lease.link()?;
        if !options.asking {
            return link.call(&commands, max_bytes, options.deadline);
        }
        let asking = redis::cmd("ASKING");
        commands = commands
            .into_iter()
            .flat_map(|command| [asking.clone(), command])
            .collect();
        let replies = link.call(&commands, max_bytes, options.deadline)?;
        Ok(replies.into_iter().skip(1).step_by(2).collect())
    }

    pub(crate) fn count_call<T>(&self, op: RedisOp, done: &Result<T, Fault>, began: Instant) {
        let result = done.as_ref().err().map_or("ok", Fault::word);
        let took = clock::now().saturating_duration_since(began);
        self.metrics.redis.called(op, result, took);
    }

    pub(crate) fn succeeded(&self, permit: Permit) {
        let now = clock::now();
        self.record_success(now);
        if let Some(transition) = permit.succeeded(now) {
            self.mark_recovered(transition, "the trial succeeded");
        }
    }

    /// A call that began at `began`, and that no lookup waited for, was answered. Later than a lookup
    /// would have waited it says nothing.
    pub(crate) fn upkeep_succeeded(&self, permit: Permit, began: Instant) {
        if elapsed(began) <= self.limits.patience() {
            self.succeeded(permit);
        }
    }

    pub(crate) fn record_success(&self, now: Instant) {
        let has_lost = self.pool.take_lost();
        let mut report = self.report();
        report.last_success = Some(now);
        if std::mem::take(&mut report.is_lost) || has_lost {
            report.back_since = Some(now);
        }
    }

    /// Since when it is of use again, if it was ever lost: what it had may be gone.
    #[must_use]
    pub fn back_since(&self) -> Option<Instant> {
        self.report().back_since
    }

    /// From now on nobody asks it: what is in flight ends, no connection is opened, and the open ones
    /// are closed with the last who holds it.
    pub(crate) fn retire(&self) {
        self.is_retired.store(true, Ordering::Release);
        self.pool.close();
        self.calls.give_up_all();
        if self.breaker.state().0 != State::Closed {
            self.metrics.outage_ended(&self.name);
        }
    }

    /// Whether another has taken its place.
    pub(crate) fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Acquire)
    }

    /// Whether nobody has looked whether it is there; the next one need not.
    pub(crate) fn claim_first_probe(&self) -> bool {
        !self.was_looked_at.swap(true, Ordering::Relaxed)
    }

    /// It takes the place of another: what was written there last may be missing here.
    pub(crate) fn takes_over(&self, now: Instant) {
        self.report().back_since = Some(now);
    }

    pub(crate) fn failed(&self, permit: Permit, fault: &Fault) {
        if self.is_retired() {
            return;
        }
        if fault.ends_the_generation() {
            self.pool.discard_all();
            self.report().is_lost = true;
            self.notify.notify();
        }
        if !fault.counts_as_failure() {
            return;
        }
        let now = clock::now();
        let transition = match fault.is_misconfiguration() {
            true => self.breaker.trip(now),
            false => permit.failed(now),
        };
        // A call that was given up when the breaker opened is no news.
        if transition.is_some() || self.breaker.state().0 == State::Closed {
            self.report().last_fault = Some(fault.clone());
        }
        match transition {
            Some(transition) => self.give_up(transition, "", fault),
            None => drop(self.say_misconfiguration(fault)),
        }
    }

    /// Looks at the calls in flight: one that lookups have waited for beyond [`Limits::patience`] is
    /// given up. Opens the breaker when they stall (DESIGN 3, 2b): `stall_calls` lookups, `waiting` ones
    /// in the queue included, have waited so long and nothing has succeeded meanwhile.
    pub(crate) fn watch(&self, waiting: usize, now: Instant) {
        let patience = self.limits.patience();
        let stalled = self.calls.stalled(patience, now);
        if stalled == 0 {
            return;
        }
        let last_success = self.report().last_success;
        let goes_on = last_success.is_some_and(|at| now.saturating_duration_since(at) < patience);
        let transition = match stalled + waiting >= self.limits.stall_calls && !goes_on {
            true => self.breaker.trip(now),
            false => None,
        };
        let Some(transition) = transition else {
            return self.calls.give_up_stalled(patience, now);
        };
        let fault = Fault::Stalled(stalled + waiting, patience);
        self.report().last_fault = Some(fault.clone());
        self.give_up(transition, "", &fault);
    }

    /// How long a lookup may wait for a reader: what a read usually takes is left of its patience then,
    /// or half of that.
    #[must_use]
    pub fn patience_in_queue(&self) -> Duration {
        let patience = self.limits.patience();
        let read = Duration::from_micros(self.read_us.value());
        patience.saturating_sub(read).min(patience / 2)
    }

    /// A read took so long, or was given up after so long.
    pub(crate) fn learn_read_time(&self, took: Duration) {
        self.read_us.learn_peak(took.as_micros() as u64);
    }

    /// Whether a call is in flight.
    pub(crate) fn is_calling(&self) -> bool {
        self.calls.is_any()
    }

    /// Lookups answered without it since its breaker opened.
    pub(crate) fn bypassed(&self) -> u64 {
        self.bypassed.load(Ordering::Relaxed)
    }

    /// So many lookups were answered without it.
    pub fn count_bypassed(&self, count: usize) {
        self.bypassed.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn give_up_calls(&self) {
        self.calls.give_up_all();
    }

    pub(crate) fn forget_bypassed(&self) {
        self.bypassed.store(0, Ordering::Relaxed);
    }

    pub(crate) fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long ago `since` was.
pub(crate) fn elapsed(since: Instant) -> Duration {
    clock::now().saturating_duration_since(since)
}
