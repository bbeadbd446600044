//! The cache-aside policy: what is done for one key, from the question to the answer, and what takes
//! the place of what is gone. This is the main loop of the service. Each step is a method that some
//! thread of `workers` calls; what comes next is decided in [`mod@decide`] and done here, in
//! [`Policy::settle`]. It knows nothing of HTTP.
//!
//! | step | where | on | |
//! |---|---|---|---|
//! | 1 | `read.rs` `submit` | front | lookups wait for a reader, or go on to step 3 where Redis is not usable |
//! | 2 | `read.rs` `read` | reader | Redis is asked for a batch |
//! | 3 | `settle` here | any | what was said of a key and what is held decide what is served, if not: |
//! | 4 | `fetch.rs` `join` | any | one fetch for each key; whoever comes later waits for it |
//! | 5 | `fetch.rs` `fetch` | filler | the source is asked, and all lookups that wait are answered |
//! | 6 | `settle_without_source` here | any | no answer of the source in time: a copy, else 503 |
//! | 7 | `write_back.rs` `write` | writer | what was fetched goes to Redis |
//! | 8 | `write_back.rs` `recover` | upkeep | what Redis has missed or lost goes there when it is back |
//! | 9 | `watch.rs` `refresh_due` | upkeep | what nears its end in Redis is fetched anew |
//!
//! Time moves lookups on too: whoever waits too long in 1, 4 or 5 is taken from there (`watch.rs`).

pub(crate) mod decide;
pub(crate) mod flight;
pub(crate) mod guarded_source;
pub(crate) mod recovery;
mod refusals;
mod answer;
mod fetch;
mod read;
mod watch;
mod write_back;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::warn;

use crate::base::queue::Queue;
use crate::cache::RedisCache;
use crate::cache::port::{Cache, Said, Told};
use crate::config::{Config, Route, Servers};
use crate::copies::cached_value::{CachedValue, Kept};
use crate::copies::memory::Memory;
use crate::observe::logging::LogThrottle;
use crate::observe::metrics::Metrics;
use decide::{Conditions, Held, Refusal, Served, Step, decide, instead_of_source};
use flight::{Flights, Target};
use recovery::Recovery;

#[cfg(test)]
mod tests;

pub(crate) use answer::{
    Answer, Client, Copied, Fill, Lookup, Read, Rendering, Waiting, WriteBack,
};
pub(crate) use guarded_source::GuardedSource;

/// Bytes of a copy that whoever decides on it answers with at once. Larger answers take long to build:
/// a reader does that, so that they hold up neither the front nor other answers.
const AT_ONCE_MAX_BYTES: usize = 64 * 1024;
/// The lane of decided answers; the lanes of Redis are numbered from 1.
const RENDER_LANE: usize = 0;
/// Values that wait to be written to Redis, at most.
const WRITES_MAX: usize = 1024;
/// Keys whose ttl Redis is to be asked for, at most.
const TTLS_MAX: usize = 1024;

/// The policy and everything it needs.
pub(crate) struct Policy<C = RedisCache> {
    routes: Vec<Route>,
    sources: Vec<GuardedSource>,
    fresh_while_redis_is_down: bool,
    queue_timeout: Duration,
    cache: Arc<C>,
    memory: Memory,
    flights: Flights<Waiting>,
    metrics: Arc<Metrics>,
    /// What is shed is counted, and said now and then.
    said: LogThrottle,
    /// What waits for a reader.
    pub reads: Queue<Read>,
    /// Fetches that wait for a filler, in a lane for each source.
    pub fills: Queue<Fill>,
    /// Values that wait for the writer.
    pub writes: Queue<WriteBack>,
    /// Keys whose ttl Redis is to be asked for.
    pub ttls: Queue<Target>,
    /// What waits for Redis to come back.
    pub recovery: Recovery,
}

