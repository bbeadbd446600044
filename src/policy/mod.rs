//! The cache-aside policy: what is done for one key, from the question to the answer, and what takes
//! the place of what is gone. This is the main loop of the service, in the order in which a lookup
//! meets it; the threads that walk it are in `pipeline`. It knows nothing of HTTP.

pub(crate) mod flight;
pub(crate) mod guarded_source;
pub(crate) mod read;
pub(crate) mod recovery;
pub(crate) mod write_back;
mod answer;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::warn;

use crate::base::clock::{self, Deadline};
use crate::base::queue::{Lanes, Queue};
use crate::base::reads::Reads;
use crate::cache::RedisCache;
use crate::cache::node::Node;
use crate::cache::routing::hash_slot::HashSlot;
use crate::config::{Config, Route, Servers};
use crate::copies::memory::{CachedValue, Memory};
use crate::observe::logging::LogThrottle;
use crate::observe::metrics::Metrics;
use crate::policy::flight::{FetchedValue, Flights, Joined, Target};
use crate::policy::recovery::Recovery;
use crate::source::Fetched;

#[cfg(test)]
mod tests;

pub(crate) use answer::{Answer, Client, Copied, Fill, Lookup};
pub(crate) use guarded_source::GuardedSource;
pub(crate) use write_back::WriteBack;

/// Bytes of a copy that the front answers with itself. Larger answers take too long to build there.
const FRONT_MAX_BYTES: usize = 64 * 1024;
/// Values that wait to be written to Redis, at most.
const WRITES_MAX: usize = 1024;
/// Keys whose life in Redis is to be looked at, at most.
const LIVES_MAX: usize = 1024;
/// How much longer than the source Redis may take, before it is no help any more.
const SLOWER_THAN_SOURCE: Duration = Duration::from_millis(50);

/// The lane of what no node of Redis is to be asked for.
const NO_NODE: usize = 0;

/// Who walks a step: the front must not be held up by large answers, workers may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// A front.
    Front,
    /// A reader, filler or writer.
    Worker,
}

/// The policy and everything it needs.
pub(crate) struct Policy {
    routes: Vec<Route>,
    sources: Vec<GuardedSource>,
    fresh_while_redis_is_down: bool,
    queue_timeout: Duration,
    cache: Arc<RedisCache>,
    memory: Memory,
    flights: Flights<Lookup>,
    metrics: Arc<Metrics>,
    /// What is shed is counted, and said now and then.
    said: LogThrottle,
    /// Policy that wait for a reader.
    pub reads: Reads<Lookup>,
    /// Fetches that wait for a filler, in a lane for each source.
    pub fills: Lanes<Fill>,
    /// Values that wait for the writer.
    pub writes: Queue<WriteBack>,
    /// Keys whose life in Redis is to be looked at.
    pub lives: Queue<Target>,
    /// What waits for Redis to come back.
    pub recovery: Recovery,
}

impl Policy {
    /// From the settings and the parts; `sources` as in `config.sources`.
    #[must_use]
    pub(crate) fn new(
        config: &Config,
        sources: Vec<GuardedSource>,
        cache: Arc<RedisCache>,
        memory: Memory,
        metrics: Arc<Metrics>,
    ) -> Self {
        let lanes = guarded_source::lane_limits(config);
        Self {
            routes: config.routes.clone(),
            sources,
            fresh_while_redis_is_down: config.memory.fresh_while_redis_is_down,
            queue_timeout: config.server.queue_timeout,
            cache,
            memory,
            flights: Flights::default(),
            metrics,
            said: LogThrottle::default(),
            reads: Reads::new(config.server.queue, readers_of_a_node(config)),
            fills: Lanes::new(config.server.queue, config.server.queue_timeout, &lanes),
            writes: Queue::new(WRITES_MAX),
            lives: Queue::new(LIVES_MAX),
            recovery: Recovery::new(config.redis.recovery_max_bytes),
        }
    }

    /// Step 3: Redis is not usable. A copy within its ttl keeps the outage from the source;
    /// everything else is fetched.
    pub(crate) fn fall_back(&self, lookups: impl IntoIterator<Item = Lookup>, on: On) {
        let (now, slot_map) = (clock::now(), self.cache.slot_map());
        for lookup in lookups {
            if !lookup.is_at_hand {
                self.metrics.redis.bypassed.inc();
                if let Some(node) = slot_map.node(|| self.slot_of(&lookup.target)) {
                    node.count_bypassed(1);
                }
            }
            match self.recall(&lookup.target) {
                Some(copy) if self.fresh_while_redis_is_down && copy.is_fresh(now) => {
                    let Target { route, key } = &lookup.target;
                    if copy.is_due(now) && self.memory.claim_refresh(*route, key, now) {
                        self.refresh(&lookup.target);
                    }
                    self.answer_with_copy(lookup, &copy, &Answer::Shed, on);
                }
                copy => self.fill(lookup, copy, false, on),
            }
        }
    }

