//! Redis as a cache that may be gone at any moment: lookups, writes, and whether it is worth asking.
//! Everything that knows the Redis protocol or its client crates is in this folder; nothing here
//! knows routes, sources or HTTP.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{error, info, warn};
use redis::Value;

use crate::breaker::{Breaker, Permit, State, Transition};
use crate::clock::{self, Deadline};
use crate::config::{self, RedisAddress, Servers};
use crate::resolver::HostResolver;

pub mod calls;
pub mod fault;
pub mod handshake;
pub mod link;
pub mod lives;
pub mod pool;
pub mod prober;
pub mod socket;
pub mod tls;
pub mod write;

use calls::Calls;
use fault::{Fault, is_about_a_key, is_out_of_reach};
use link::{Endpoint, Handshake};
use pool::{Dial, Drawn, Pool};
use tls::Connector;

/// Bytes of values that are asked for at once, as far as can be foreseen.
const BATCH_BYTES: u64 = 2 * 1024 * 1024;
/// Redis is never found too slow within this time: a server that forks or a busy machine takes it.
const PATIENCE_MIN: Duration = Duration::from_millis(100);
/// A reply of so many bytes may take its time.
const LARGE_REPLY_BYTES: usize = 64 * 1024;

/// Redis, as one process sees it.
pub struct Cache {
    /// Where it is, without credentials: for people.
    address: String,
    timeout: Duration,
    stall_calls: usize,
    /// In microseconds; see [`Self::patience`].
    patience_us: AtomicU64,
    breaker: Arc<Breaker>,
    pool: Pool,
    dial: Arc<Dial>,
    calls: Calls,
    /// Bytes of the values that were read last, later ones counting more; see [`Self::batch_max`].
    usual_bytes: AtomicU64,
    /// Whether MGET may be used: an ACL may allow GET alone.
    may_mget: AtomicBool,
    /// Lookups answered without Redis since the breaker opened.
    bypassed: AtomicU64,
    /// Guards what is said about the outage.
    report: Mutex<Report>,
    writes: write::Writes,
}

/// What is known of the last time that Redis failed.
#[derive(Debug, Default)]
struct Report {
    last_success: Option<Instant>,
    /// A connection was lost, or Redis was given up, and has not been of use since.
    is_lost: bool,
    /// When it was of use again after it had been lost.
    back_since: Option<Instant>,
    last_fault: Option<String>,
    misconfiguration_was_said: bool,
}

/// What `/healthz` and the metrics show.
#[derive(Debug, Clone)]
pub struct Status {
    /// Without credentials.
    pub address: String,
    /// Of the breaker.
    pub state: State,
    /// How long the breaker has been in it.
    pub since: Duration,
    /// In words, the last one met.
    pub last_fault: Option<String>,
    /// Connections: slots made, unused, at most.
    pub connections: (u32, u32, u32),
}

/// The call brought nothing: Redis is not to be asked again by the same request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unusable;

impl Cache {
    /// For `callers` threads that make calls. Opens no connection.
    #[must_use]
    pub fn new(redis: &config::Redis, breaker: &config::Breaker, callers: usize) -> Self {
        let (server, db) = match &redis.servers {
            Servers::Single { address, db } => (address.clone(), *db),
            // Not found out yet; whatever the first one is, it answers for no key that is not its own.
            Servers::Sentinel { nodes, .. } | Servers::Cluster { nodes } => {
                (RedisAddress::Tcp(nodes[0].clone()), 0)
            }
        };
        let address = server.to_string();
        let endpoint = match server {
            // An address may change with a fail-over: every connect looks again.
            RedisAddress::Tcp(_) => {
                Endpoint::Tcp(HostResolver::new(address.clone(), Duration::ZERO))
            }
            RedisAddress::Unix(path) => Endpoint::Unix(path.into_boxed_path()),
        };
        let tls = redis.tls.as_ref().map(|tls| Arc::new(Connector::new(tls)));
        let dial = Arc::new(Dial {
            endpoint,
            handshake: Handshake::new(tls, redis.protocol, redis.login.clone(), db),
        });
        Self {
            address,
            timeout: redis.timeout,
            stall_calls: breaker.stall_calls,
            patience_us: AtomicU64::new((redis.timeout / 2).as_micros() as u64),
            breaker: Arc::new(Breaker::new(breaker, clock::now())),
            pool: Pool::new(Arc::clone(&dial), redis.pool_size),
            dial,
            calls: Calls::new(callers),
            usual_bytes: AtomicU64::new(0),
            may_mget: AtomicBool::new(true),
            bypassed: AtomicU64::new(0),
            report: Mutex::default(),
            writes: write::Writes::default(),
        }
    }