impl<C: Cache> Policy<C> {
    /// From the settings and the parts; `sources` as in `config.sources`.
    pub(crate) fn new(
        config: &Config,
        sources: Vec<GuardedSource>,
        cache: Arc<C>,
        memory: Memory,
        metrics: Arc<Metrics>,
    ) -> Self {
        let server = &config.server;
        let fillers = guarded_source::lane_limits(config);
        Self {
            routes: config.routes.clone(),
            sources,
            fresh_while_redis_is_down: config.memory.fresh_while_redis_is_down,
            queue_timeout: server.queue_timeout,
            cache,
            memory,
            flights: Flights::default(),
            metrics,
            said: LogThrottle::default(),
            reads: Queue::new(server.queue, &[readers_of_a_node(config)]),
            fills: Queue::new(server.queue, &fillers).with_wait_max(server.queue_timeout),
            writes: Queue::new(WRITES_MAX, &[1]),
            ttls: Queue::new(TTLS_MAX, &[1]),
            recovery: Recovery::new(config.redis.recovery_max_bytes),
        }
    }

    /// Step 3: what was `told` of the key and what is held decide what is done for the lookup.
    fn settle(&self, lookup: Lookup, told: Told<'_>) {
        let (target, now) = (&lookup.target, told.at);
        let step = match told.said {
            // A hit is served whatever else is known, so nothing else is looked at.
            Said::Hit(_) => decide(told.said, Held::Nothing, &Conditions::default(), now),
            Said::Miss | Said::Unusable => {
                let held = self.held(target, now);
                let conditions = self.conditions(target, told.said, &held, now);
                decide(told.said, held, &conditions, now)
            }
        };
        if told.said == Said::Unusable {
            self.metrics.redis.bypassed.inc();
        }
        self.perform(lookup, step, &told);
    }

    /// Step 6: the source gives no answer in time. What memory holds by now is served, or what was held
    /// when the fetch began, else the `refusal`.
    fn settle_without_source(&self, waiting: Waiting, refusal: Refusal, now: Instant) {
        let Waiting { lookup, copy } = waiting;
        let max_stale = self.routes[lookup.target.route].max_stale;
        let held = match self.held(&lookup.target, now) {
            Held::Nothing => Held::of(copy.map(Kept::Value), max_stale, now),
            held => held,
        };
        let step = instead_of_source(held, refusal);
        self.perform(lookup, step, &Told::unusable(now));
    }

    fn settle_all_without_source(
        &self,
        waiting: impl IntoIterator<Item = Waiting>,
        refusal: Refusal,
        now: Instant,
    ) {
        for waiting in waiting {
            self.settle_without_source(waiting, refusal, now);
        }
    }

    /// Does what was decided.
    fn perform(&self, lookup: Lookup, step: Step<'_>, told: &Told<'_>) {
        let now = told.at;
        let target = &lookup.target;
        match step {
            Step::Serve(Served::Redis(value)) => {
                self.keep_hit(target, value, told.asked);
                self.answer(lookup, &Answer::Redis(value), now);
            }
            Step::Serve(Served::Fresh { copy, refresh }) => {
                if refresh && self.memory.claim_refresh(target.route, &target.key, now) {
                    self.refresh(target, now);
                }
                self.answer_with_copy(lookup, copy, false, now);
            }
            Step::Serve(Served::Stale(copy)) => self.answer_with_copy(lookup, copy, true, now),
            Step::ServeAndWriteBack(copy) => {
                self.keep_for_redis(target, &copy);
                self.answer_with_copy(lookup, copy, false, now);
            }
            Step::NotFound => {
                self.metrics.route(target.route).negative_hits.inc();
                self.answer(lookup, &Answer::NoSuchThing, now);
            }
            Step::Refuse(Refusal::Unavailable) => self.answer(lookup, &Answer::Unavailable, now),
            Step::Refuse(Refusal::Shed) => self.answer(lookup, &Answer::Shed, now),
            Step::Fetch(copy) => {
                let missed = (told.said == Said::Miss).then_some(lookup.arrived);
                self.join(Waiting { lookup, copy }, missed, now);
            }
        }
    }