    /// Step 4: what memory can say without the source, else one fetch per key. The first to come puts
    /// it in the queue, the others wait for it without holding anything but their place. `missed`:
    /// Redis was asked and does not have it.
    fn fill(&self, mut lookup: Lookup, copy: Option<CachedValue>, missed: bool, on: On) {
        let now = clock::now();
        let Target { route, key } = &lookup.target;
        let max_stale = self.routes[*route].max_stale;
        if let Some(copy) = copy.filter(|copy| copy.is_servable_stale(now, max_stale)) {
            let was_lost = missed && self.was_lost_by_redis(&lookup.target, &copy, now);
            if was_lost {
                self.keep_for_redis(&lookup.target, &copy);
            }
            if was_lost || copy.waits_for_retry(now) {
                return self.answer_with_copy(lookup, &copy, &Answer::Shed, on);
            }
            lookup.copy = Some(copy);
        } else if self.memory.has_negative(*route, key, now) {
            self.metrics.route(*route).negative_hits.inc();
            return self.answer(lookup, &Answer::NoSuchThing);
        }
        if self.source_of(&lookup.target).refuses(now) {
            return self.stale_or(vec![lookup], &Answer::Unavailable, on);
        }
        let target = lookup.target.clone();
        let missed = missed.then_some(lookup.arrived);
        match self.flights.join(&target, lookup, missed, now) {
            Joined::Waits => self.metrics.route(target.route).joined.inc(),
            Joined::Has(lookup, landed) => {
                let copy = Copied {
                    value: &landed.value,
                    age: now.saturating_duration_since(landed.fetched_at),
                    ttl: landed.ttl,
                };
                self.answer(lookup, &Answer::Memory(copy));
            }
            Joined::Leads => self.queue_fetch(target, missed.is_none(), on),
        }
    }

    fn queue_fetch(&self, target: Target, is_extra: bool, on: On) {
        let lane = self.routes[target.route].source;
        let fill = Fill {
            target,
            queued_at: clock::now(),
            is_extra,
        };
        if let Err(fill) = self.fills.put(lane, fill) {
            self.stale_or(self.flights.fail(&fill.target), &Answer::Shed, on);
        }
    }

    /// Step 4a: a fetch that nobody waits for, of a key whose life nears its end. It is made only
    /// where the source has room to spare, and otherwise left to who misses the key.
    fn refresh(&self, target: &Target) {
        let now = clock::now();
        let lane = self.routes[target.route].source;
        let has_room = self.fills.has_room_to_spare(lane) && !self.source_of(target).refuses(now);
        if has_room && self.flights.lead(target, now) {
            self.metrics.route(target.route).refreshes.inc();
            self.queue_fetch(target.clone(), false, On::Worker);
        }
    }

    /// Step 5, on a filler: fetches, and answers everyone who waits for it.
    pub(crate) fn fetch(&self, fill: Fill) {
        let now = clock::now();
        let target = fill.target;
        if now.saturating_duration_since(fill.queued_at) >= self.queue_timeout {
            return self.stale_or(self.flights.fail(&target), &Answer::Shed, On::Worker);
        }
        let source = self.source_of(&target);
        let Some(permit) = source.permit(now) else {
            return self.stale_or(self.flights.fail(&target), &Answer::Unavailable, On::Worker);
        };
        let deadline = self.flights.last_deadline(&target);
        let deadline = deadline.unwrap_or_else(|| Deadline::after(now, source.timeout));
        self.metrics.fetches(fill.is_extra);
        let fetched = source.fetch(permit, &target.key, deadline);
        if fetched.is_ok() {
            let usual = self.slowest_source();
            self.cache.limits().set_patience(usual + SLOWER_THAN_SOURCE);
        } else if source.refuses(clock::now()) {
            // Redis is worth waiting for.
            self.cache
                .limits()
                .set_patience(self.cache.limits().timeout);
        }
        match fetched {
            Ok(Fetched::Value(value)) => self.complete(&target, value.into()),
            Ok(Fetched::NoSuchThing) => self.complete_without_value(&target),
            // Said and counted already.
            Err(_) => self.source_failed(&target),
        }
    }