    /// Budget of one request for everything it does with Redis.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long a lookup waits for Redis until that counts as a stall: half the budget, or less where
    /// the source would have been faster.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_micros(self.patience_us.load(Ordering::Relaxed))
    }

    /// From now on whoever waits longer than `limit` would have been better off without Redis.
    pub fn set_patience(&self, limit: Duration) {
        let patience = limit.max(PATIENCE_MIN).min(self.timeout / 2);
        let patience_us = patience.as_micros() as u64;
        self.patience_us.store(patience_us, Ordering::Relaxed);
    }

    /// How many keys to ask for at once, up to `max`: fewer where values are large, so that a batch
    /// costs neither memory nor the time of everybody in it.
    #[must_use]
    pub fn batch_max(&self, max: usize) -> usize {
        let usual = self.usual_bytes.load(Ordering::Relaxed).max(1);
        let affordable = usize::try_from(BATCH_BYTES / usual).unwrap_or(max);
        affordable.clamp(1, max)
    }

    fn learn_size(&self, values: &[Option<String>]) {
        let found = values.iter().flatten();
        let (count, bytes) = found.fold((0, 0), |(count, bytes), value| {
            (count + 1, bytes + value.len())
        });
        let Some(mean) = bytes.checked_div(count) else {
            return;
        };
        let mean = mean as u64;
        let usual = self.usual_bytes.load(Ordering::Relaxed);
        // Two readers may overwrite each other here: either figure will do.
        let learned = if mean > usual {
            mean
        } else {
            (usual * 7 + mean) / 8
        };
        self.usual_bytes.store(learned, Ordering::Relaxed);
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
            info!("redis breaker half-open: one request is the trial");
        }
        Some(permit)
    }

    /// Leave to make a call that no client waits for: it is never the trial.
    fn permit_to_upkeep(&self, now: Instant) -> Option<Permit> {
        self.permit(now).filter(|permit| !permit.is_trial())
    }

    /// Looks `keys` up in one call on behalf of thread `caller`, for whom `lookups` requests wait.
    /// A value of the wrong type or not UTF-8 is missing.
    ///
    /// # Errors
    /// [`Unusable`] when the call failed; it has been counted and, where it changed something, logged.
    pub fn read(
        &self,
        permit: Permit,
        caller: usize,
        keys: &[&str],
        lookups: usize,
        deadline: Deadline,
    ) -> Result<Vec<Option<String>>, Unusable> {
        let began = clock::now();
        let ask = |drawn: &mut Drawn| self.ask(drawn, keys, deadline);
        let values = self.on_a_connection(caller, lookups, deadline, ask);
        match values {
            Ok(values) => {
                let took = clock::now().saturating_duration_since(began);
                let bytes: usize = values.iter().flatten().map(String::len).sum();
                if took > self.patience() && bytes < LARGE_REPLY_BYTES {
                    self.failed(permit, &Fault::Slow(took));
                } else {
                    self.succeeded(permit);
                }
                self.learn_size(&values);
                Ok(values)
            }
            Err(fault) => {
                if fault == Fault::TooLarge {
                    let each = BATCH_BYTES / keys.len() as u64;
                    self.usual_bytes.fetch_max(each * 2, Ordering::Relaxed);
                }
                self.failed(permit, &fault);
                Err(Unusable)
            }
        }
    }

    fn ask(
        &self,
        drawn: &mut Drawn,
        keys: &[&str],
        deadline: Deadline,
    ) -> Result<Vec<Option<String>>, Fault> {
        let link = drawn.link()?;
        if keys.len() > 1 && self.may_mget.load(Ordering::Relaxed) {
            let mut mget = redis::cmd("MGET");
            mget.arg(keys);
            match link.call(&[mget], deadline)?.pop() {
                Some(Value::Array(values)) if values.len() == keys.len() => {
                    return values.into_iter().map(text).collect();
                }
                Some(Value::ServerError(error)) if is_out_of_reach(&error) => {
                    self.mget_is_refused(&error);
                }
                Some(Value::ServerError(error)) => return Err(Fault::from_reply(&error)),
                _ => return Err(Fault::Protocol("MGET not answered by a list".to_owned())),
            }
        }
        let gets: Vec<_> = keys.iter().map(|key| get(key)).collect();
        link.call(&gets, deadline)?.into_iter().map(text).collect()
    }

    /// One key of a batch may be out of bounds for us, or MGET as such: then GET alone is used.
    fn mget_is_refused(&self, error: &redis::ServerError) {
        if !is_about_a_key(error) && self.may_mget.swap(false, Ordering::Relaxed) {
            let why = Fault::from_reply(error);
            warn!("redis gives no MGET, so keys are read one by one with GET: {why}");
        }
    }

    /// Draws a connection for one call of thread `caller`, for which `lookups` requests wait, and
    /// closes it where the fault that it met says so. The call is over when this returns, so that
    /// what its failure leads to never ends this call itself.
    fn on_a_connection<T>(
        &self,
        caller: usize,
        lookups: usize,
        deadline: Deadline,
        work: impl FnOnce(&mut Drawn) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let call = self.calls.begin(caller, lookups, clock::now());
        let mut drawn = self.pool.draw(deadline, |socket| call.has_socket(socket))?;
        let done = work(&mut drawn);
        if done.as_ref().is_err_and(Fault::costs_the_connection) {
            drawn.discard();
        }
        done
    }

    fn succeeded(&self, permit: Permit) {
        let now = clock::now();
        self.is_of_use(now);
        if let Some(transition) = permit.succeeded(now) {
            self.announce(transition, "the trial succeeded");
        }
    }

    fn is_of_use(&self, now: Instant) {
        let has_lost = self.pool.has_lost_connections();
        let mut report = self.report();
        report.last_success = Some(now);
        if std::mem::take(&mut report.is_lost) || has_lost {
            report.back_since = Some(now);
        }
    }

    /// Since when Redis is of use again, if it was ever lost: what it had may be gone.
    #[must_use]
    pub fn back_since(&self) -> Option<Instant> {
        self.report().back_since
    }

    fn failed(&self, permit: Permit, fault: &Fault) {
        if fault.ends_the_generation() {
            self.pool.discard_all();
            self.report().is_lost = true;
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
            self.report().last_fault = Some(fault.to_string());
        }
        if let Some(transition) = transition {
            self.announce(transition, &fault.to_string());
        }
        if fault.is_misconfiguration() {
            self.say_misconfiguration(fault);
        }
    }

    /// Looks at the calls in flight. Opens the breaker when they stall (DESIGN 3, 2b): `stall_calls`
    /// lookups, `waiting` ones in the queue included, have waited beyond [`Self::patience`] and
    /// nothing has succeeded meanwhile.
    pub fn watch(&self, waiting: usize, now: Instant) {
        let patience = self.patience();
        let stalled = self.calls.stalled(patience, now);
        if stalled == 0 || stalled + waiting < self.stall_calls {
            return;
        }
        let last_success = self.report().last_success;
        if last_success.is_some_and(|at| now.saturating_duration_since(at) < patience) {
            return;
        }
        if let Some(transition) = self.breaker.trip(now) {
            let reason = format!(
                "{stalled} lookups without a reply for {} ms",
                patience.as_millis()
            );
            {
                let mut report = self.report();
                report.last_fault = Some(reason.clone());
                report.is_lost = true;
            }
            self.pool.discard_all();
            self.announce(transition, &reason);
        }
    }

    /// Whether a call is in flight.
    #[must_use]
    pub fn is_calling(&self) -> bool {
        self.calls.is_any()
    }

    /// `count` lookups were answered without Redis.
    pub fn count_bypassed(&self, count: u64) {
        self.bypassed.fetch_add(count, Ordering::Relaxed);
    }

    /// What is known, without asking anybody.
    #[must_use]
    pub fn status(&self, now: Instant) -> Status {
        let (state, since) = self.breaker.state();
        let (slots, idle) = self.pool.slots();
        Status {
            address: self.address.clone(),
            state,
            since: now.saturating_duration_since(since),
            last_fault: self.report().last_fault.clone(),
            connections: (slots, idle, self.pool.size()),
        }
    }

    /// One line for a change of state; what is in flight to a Redis that is given up ends with it.
    fn announce(&self, transition: Transition, reason: &str) {
        let address = &self.address;
        let Transition {
            from,
            to,
            failures,
            lasted,
        } = transition;
        if to == State::Closed {
            let bypassed = self.bypassed.swap(0, Ordering::Relaxed);
            let mut report = self.report();
            report.last_fault = None;
            report.misconfiguration_was_said = false;
            info!(
                "redis breaker {} -> closed: {reason} ({address}); it was away for {:.1} s, \
                 {bypassed} lookups went without it",
                from.word(),
                lasted.as_secs_f64(),
            );
        } else {
            if from == State::Closed {
                self.bypassed.store(0, Ordering::Relaxed);
            }
            self.calls.give_up_all();
            warn!(
                "redis breaker {} -> {}: {reason} ({address}; {failures} consecutive failures); \
                 serving without it",
                from.word(),
                to.word(),
            );
        }
    }

    /// Loudly, and once an outage: nothing but a person can mend it. Whether it has been said now.
    fn say_misconfiguration(&self, fault: &Fault) -> bool {
        let was_said = std::mem::replace(&mut self.report().misconfiguration_was_said, true);
        if !was_said {
            let (address, (complaint, remedy)) = (&self.address, fault.for_a_person());
            error!("redis at {address} {complaint}: {fault}; check {remedy}");
        }
        !was_said
    }

    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn get(key: &str) -> redis::Cmd {
    let mut get = redis::cmd("GET");
    get.arg(key);
    get
}

/// What a reply to GET means: a value, or nothing that can be used.
fn text(reply: Value) -> Result<Option<String>, Fault> {
    match reply {
        Value::BulkString(bytes) => Ok(String::from_utf8(bytes).ok()),
        Value::Nil => Ok(None),
        Value::ServerError(error) if error.code() == "WRONGTYPE" => Ok(None),
        Value::ServerError(error) if error.code() == "NOPERM" && is_about_a_key(&error) => Ok(None),
        Value::ServerError(error) => Err(Fault::from_reply(&error)),
        _ => Err(Fault::Protocol("GET not answered by a string".to_owned())),
    }
}
