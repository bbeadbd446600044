//! One Redis server: its breaker, its connections, the calls in flight to it and what is said about
//! it. A server that is down is its own outage and nobody else's, so whatever can fail is kept here, once
//! for each.

pub(crate) mod calls;
pub(crate) mod factory;
pub(crate) mod outage_log;
pub(crate) mod pool;
pub(crate) mod writes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use log::{debug, warn};
use redis::{ServerError, Value};

use crate::base::breaker::{Breaker, Permit, State, Transition};
use crate::base::clock::{self, Deadline};
use crate::base::ewma::Ewma;
use crate::base::notify::Notify;
use crate::cache::limits::Limits;
use crate::cache::node::calls::Calls;
use crate::cache::node::factory::NodeFactory;
use crate::cache::node::outage_log::OutageLog;
use crate::cache::node::pool::{Lease, Pool};
use crate::cache::node::writes::Writes;
use crate::cache::routing::redirect::Reply;
use crate::cache::status::{Connections, NodeStatus};
use crate::cache::wire::command::{Command, command};
use crate::cache::wire::dial::Dial;
use crate::cache::wire::fault::Fault;
use crate::config::{HostPort, Mode, RedisAddress};
use crate::observe::metrics::{Metrics, RedisOp};

/// One server, as this process sees it.
pub(crate) struct Node {
    /// Its number in the slot map, from 1: the lane in which its lookups wait.
    id: usize,
    /// Of a cluster: where it is, as its other nodes name it.
    server: Option<HostPort>,
    /// Without credentials: for people.
    address: String,
    pub(crate) limits: Arc<Limits>,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) pool: Pool,
    pub(crate) dial: Arc<Dial>,
    pub(crate) log: OutageLog,
    pub(crate) writes: Writes,
    calls: Calls,
    /// Of one read, in microseconds.
    read_us: Ewma,
    made_at: Instant,
    /// Whether MGET may be used: an ACL may allow GET alone, and in a cluster the keys of a batch are
    /// seldom of one slot.
    may_mget: AtomicBool,
    /// Lookups answered without it since its breaker opened.
    bypassed: AtomicU64,
    /// Wakes the topology thread when it is not what it was.
    pub(crate) notify: Arc<Notify>,
    was_probed: AtomicBool,
    /// Another node has replaced it: its failures change nothing and are not logged any more.
    is_retired: AtomicBool,
    pub(crate) metrics: Arc<Metrics>,
}

/// How a call is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallOptions {
    /// The thread that makes it, one of the `callers`.
    pub caller: usize,
    /// How many requests wait for it, and since when the first of them does.
    pub waiting: Option<(usize, Instant)>,
    /// By when it must be over.
    pub deadline: Deadline,
    /// With ASKING before each command: its slot is on the way to this node.
    pub asking: bool,
}

impl CallOptions {
    /// Of a call that no request waits for.
    pub(crate) fn unwaited(caller: usize, deadline: Deadline, asking: bool) -> Self {
        Self {
            caller,
            waiting: None,
            deadline,
            asking,
        }
    }
}

/// The call brought nothing: Redis is not to be asked again by the same request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unusable;

impl Node {
    /// The node at `address`. Opens no connection.
    pub(crate) fn new(id: usize, address: &RedisAddress, factory: &NodeFactory) -> Self {
        let dial = Arc::new(factory.dial(address));
        let (server, name) = match (factory.mode, address) {
            (Mode::Cluster, RedisAddress::Tcp(server)) => {
                (Some(server.clone()), format!("redis {server}"))
            }
            _ => (None, "redis".to_owned()),
        };
        let metrics = &factory.metrics;
        let now = clock::now();
        Self {
            id,
            may_mget: AtomicBool::new(server.is_none()),
            server,
            address: address.to_string(),
            limits: Arc::clone(&factory.limits),
            breaker: Arc::new(Breaker::new(factory.breaker.clone(), now)),
            pool: factory.pool(&dial),
            dial,
            log: OutageLog::new(name, address.to_string(), Arc::clone(metrics)),
            writes: Writes::default(),
            calls: Calls::new(factory.callers),
            read_us: Ewma::default(),
            made_at: now,
            bypassed: AtomicU64::new(0),
            notify: Arc::clone(&factory.notify),
            was_probed: AtomicBool::new(false),
            is_retired: AtomicBool::new(false),
            metrics: Arc::clone(metrics),
        }
    }