    /// What memory holds of a key.
    fn held(&self, target: &Target, now: Instant) -> Held {
        let kept = self.memory.recall(target.route, &target.key);
        Held::of(kept, self.routes[target.route].max_stale, now)
    }

    fn conditions(&self, target: &Target, said: Said<'_>, held: &Held, now: Instant) -> Conditions {
        let redis_back_since = match (said, held) {
            (Said::Miss, Held::Fresh(_)) => self.cache.back_since(&self.full_key(target)),
            _ => None,
        };
        Conditions {
            fresh_while_redis_is_down: self.fresh_while_redis_is_down,
            source_refuses: self.source_of(target).refuses(now),
            redis_back_since,
        }
    }

    /// Answers with a copy, at once or, where it is large, by a reader. It needs no room there: lookups
    /// are bounded by connections.
    fn answer_with_copy(&self, lookup: Lookup, copy: CachedValue, is_stale: bool, now: Instant) {
        let rendering = Rendering {
            lookup,
            age: copy.age(now),
            value: copy.value,
            ttl: copy.ttl,
            is_stale,
        };
        if rendering.value.len() <= AT_ONCE_MAX_BYTES {
            return self.render(rendering, now);
        }
        let read = Read::Render(Box::new(rendering));
        for refused in self.reads.put_unbounded([(RENDER_LANE, read)]) {
            // The readers are about to end.
            if let Read::Render(rendering) = refused {
                self.render(*rendering, now);
            }
        }
    }

    fn render(&self, rendering: Rendering, now: Instant) {
        let copied = Copied {
            value: &rendering.value,
            age: rendering.age,
            ttl: rendering.ttl,
            shows_age: self.routes[rendering.lookup.target.route].age_header,
        };
        let answer = match rendering.is_stale {
            true => Answer::Stale(copied),
            false => Answer::Memory(copied),
        };
        self.answer(rendering.lookup, &answer, now);
    }

    fn answer(&self, lookup: Lookup, answer: &Answer<'_>, now: Instant) {
        let route = lookup.target.route;
        self.metrics
            .answered(route, answer.outcome(), lookup.waited(now));
        lookup.client.answer(answer);
        if *answer == Answer::Shed {
            self.say_shed(now);
        }
    }

    fn say_shed(&self, now: Instant) {
        if let Some(more) = self.said.say("shed", now) {
            warn!(
                "shed a request with 503: no thread for it within [server] queue_timeout {} ms, or {} wait \
                 already: {} for redis, {} for a source; {} fetches are under way{more}",
                self.queue_timeout.as_millis(),
                self.fills.max(),
                self.reads.len(),
                self.fills.len(),
                self.fills.under_way().iter().sum::<usize>(),
            );
        }
    }

    fn source_of(&self, target: &Target) -> &GuardedSource {
        &self.sources[self.routes[target.route].source]
    }

    /// The key in Redis.
    fn full_key<'a>(&self, target: &'a Target) -> Cow<'a, str> {
        match self.routes[target.route].key_prefix.as_str() {
            "" => Cow::Borrowed(&*target.key),
            prefix => Cow::Owned(format!("{prefix}{}", target.key)),
        }
    }

    /// The cache, for health and for the prober.
    pub(crate) fn cache(&self) -> &Arc<C> {
        &self.cache
    }

    pub(crate) fn sources(&self) -> &[GuardedSource] {
        &self.sources
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }
}

/// How many readers one node may hold. In a cluster never all of them: one that hangs must not stand in
/// the way of the others.
fn readers_of_a_node(config: &Config) -> usize {
    match config.redis.servers {
        Servers::Cluster { .. } => config.redis.readers.saturating_sub(1).max(1),
        Servers::Single { .. } | Servers::Sentinel { .. } => config.redis.readers,
    }
}
