//! Redis as a cache that may be gone at any moment: lookups, writes, and whether it is worth asking.
//! Everything that knows the Redis protocol or its client crates is in this folder; nothing here
//! knows routes, sources or HTTP.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{debug, warn};
use redis::Value;

use crate::breaker::{Breaker, Permit, State};
use crate::clock::{self, Deadline};
use crate::config::{self, BreakerMode, RedisAddress};
use crate::metrics::{Metrics, RedisOp};
use crate::resolver::HostResolver;

mod announce;
pub mod calls;
pub mod fault;
pub mod link;
pub mod lives;
pub mod pool;
pub mod prober;
mod usual;
pub mod write;

use calls::{Calls, InFlight};
use fault::Fault;
use link::{Endpoint, Handshake, REPLY_MAX_BYTES, VALUE_MAX_BYTES};
use pool::{Dial, Drawn, Pool};
use usual::Usual;

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
    usual: Usual,
    /// Whether MGET may be used: an ACL may allow GET alone.
    may_mget: AtomicBool,
    /// Guards what is said about the outage.
    report: Mutex<Report>,
    writes: write::Writes,
    metrics: Arc<Metrics>,
}

/// What is known of the last time that Redis failed.
#[derive(Debug, Default)]
struct Report {
    last_success: Option<Instant>,
    /// A connection was lost, or Redis was given up, and has not been of use since.
    is_lost: bool,
    /// When it was of use again after it had been lost.
    back_since: Option<Instant>,
    last_fault: Option<Fault>,
    misconfiguration_was_said: bool,
}

/// What `/healthz` and the metrics show.
#[derive(Debug, Clone)]
pub struct Status {
    /// Without credentials.
    pub address: String,
    /// Of the breaker.
    pub state: State,
    /// What the settings let the breaker do.
    pub mode: BreakerMode,
    /// How long the breaker has been in it.
    pub since: Duration,
    /// In words, the last one met.
    pub last_fault: Option<String>,
    /// Whether it refused the last write, though it may serve reads.
    pub refuses_writes: bool,
    /// Connections: slots made, unused, at most.
    pub connections: (u32, u32, u32),
    /// How often the breaker has gone into each state, in the order of [`State::ALL`].
    pub entered: [u64; 3],
}

/// The call brought nothing: Redis is not to be asked again by the same request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unusable;