    /// Step 5a: the source has it. To memory, to the clients, and then to Redis.
    fn complete(&self, target: &Target, value: Arc<str>) {
        let fetched_at = clock::now();
        let route = &self.routes[target.route];
        let ttl = write_back::jittered(route.ttl, route.ttl_jitter.of(route.ttl));
        let refresh_after = (!route.refresh_at.is_whole()).then(|| route.refresh_at.of(ttl));
        let copy = CachedValue::fetched(Arc::clone(&value), ttl, refresh_after, fetched_at);
        self.memory.remember(target.route, &target.key, copy);
        let landed = FetchedValue {
            value,
            fetched_at,
            ttl,
        };
        let writes = self.cache.takes_writes(|| self.slot_of(target), fetched_at);
        let waiters = self.flights.complete(target, landed.clone(), writes);
        for (place, lookup) in waiters.into_iter().enumerate() {
            let value = &landed.value;
            let joined = place > 0;
            self.answer(lookup, &Answer::Primary { value, joined });
        }
        self.write_back(target.clone(), landed, writes);
    }

    /// Step 5b: the source says that there is no such thing.
    fn complete_without_value(&self, target: &Target) {
        let Target { route, key } = target;
        match self.routes[*route].negative_ttl {
            Duration::ZERO => self.memory.forget(*route, key),
            ttl => self
                .memory
                .remember_negative(*route, key, clock::now() + ttl),
        }
        for lookup in self.flights.fail(target) {
            self.answer(lookup, &Answer::NoSuchThing);
        }
    }

    /// Step 5c: the source failed. A key that has a copy is left alone for a while.
    fn source_failed(&self, target: &Target) {
        let retry_at = clock::now() + self.routes[target.route].stale_retry;
        self.memory.change(target.route, &target.key, |copy| {
            copy.retry_at = Some(retry_at);
            copy.due_at = copy.due_at.map(|_| retry_at);
        });
        self.stale_or(self.flights.fail(target), &Answer::Unavailable, On::Worker);
    }

    /// Step 6: no answer is to be had in time. An old copy is better than none, as long as it is
    /// younger than ttl + max_stale; without one, `otherwise`.
    fn stale_or(&self, lookups: Vec<Lookup>, otherwise: &Answer<'_>, on: On) {
        let now = clock::now();
        for mut lookup in lookups {
            let max_stale = self.routes[lookup.target.route].max_stale;
            let at_hand = lookup.copy.take();
            let copy = self.recall(&lookup.target).or(at_hand);
            match copy.filter(|copy| copy.is_servable_stale(now, max_stale)) {
                Some(copy) => self.answer_with_copy(lookup, &copy, otherwise, on),
                None => self.answer(lookup, otherwise),
            }
        }
    }

    /// Answers with a copy, or leaves it to a reader where its size would hold up the front: the
    /// reader comes to the same answer. Without room for it there, `otherwise`.
    fn answer_with_copy(
        &self,
        mut lookup: Lookup,
        copy: &CachedValue,
        otherwise: &Answer<'_>,
        on: On,
    ) {
        if on == On::Front && copy.value.len() > FRONT_MAX_BYTES {
            lookup.is_at_hand = true;
            for lookup in self.reads.put([(NO_NODE, lookup)]) {
                self.answer(lookup, otherwise);
            }
            return;
        }
        let now = clock::now();
        let copied = Copied {
            value: &copy.value,
            age: copy.age(now),
            ttl: copy.ttl,
        };
        let answer = match copy.is_fresh(now) {
            true => Answer::Memory(copied),
            false => Answer::Stale(copied),
        };
        self.answer(lookup, &answer);
    }

