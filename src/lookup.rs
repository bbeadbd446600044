//! The cache-aside policy: what is done for one key, from the question to the answer, and what takes
//! the place of what is gone. This is the main loop of the service, in the order in which a lookup
//! meets it; the threads that walk it are in `pipeline`. It knows nothing of HTTP.

use std::borrow::Cow;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::warn;

use crate::cache::write::Entry;
use crate::cache::{Cache, Unusable};
use crate::clock::{self, Deadline};
use crate::config::{Config, Route};
use crate::flight::{Flights, Joined, Landed, Target};
use crate::logging::Seldom;
use crate::memory::{Memory, Remembered};
use crate::metrics::Metrics;
use crate::pipeline::queue::{Lanes, Queue};
use crate::source::{Fetched, Source, SourceError};

mod answer;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Client, Copied, Lookup};

/// Bytes of a copy that the front answers with itself. Larger answers take too long to build there.
const FRONT_MAX_BYTES: usize = 64 * 1024;
/// Values that wait to be written to Redis, at most.
const WRITES_MAX: usize = 1024;

/// Who walks a step: the front must not be held up by large answers, workers may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// A front.
    Front,
    /// A reader, filler or writer.
    Worker,
}

/// A fetch that waits for a filler.
#[derive(Debug)]
pub struct Fill {
    target: Target,
    queued_at: Instant,
}

/// A value that waits to be written to Redis.
#[derive(Debug)]
pub struct WriteBack {
    target: Target,
    landed: Landed,
}

/// The policy and everything it needs.
pub struct Lookups {
    routes: Vec<Route>,
    sources: Vec<NamedSource>,
    fresh_while_redis_is_down: bool,
    queue_timeout: Duration,
    cache: Arc<Cache>,
    memory: Memory,
    flights: Flights<Lookup>,
    metrics: Arc<Metrics>,
    /// Lookups that wait for a reader.
    pub reads: Queue<Lookup>,
    /// Fetches that wait for a filler, in a lane for each source.
    pub fills: Lanes<Fill>,
    /// Values that wait for the writer.
    pub writes: Queue<WriteBack>,
}

/// A source, its name, and when its failures were last said.
pub struct NamedSource {
    /// Name of its section.
    pub name: String,
    /// Itself.
    pub source: Box<dyn Source>,
    /// Its failures are counted, and said now and then.
    pub said: Seldom,
}

impl Lookups {
    /// From the settings and the parts; `sources` as in `config.sources`.
    #[must_use]
    pub fn new(
        config: &Config,
        sources: Vec<NamedSource>,
        cache: Arc<Cache>,
        memory: Memory,
        metrics: Arc<Metrics>,
    ) -> Self {
        let lanes = lane_limits(config);
        Self {
            routes: config.routes.clone(),
            sources,
            fresh_while_redis_is_down: config.memory.fresh_while_redis_is_down,
            queue_timeout: config.server.queue_timeout,
            cache,
            memory,
            flights: Flights::default(),
            metrics,
            reads: Queue::new(config.server.queue),
            fills: Lanes::new(config.server.queue, config.server.queue_timeout, &lanes),
            writes: Queue::new(WRITES_MAX),
        }
    }

    /// Step 1: a batch of lookups from the front. They wait for a reader, unless Redis is not worth
    /// asking.
    pub fn submit(&self, batch: Vec<Lookup>) {
        if batch.is_empty() {
            return;
        }
        if self.cache.is_usable(clock::now()) {
            let no_room = self.reads.put(batch);
            self.turn_away(no_room, &Answer::Shed, On::Front);
        } else {
            self.without_redis(batch, On::Front);
        }
    }