impl Cache {
    /// For `callers` threads that make calls. Opens no connection.
    #[must_use]
    pub fn new(
        redis: &config::Redis,
        breaker: &config::Breaker,
        callers: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        let url = &redis.url;
        let (endpoint, address) = match &url.address {
            RedisAddress::Tcp(host, port) => {
                let address = match host.contains(':') {
                    true => format!("[{host}]:{port}"),
                    false => format!("{host}:{port}"),
                };
                // An address may change with a fail-over: every connect looks again.
                let resolver = HostResolver::new(address.clone(), Duration::ZERO);
                (Endpoint::Tcp(resolver), address)
            }
            RedisAddress::Unix(path) => (
                Endpoint::Unix(path.clone().into_boxed_path()),
                path.display().to_string(),
            ),
        };
        let dial = Arc::new(Dial {
            endpoint,
            handshake: Handshake {
                username: url.username.clone(),
                password: url.password.clone(),
                db: url.db,
            },
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
            usual: Usual::default(),
            may_mget: AtomicBool::new(true),
            report: Mutex::default(),
            writes: write::Writes::default(),
            metrics,
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

    /// How long a lookup may wait for a reader: what a read usually takes is left of its patience then,
    /// or half of that.
    #[must_use]
    pub fn patience_in_queue(&self) -> Duration {
        let patience = self.patience();
        patience.saturating_sub(self.usual.wait()).min(patience / 2)
    }

    /// How many keys to ask for at once, up to `max`.
    #[must_use]
    pub fn batch_max(&self, max: usize) -> usize {
        self.usual.batch_max(max)
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
    fn permit_to_upkeep(&self, now: Instant) -> Option<Permit> {
        self.permit(now).filter(|permit| !permit.is_trial())
    }

    /// Looks `keys` up in one call on behalf of thread `caller`, for whom `lookups` requests wait, the
    /// first of them since `waiting_since`. A value of the wrong type or not UTF-8 is missing.
    ///
    /// # Errors
    /// [`Unusable`] when the call failed; it has been counted and, where it changed something, logged.
    pub fn read(
        &self,
        permit: Permit,
        caller: usize,
        keys: &[&str],
        lookups: usize,
        waiting_since: Instant,
    ) -> Result<Vec<Option<String>>, Unusable> {
        let began = clock::now();
        let deadline = Deadline::after(waiting_since, self.timeout);
        // However long they have waited for this call, it has half of their patience.
        let half_ago = began.checked_sub(self.patience() / 2).unwrap_or(began);
        let call = self
            .calls
            .begin(caller, lookups, waiting_since.max(half_ago));
        let ask = |drawn: &mut Drawn| self.ask(drawn, keys, deadline);
        let values = self.on_a_connection(RedisOp::Read, &call, deadline, ask);
        drop(call);
        match values {
            Ok(values) => {
                let took = elapsed(began);
                let bytes: usize = values.iter().flatten().map(String::len).sum();
                let hits = values.iter().flatten().count() as u64;
                self.metrics.redis.hits.inc_by(hits);
                self.metrics.redis.misses.inc_by(values.len() as u64 - hits);
                let is_small = bytes < LARGE_REPLY_BYTES;
                if is_small {
                    self.usual.learn_wait(took);
                }
                if took > self.patience() && is_small {
                    self.failed(permit, &Fault::Slow(took));
                } else {
                    self.succeeded(permit);
                }
                self.usual.learn_sizes(&values);
                Ok(values)
            }
            Err(fault) => {
                match fault {
                    Fault::GivenUp => self.usual.learn_wait(elapsed(began)),
                    Fault::TooLarge => self.usual.learn_too_large(),
                    _ => {}
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
            match link.call(&[mget], REPLY_MAX_BYTES, deadline)?.pop() {
                Some(Value::Array(values)) if values.len() == keys.len() => {
                    return values.into_iter().map(text).collect();
                }
                Some(Value::ServerError(error)) if error.code() == "NOPERM" => {
                    self.mget_is_refused(&error);
                }
                Some(Value::ServerError(error)) => return Err(Fault::from_reply(&error)),
                _ => return Err(Fault::Protocol("MGET not answered by a list".to_owned())),
            }
        }
        let gets: Vec<_> = keys.iter().map(|key| get(key)).collect();
        let max_bytes = match keys.len() {
            1 => VALUE_MAX_BYTES,
            _ => REPLY_MAX_BYTES,
        };
        let values = link.call(&gets, max_bytes, deadline)?;
        values.into_iter().map(text).collect()
    }

    /// One key of a batch may be out of bounds for us, or MGET as such: then GET alone is used.
    fn mget_is_refused(&self, error: &redis::ServerError) {
        if !is_about_a_key(error) && self.may_mget.swap(false, Ordering::Relaxed) {
            warn!("redis user may not MGET: keys are read one by one with GET");
        }
    }

    /// Draws a connection for one call, and closes it where the fault that it met says so.
    fn on_a_connection<T>(
        &self,
        op: RedisOp,
        call: &InFlight<'_>,
        deadline: Deadline,
        work: impl FnOnce(&mut Drawn) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let began = clock::now();
        let drawn = self.pool.draw(deadline, |socket| call.has_socket(socket));
        let done = drawn.and_then(|mut drawn| {
            let done = work(&mut drawn);
            if done.as_ref().is_err_and(Fault::costs_the_connection) {
                drawn.discard();
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

    /// The same for a call of thread `caller` that no lookup waits for.
    fn in_the_background<T>(
        &self,
        op: RedisOp,
        caller: usize,
        deadline: Deadline,
        work: impl FnOnce(&mut Drawn) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let call = self.calls.begin(caller, 0, clock::now());
        self.on_a_connection(op, &call, deadline, work)
    }

    fn count_call<T>(&self, op: RedisOp, done: &Result<T, Fault>, began: Instant) {
        let result = done.as_ref().err().map_or("ok", Fault::word);
        let took = clock::now().saturating_duration_since(began);
        self.metrics.redis.called(op, result, took);
    }

    fn succeeded(&self, permit: Permit) {
        let now = clock::now();
        self.is_of_use(now);
        if let Some(transition) = permit.succeeded(now) {
            self.is_back(transition, "the trial succeeded");
        }
    }

    /// A call that began at `began`, and that no lookup waited for, was answered. Later than a lookup
    /// would have waited it says nothing.
    fn upkeep_succeeded(&self, permit: Permit, began: Instant) {
        if elapsed(began) <= self.patience() {
            self.succeeded(permit);
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
            self.report().last_fault = Some(fault.clone());
        }
        match transition {
            Some(transition) => self.is_given_up(transition, "", fault),
            None => self.say_misconfiguration(fault),
        }
    }

    /// Looks at the calls in flight: one that lookups have waited for beyond [`Self::patience`] is given
    /// up. Opens the breaker when they stall (DESIGN 3, 2b): `stall_calls` lookups, `waiting` ones in the
    /// queue included, have waited so long and nothing has succeeded meanwhile.
    pub fn watch(&self, waiting: usize, now: Instant) {
        let patience = self.patience();
        let stalled = self.calls.stalled(patience, now);
        if stalled == 0 {
            return;
        }
        let last_success = self.report().last_success;
        let goes_on = last_success.is_some_and(|at| now.saturating_duration_since(at) < patience);
        let transition = match stalled + waiting >= self.stall_calls && !goes_on {
            true => self.breaker.trip(now),
            false => None,
        };
        let Some(transition) = transition else {
            return self.calls.give_up_stalled(patience, now);
        };
        let fault = Fault::Stalled(stalled + waiting, patience);
        self.report().last_fault = Some(fault.clone());
        self.is_given_up(transition, "", &fault);
    }

    /// Whether a call is in flight.
    #[must_use]
    pub fn is_calling(&self) -> bool {
        self.calls.is_any()
    }

    /// `count` lookups were answered without Redis.
    pub fn count_bypassed(&self, count: u64) {
        self.metrics.redis.bypassed.inc_by(count);
    }

    /// What is known, without asking anybody.
    #[must_use]
    pub fn status(&self, now: Instant) -> Status {
        let (state, since) = self.breaker.state();
        let (slots, idle) = self.pool.slots();
        Status {
            address: self.address.clone(),
            state,
            mode: self.breaker.mode(),
            since: now.saturating_duration_since(since),
            last_fault: self.report().last_fault.as_ref().map(Fault::to_string),
            refuses_writes: self.refuses_writes(),
            connections: (slots, idle, self.pool.size()),
            entered: self.breaker.entered(),
        }
    }

    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn elapsed(since: Instant) -> Duration {
    clock::now().saturating_duration_since(since)
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

/// Whether NOPERM is about a key and not about the command: "... to access a key" or, before
/// Redis 7, "... to access one of the keys".
fn is_about_a_key(error: &redis::ServerError) -> bool {
    let details = error.details().unwrap_or_default();
    details.contains("access a key") || details.contains("of the keys")
}