    /// The lane in which its lookups wait.
    pub(crate) fn id(&self) -> usize {
        self.id
    }

    /// Of a cluster: where it is, as its other nodes name it.
    pub(crate) fn server(&self) -> Option<&HostPort> {
        self.server.as_ref()
    }

    /// Without credentials: for people.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What is known of it, which serves `slots` slots.
    pub(crate) fn snapshot(&self, slots: usize, now: Instant) -> NodeStatus {
        let (state, since) = self.breaker.state();
        let (made, unused) = self.pool.slots();
        NodeStatus {
            address: self.address.clone(),
            slots,
            state,
            since: now.saturating_duration_since(since),
            last_fault: self.log.last_fault(),
            refuses_writes: self.writes.are_refused(),
            connections: Connections {
                made,
                unused,
                max: self.pool.size(),
            },
        }
    }

    /// Whether it was made or was of use after `moment`.
    pub(crate) fn was_used_after(&self, moment: Instant) -> bool {
        self.made_at > moment || self.log.last_success().is_some_and(|at| at > moment)
    }

    /// Whether it is worth asking.
    pub(crate) fn is_usable(&self, now: Instant) -> bool {
        !self.breaker.refuses(now)
    }

    /// Whether a write would be tried now.
    pub(crate) fn takes_writes(&self, now: Instant) -> bool {
        !self.writes.are_paused(now) && self.is_usable(now)
    }

    /// Leave to make one call.
    #[must_use]
    pub(crate) fn permit(&self, now: Instant) -> Option<Permit> {
        let permit = self.breaker.permit(now)?;
        if permit.is_trial() {
            debug!("redis breaker half-open: one request is the trial");
        }
        Some(permit)
    }

    /// Leave to make a call that no client waits for: it is never the trial.
    #[must_use]
    pub(crate) fn permit_to_upkeep(&self, now: Instant) -> Option<Permit> {
        self.permit(now).filter(|permit| !permit.is_trial())
    }

    /// Makes one call: draws a connection for `work`, and closes it where the fault that it met says so.
    /// The call is over when this returns, so that what its failure leads to never ends this call
    /// itself.
    ///
    /// # Errors
    /// The [`Fault`] that was met; what it means for the node is told to [`Self::failed`].
    pub(crate) fn call<T>(
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

    /// Sends `commands` in one go, as part of a call; what the reply to each means. The replies are
    /// `max_bytes` in all at most.
    ///
    /// # Errors
    /// The [`Fault`] of the connection or of one of the replies.
    pub(crate) fn ask<C: Command>(
        &self,
        lease: &mut Lease,
        commands: impl ExactSizeIterator<Item = C>,
        max_bytes: u64,
        options: CallOptions,
    ) -> Result<Vec<Reply<C::Answer>>, Fault> {
        let each = 1 + usize::from(options.asking);
        let mut sent = Vec::with_capacity(commands.len() * each);
        for one in commands {
            if options.asking {
                sent.push(command(&["ASKING"]));
            }
            sent.push(one.encode());
        }
        let connection = lease.connection()?;
        let replies = connection.call(&sent, max_bytes, options.deadline)?;
        let replies = replies.into_iter().skip(each - 1).step_by(each);
        replies.map(|reply| self.decode::<C>(reply)).collect()
    }

    /// What a reply to a command about one key means.
    ///
    /// # Errors
    /// That of [`Command::decode`].
    pub(crate) fn decode<C: Command>(&self, reply: Value) -> Result<Reply<C::Answer>, Fault> {
        if let (Value::ServerError(error), Some(own)) = (&reply, &self.server)
            && let Some(reply) = Reply::of_error(error, &own.host)
        {
            if matches!(reply, Reply::Nowhere) {
                self.notify.notify();
            }
            return Ok(reply);
        }
        C::decode(reply).map(Reply::Here)
    }

    /// Whether MGET may be used.
    pub(crate) fn may_mget(&self) -> bool {
        self.may_mget.load(Ordering::Relaxed)
    }

    /// From now on GET alone is used.
    pub(crate) fn stop_using_mget(&self, error: &ServerError) {
        if self.may_mget.swap(false, Ordering::Relaxed) {
            let why = Fault::from_reply(error);
            warn!("redis gives no MGET, so keys are read one by one with GET: {why}");
        }
    }

    pub(crate) fn count_call<T>(&self, op: RedisOp, done: &Result<T, Fault>, began: Instant) {
        let result = done.as_ref().err().map_or("ok", Fault::word);
        let took = clock::now().saturating_duration_since(began);
        self.metrics.redis.called(op, result, took);
    }

    /// A call was answered.
    pub(crate) fn succeeded(&self, permit: Permit) {
        let now = clock::now();
        self.record_success(now);
        if let Some(transition) = permit.succeeded(now) {
            self.log.say_recovered(transition, "the trial succeeded");
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
        self.log.record_success(self.pool.take_lost(), now);
    }

    /// Lets it go: its calls in flight end, no connection is opened, and the open ones close with its
    /// last holder.
    pub(crate) fn retire(&self) {
        self.is_retired.store(true, Ordering::Release);
        self.pool.close();
        self.calls.give_up_all();
        if self.breaker.state().0 != State::Closed {
            self.log.end();
        }
    }

    /// Whether another node has replaced it.
    pub(crate) fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Acquire)
    }