    /// Step 2, on a reader: asks Redis for a batch in one call. Whatever goes wrong, no request
    /// pays for Redis twice.
    pub fn read(&self, reader: usize, batch: &mut Vec<Lookup>) {
        let now = clock::now();
        let Some(permit) = self.cache.permit(now) else {
            return self.without_redis(batch.drain(..), On::Worker);
        };
        if permit.is_trial() && batch.len() > 1 {
            self.without_redis(batch.drain(1..), On::Worker);
        }
        let Some(oldest) = batch.iter().map(|lookup| lookup.arrived).min() else {
            return;
        };
        let budget = Deadline::after(oldest, self.cache.timeout());
        let values = {
            let (keys, places) = self.distinct_keys(batch);
            let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
            let values = self.cache.read(permit, reader, &keys, batch.len(), budget);
            values.map(|values| (values, places))
        };
        match values {
            Ok((values, places)) => {
                for (lookup, place) in batch.drain(..).zip(places) {
                    match &values[place] {
                        Some(value) => self.hit(lookup, value, now),
                        None => self.fill(lookup, true, On::Worker),
                    }
                }
            }
            Err(Unusable) => self.without_redis(batch.drain(..), On::Worker),
        }
    }

    /// Step 2a: Redis has it.
    fn hit(&self, lookup: Lookup, value: &str, now: Instant) {
        let Target { route, key } = &lookup.target;
        let ttl = self.routes[*route].ttl;
        self.memory.remember_hit(*route, key, value, ttl, now);
        self.answer(lookup, &Answer::Redis(value));
    }

    /// Step 3: Redis is not usable. A copy within its ttl keeps the outage from the source;
    /// everything else is fetched.
    pub fn without_redis(&self, lookups: impl IntoIterator<Item = Lookup>, on: On) {
        let now = clock::now();
        let mut count = 0;
        for lookup in lookups {
            count += 1;
            match self.recall(&lookup.target) {
                Some(copy) if self.fresh_while_redis_is_down && copy.is_fresh(now) => {
                    let answer = Answer::Memory(copied(&copy, now));
                    self.answer_with_copy(lookup, &answer, copy.value.len(), &Answer::Shed, on);
                }
                _ => self.fill(lookup, false, on),
            }
        }
        if count > 0 {
            self.cache.count_bypassed(count);
        }
    }

    /// Step 4: one fetch per key. The first to come puts it in the queue, the others wait for it
    /// without holding anything but their place. `missed`: Redis was asked and does not have it.
    fn fill(&self, lookup: Lookup, missed: bool, on: On) {
        let target = lookup.target.clone();
        let missed = missed.then_some(lookup.arrived);
        match self.flights.join(&target, lookup, missed) {
            Joined::Waits => self.metrics.joined.increment(),
            Joined::Has(lookup, landed) => {
                let copy = Copied {
                    value: &landed.value,
                    age: clock::now().saturating_duration_since(landed.fetched_at),
                    ttl: landed.ttl,
                };
                self.answer(lookup, &Answer::Memory(copy));
            }
            Joined::Leads => {
                let lane = self.routes[target.route].source;
                let queued_at = clock::now();
                if let Err(fill) = self.fills.put(lane, Fill { target, queued_at }) {
                    self.turn_away(self.flights.fail(&fill.target), &Answer::Shed, on);
                }
            }
        }
    }

    /// Step 5, on a filler: fetches, and answers everyone who waits for it.
    pub fn fetch(&self, fill: Fill) {
        let now = clock::now();
        let Fill { target, queued_at } = fill;
        let waited = now.saturating_duration_since(queued_at);
        let last_deadline = self.flights.last_deadline(&target);
        let Some(last_deadline) = last_deadline.filter(|_| waited < self.queue_timeout) else {
            return self.turn_away(self.flights.fail(&target), &Answer::Shed, On::Worker);
        };
        let route = &self.routes[target.route];
        let source = &self.sources[route.source];
        self.metrics.source_calls.increment();
        let fetch = || source.source.fetch(&target.key, last_deadline);
        match catch_unwind(AssertUnwindSafe(fetch)) {
            Ok(Ok(Fetched::Value(value))) => self.land(&target, value.into(), route.ttl),
            Ok(Ok(Fetched::NoSuchThing)) => {
                self.memory.forget(target.route, &target.key);
                for lookup in self.flights.fail(&target) {
                    self.answer(lookup, &Answer::NoSuchThing);
                }
            }
            Ok(Err(error)) => self.source_failed(source, &target, &error),
            Err(_) => {
                self.metrics.panics.increment();
                self.source_failed(source, &target, &SourceError::Panicked);
            }
        }
    }