    /// What time does, looked at every few milliseconds while there is anything under way: who has
    /// waited too long for a reader to be answered in time goes on without Redis, who has waited too
    /// long for a filler or for a fetch is turned away, and a Redis that stalls is given up.
    pub(crate) fn watch(&self, now: Instant) {
        let slot_map = self.cache.slot_map();
        let nodes = slot_map.nodes().iter();
        let limits: Vec<_> = nodes
            .map(|node| (node.id(), node.patience_in_queue()))
            .collect();
        let limit_of = |lane| limits.iter().find(|(place, _)| *place == lane);
        // Of a node that is gone they go to another one, if they are still in time for it.
        let usual = self.cache.limits().patience() / 2;
        let is_late = |lane, lookup: &Lookup| {
            let limit = limit_of(lane).map_or(usual, |(_, limit)| *limit);
            !lookup.is_at_hand && has_waited(lookup, now) >= limit
        };
        let late = self.reads.take_where(is_late);
        let late_of = |node: &Node| late.iter().filter(|(lane, _)| *lane == node.id()).count();
        self.cache.watch(late_of, now);
        let usable: Vec<usize> = slot_map.usable(now).map(Node::id).collect();
        let is_in_vain = |lane, lookup: &Lookup| {
            !lookup.is_at_hand && limit_of(lane).is_some() && !usable.contains(&lane)
        };
        let in_vain = self.reads.take_where(is_in_vain);
        let lookups = late.into_iter().chain(in_vain).map(|(_, lookup)| lookup);
        self.fall_back(lookups, On::Front);
        let limit = self.queue_timeout;
        let is_late = |fill: &Fill| now.saturating_duration_since(fill.queued_at) >= limit;
        for fill in self.fills.take_while(is_late) {
            self.stale_or(self.flights.fail(&fill.target), &Answer::Shed, On::Front);
        }
        let soft_timeout = |target: &Target| self.source_of(target).soft_timeout;
        let overdue = self.flights.overdue(now, soft_timeout);
        self.stale_or(overdue, &Answer::Unavailable, On::Front);
        if let Some(limit) = now.checked_sub(self.cache.limits().timeout * 2) {
            self.flights.forget_written(limit);
        }
    }

    /// A filler broke off: who waited for its fetch is not left behind.
    pub(crate) fn abandon(&self, target: &Target) {
        self.stale_or(self.flights.fail(target), &Answer::Unavailable, On::Worker);
    }

    /// The cache, for health and for the prober.
    #[must_use]
    pub(crate) fn cache(&self) -> &Arc<RedisCache> {
        &self.cache
    }

    /// The sources, for the metrics.
    #[must_use]
    pub(crate) fn sources(&self) -> &[GuardedSource] {
        &self.sources
    }

    /// The memory, for health.
    #[must_use]
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Whether there is anything that [`Self::watch`] would have to look at soon.
    #[must_use]
    pub(crate) fn is_under_way(&self) -> bool {
        !self.reads.is_empty() || self.flights.count() > 0 || self.cache.is_calling()
    }

    fn answer(&self, lookup: Lookup, answer: &Answer<'_>) {
        self.answer_at(lookup, answer, clock::now());
    }

    fn answer_at(&self, lookup: Lookup, answer: &Answer<'_>, now: Instant) {
        let took = now.saturating_duration_since(lookup.arrived);
        let route = lookup.target.route;
        self.metrics.answered(route, answer.outcome(), took);
        lookup.client.answer(answer);
        if *answer == Answer::Shed {
            self.say_shed();
        }
    }

    fn say_shed(&self) {
        if let Some(more) = self.said.say("shed", clock::now()) {
            let (fills, under_way) = self.fills.len();
            warn!(
                "shed a request with 503: no thread for it within [server] queue_timeout {} ms, or {} wait \
                 already: {} for redis, {fills} for a source; {} fetches are under way{more}",
                self.queue_timeout.as_millis(),
                self.fills.max(),
                self.reads.len(),
                under_way.iter().sum::<usize>(),
            );
        }
    }

    fn source_of(&self, target: &Target) -> &GuardedSource {
        &self.sources[self.routes[target.route].source]
    }

    /// What the slowest of the sources usually takes; zero before any was asked.
    fn slowest_source(&self) -> Duration {
        let usual = self.sources.iter().map(GuardedSource::usual);
        usual.max().unwrap_or_default()
    }

    fn recall(&self, target: &Target) -> Option<CachedValue> {
        self.memory.recall(target.route, &target.key)
    }

    /// Which part of a Redis Cluster holds the key.
    fn slot_of(&self, target: &Target) -> HashSlot {
        HashSlot::of(&self.full_key(target))
    }

    /// The key in Redis.
    fn full_key<'a>(&self, target: &'a Target) -> Cow<'a, str> {
        match self.routes[target.route].key_prefix.as_str() {
            "" => Cow::Borrowed(&*target.key),
            prefix => Cow::Owned(format!("{prefix}{}", target.key)),
        }
    }
}

/// How long a lookup has been under way.
fn has_waited(lookup: &Lookup, now: Instant) -> Duration {
    now.saturating_duration_since(lookup.arrived)
}

/// How many readers one node may hold. In a cluster never all of them: one that hangs must not stand in
/// the way of the others.
fn readers_of_a_node(config: &Config) -> usize {
    match config.redis.servers {
        Servers::Cluster { .. } => config.redis.readers.saturating_sub(1).max(1),
        Servers::Single { .. } | Servers::Sentinel { .. } => config.redis.readers,
    }
}