    /// Whether it was not probed yet; the next caller hears that it was.
    pub(crate) fn claim_first_probe(&self) -> bool {
        !self.was_probed.swap(true, Ordering::Relaxed)
    }

    /// It replaces another node: what was written there last may be missing here.
    pub(crate) fn take_over(&self, now: Instant) {
        self.log.mark_back(now);
    }

    /// A call has failed.
    pub(crate) fn failed(&self, permit: Permit, fault: &Fault) {
        if self.is_retired() {
            return;
        }
        if fault.ends_the_generation() {
            self.pool.discard_all();
            self.log.mark_lost();
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
            self.log.record_fault(fault);
        }
        match transition {
            Some(transition) => self.give_up(transition, "", fault),
            None => drop(self.log.say_misconfiguration(fault)),
        }
    }

    /// Looks at the calls in flight: one that lookups have waited for beyond [`Limits::patience`] is
    /// given up. Opens the breaker when they stall: `stall_calls` lookups, `waiting` ones
    /// in the queue included, have waited so long and nothing has succeeded meanwhile.
    pub(crate) fn watch(&self, waiting: usize, now: Instant) {
        let patience = self.limits.patience();
        let stalled = self.calls.check_stalled(patience, now);
        if stalled == 0 {
            return;
        }
        let last_success = self.log.last_success();
        let goes_on = last_success.is_some_and(|at| now.saturating_duration_since(at) < patience);
        let transition = match stalled + waiting >= self.limits.stall_calls && !goes_on {
            true => self.breaker.trip(now),
            false => None,
        };
        let Some(transition) = transition else {
            return self.calls.give_up_stalled(patience, now);
        };
        let fault = Fault::Stalled(stalled + waiting, patience);
        self.log.record_fault(&fault);
        self.give_up(transition, "", &fault);
    }

    /// The breaker has opened because of `fault`, met `when`: what is in flight ends with it.
    pub(crate) fn give_up(&self, transition: Transition, when: &str, fault: &Fault) {
        self.log.mark_lost();
        self.pool.discard_all();
        self.calls.give_up_all();
        self.notify.notify();
        if transition.from == State::Closed {
            self.bypassed.store(0, Ordering::Relaxed);
        }
        self.log.say_opened(transition, when, fault);
    }

    /// How long a lookup may wait for a reader: what a read usually takes is left of its patience then,
    /// or half of that.
    pub(crate) fn patience_in_queue(&self) -> Duration {
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
    pub(crate) fn count_bypassed(&self, count: usize) {
        self.bypassed.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// How long ago `since` was.
pub(crate) fn elapsed(since: Instant) -> Duration {
    clock::now().saturating_duration_since(since)
}