    /// Step 5a: the source has it. To memory, to the clients, and then to Redis.
    fn land(&self, target: &Target, value: Arc<str>, ttl: Duration) {
        let fetched_at = clock::now();
        self.memory.remember(
            target.route,
            &target.key,
            Arc::clone(&value),
            ttl,
            fetched_at,
        );
        let landed = Landed {
            value,
            fetched_at,
            ttl,
        };
        let writes = self.cache.takes_writes(fetched_at);
        let waiters = self.flights.land(target, landed.clone(), writes);
        for (place, lookup) in waiters.into_iter().enumerate() {
            let value = &landed.value;
            self.answer(
                lookup,
                &Answer::Primary {
                    value,
                    joined: place > 0,
                },
            );
        }
        let target = target.clone();
        let refused = match writes {
            true => self.writes.put(vec![WriteBack { target, landed }]),
            false => vec![WriteBack { target, landed }],
        };
        self.not_written(&refused);
    }

    /// Step 5b: the source failed.
    fn source_failed(&self, source: &NamedSource, target: &Target, error: &SourceError) {
        self.metrics.source_failures.increment();
        if let Some(more) = source.said.say(error.word(), clock::now()) {
            let key = target.key.escape_default().to_string();
            let key: String = key.chars().take(80).collect();
            warn!("source {}: {error} (key \"{key}\"){more}", source.name);
        }
        self.turn_away(self.flights.fail(target), &Answer::Unavailable, On::Worker);
    }

    /// Step 6: no answer is to be had in time. An old copy is better than none, as long as it is
    /// younger than ttl + max_stale; without one, `otherwise`.
    fn turn_away(&self, lookups: Vec<Lookup>, otherwise: &Answer<'_>, on: On) {
        let now = clock::now();
        for lookup in lookups {
            let max_stale = self.routes[lookup.target.route].max_stale;
            let copy = self.recall(&lookup.target);
            let Some(copy) = copy.filter(|copy| copy.is_servable_stale(now, max_stale)) else {
                self.answer(lookup, otherwise);
                continue;
            };
            let answer = match copy.is_fresh(now) {
                true => Answer::Memory(copied(&copy, now)),
                false => Answer::Stale(copied(&copy, now)),
            };
            self.answer_with_copy(lookup, &answer, copy.value.len(), otherwise, on);
        }
    }

    /// Answers with a copy of `bytes`, or leaves it to a reader where that would hold up the front:
    /// the reader comes to the same answer. Without room for it there, `otherwise`.
    fn answer_with_copy(
        &self,
        lookup: Lookup,
        answer: &Answer<'_>,
        bytes: usize,
        otherwise: &Answer<'_>,
        on: On,
    ) {
        if on == On::Worker || bytes <= FRONT_MAX_BYTES {
            return self.answer(lookup, answer);
        }
        for lookup in self.reads.put(vec![lookup]) {
            self.answer(lookup, otherwise);
        }
    }

    /// Step 7, on the writer: what was fetched goes to Redis, with what is left of its life.
    pub fn write(&self, writer: usize, batch: &mut Vec<WriteBack>) {
        let now = clock::now();
        let keys: Vec<_> = batch
            .iter()
            .map(|write| self.full_key(&write.target))
            .collect();
        let entries = batch.iter().zip(&keys).map(|(write, key)| Entry {
            key,
            value: &write.landed.value,
            ttl: {
                let age = now.saturating_duration_since(write.landed.fetched_at);
                // EX takes whole seconds: the few milliseconds it waited here do not cost one.
                (write.landed.ttl + Duration::from_millis(500)).saturating_sub(age)
            },
        });
        let entries: Vec<_> = entries.collect();
        let deadline = Deadline::after(now, self.cache.timeout());
        let written = self.cache.write(writer, &entries, deadline).unwrap_or(0);
        self.metrics.written.add(written as u64);
        self.metrics.not_written.add((batch.len() - written) as u64);
        drop(entries);
        drop(keys);
        let now = clock::now();
        for write in batch.drain(..) {
            self.flights.written(&write.target, now);
        }
    }

    fn not_written(&self, refused: &[WriteBack]) {
        self.metrics.not_written.add(refused.len() as u64);
        let now = clock::now();
        for write in refused {
            self.flights.written(&write.target, now);
        }
    }

    /// What time does, looked at every few milliseconds while there is anything under way: who has
    /// waited too long for a reader goes on without Redis, who has waited too long for a filler or
    /// for a fetch is turned away, and a Redis that stalls is given up.
    pub fn watch(&self, now: Instant) {
        let half = self.cache.timeout() / 2;
        let is_late = |lookup: &Lookup| now.saturating_duration_since(lookup.arrived) >= half;
        let late = self.reads.take_while(is_late);
        self.cache.watch(late.len(), now);
        self.without_redis(late, On::Front);
        if !self.cache.is_usable(now) {
            self.without_redis(self.reads.take_while(|_| true), On::Front);
        }
        let limit = self.queue_timeout;
        let is_late = |fill: &Fill| now.saturating_duration_since(fill.queued_at) >= limit;
        for fill in self.fills.take_while(is_late) {
            self.turn_away(self.flights.fail(&fill.target), &Answer::Shed, On::Front);
        }
        self.turn_away(self.flights.overdue(now), &Answer::Unavailable, On::Front);
        if let Some(limit) = now.checked_sub(self.cache.timeout() * 2) {
            self.flights.forget_written(limit);
        }
    }

    /// A filler broke off: who waited for its fetch is not left behind.
    pub fn abandon(&self, target: &Target) {
        self.turn_away(self.flights.fail(target), &Answer::Unavailable, On::Worker);
    }

    /// The cache, for health and for the prober.
    #[must_use]
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// The memory, for health.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Whether there is anything that [`Self::watch`] would have to look at soon.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        !self.reads.is_empty() || self.flights.count() > 0 || self.cache.is_calling()
    }

    /// How many keys are being fetched or written.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.count()
    }

    fn answer(&self, lookup: Lookup, answer: &Answer<'_>) {
        self.metrics.count(answer.outcome());
        lookup.client.answer(answer);
    }

    fn recall(&self, target: &Target) -> Option<Remembered> {
        self.memory.recall(target.route, &target.key)
    }

    /// The key in Redis.
    fn full_key<'a>(&self, target: &'a Target) -> Cow<'a, str> {
        match self.routes[target.route].key_prefix.as_str() {
            "" => Cow::Borrowed(&*target.key),
            prefix => Cow::Owned(format!("{prefix}{}", target.key)),
        }
    }

    /// The distinct keys of a batch, and for each lookup the place of its own among them.
    fn distinct_keys<'a>(&self, batch: &'a [Lookup]) -> (Vec<Cow<'a, str>>, Vec<usize>) {
        let mut keys = Vec::with_capacity(batch.len());
        let mut seen: HashMap<Cow<'_, str>, usize> = HashMap::with_capacity(batch.len());
        let mut places = Vec::with_capacity(batch.len());
        for lookup in batch {
            let key = self.full_key(&lookup.target);
            let place = *seen.entry(key).or_insert_with_key(|key| {
                keys.push(key.clone());
                keys.len() - 1
            });
            places.push(place);
        }
        (keys, places)
    }
}

impl Fill {
    /// What is to be fetched.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }
}

fn copied(copy: &Remembered, now: Instant) -> Copied<'_> {
    Copied {
        value: &copy.value,
        age: copy.age(now),
        ttl: copy.ttl,
    }
}

/// How many fillers each source may hold: its own `max_concurrent`, and never so many that another
/// source would find none.
fn lane_limits(config: &Config) -> Vec<usize> {
    let workers = config.server.workers;
    let others = config.sources.len().saturating_sub(1);
    let share = workers.saturating_sub(others.min(workers / 2)).max(1);
    let limits = config.sources.iter();
    limits
        .map(|source| source.max_concurrent().map_or(share, |max| max.min(share)))
        .collect()
}
