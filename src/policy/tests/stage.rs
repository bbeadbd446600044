//! A stage for the policy: one thread, a clock that stands still unless it is moved, a Redis and a source
//! that do as they are told. Each step is called where a worker would call it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::base::clock::{self, Deadline, virtual_time};
use crate::base::queue::Taken;
use crate::cache::limits::Limits;
use crate::cache::port::{Cache, Lane, Question};
use crate::cache::ttl::KeyTtl;
use crate::cache::write::{Entry, Written};
use crate::config::{self, NO_ENVIRONMENT};
use crate::policy::*;
use crate::source::{Fetched, Source, SourceError};

/// What a client got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Got {
    Cache(String),
    Stale(String),
    Primary(String, bool),
    NoSuchThing,
    Unavailable,
    Shed,
    /// Dropped without an answer.
    Nothing,
}

pub(super) struct TestClient(Sender<Got>, bool);

impl Client for TestClient {
    fn answer(mut self: Box<Self>, answer: &Answer<'_>) {
        self.1 = true;
        let got = match answer {
            Answer::Redis(value) => Got::Cache((*value).to_owned()),
            Answer::Memory(copy) => Got::Cache(copy.value.to_owned()),
            Answer::Stale(copy) => Got::Stale(copy.value.to_owned()),
            Answer::Primary { value, joined } => Got::Primary((*value).to_owned(), *joined),
            Answer::NoSuchThing => Got::NoSuchThing,
            Answer::Unavailable => Got::Unavailable,
            Answer::Shed => Got::Shed,
        };
        let _ = self.0.send(got);
    }
}

impl Drop for TestClient {
    fn drop(&mut self) {
        if !self.1 {
            let _ = self.0.send(Got::Nothing);
        }
    }
}

/// A source that does what it was told last.
#[derive(Clone)]
pub(super) struct ScriptedSource(Arc<Mutex<Result<Fetched, SourceError>>>);

impl ScriptedSource {
    pub(super) fn says(&self, next: Result<Fetched, SourceError>) {
        *self.0.lock().expect("unpoisoned") = next;
    }
}

impl Source for ScriptedSource {
    fn fetch(&self, key: &str, _: Deadline) -> Result<Fetched, SourceError> {
        assert_ne!(key, "panic", "a source that panics");
        self.0.lock().expect("unpoisoned").clone()
    }
}

/// A Redis of one server that answers at once, or not at all.
pub(super) struct FakeRedis {
    limits: Limits,
    state: Mutex<FakeState>,
}

#[derive(Default)]
struct FakeState {
    is_usable: bool,
    takes_writes: bool,
    back_since: Option<Instant>,
    /// Values and their ends.
    values: BTreeMap<String, (String, Instant)>,
    /// Keys that were asked for.
    asked: Vec<String>,
}

impl FakeRedis {
    fn new(config: &Config) -> Self {
        Self {
            limits: Limits::new(&config.redis, &config.breaker),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, FakeState> {
        self.state.lock().expect("unpoisoned")
    }

    /// It goes away.
    pub(super) fn fails(&self) {
        let mut state = self.state();
        (state.is_usable, state.takes_writes) = (false, false);
    }

    /// It comes back, with what it had.
    pub(super) fn returns(&self) {
        let mut state = self.state();
        (state.is_usable, state.takes_writes) = (true, true);
        state.back_since = Some(clock::now());
    }

    pub(super) fn forgets_all(&self) {
        self.state().values.clear();
    }

    pub(super) fn deletes(&self, key: &str) {
        self.state().values.remove(key);
    }

    pub(super) fn has(&self, key: &str) -> Option<String> {
        self.state().look(key).map(|(value, _)| value)
    }

    pub(super) fn asked(&self) -> usize {
        self.state().asked.len()
    }
}

impl FakeState {
    fn look(&self, key: &str) -> Option<(String, Instant)> {
        let (value, end) = self.values.get(key)?;
        (clock::now() < *end).then(|| (value.clone(), *end))
    }
}

impl Cache for FakeRedis {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn choose_lanes<Q: Question>(
        &self,
        questions: impl Iterator<Item = Q>,
        _: Instant,
        mut told: impl FnMut(Q, Option<usize>),
    ) {
        let lane = self.state().is_usable.then_some(1);
        questions.for_each(|question| told(question, lane));
    }

    fn lanes(&self, _: Instant) -> Vec<Lane> {
        vec![Lane {
            number: 1,
            patience: self.limits.patience() / 2,
            is_usable: self.state().is_usable,
        }]
    }

    fn watch(&self, _: impl Fn(usize) -> usize, _: Instant) {}

    fn count_bypassed(&self, _: usize, _: usize) {}

    fn is_calling(&self) -> bool {
        false
    }

    fn read<Q: Question>(
        &self,
        _: usize,
        questions: impl Iterator<Item = Q>,
        mut told: impl FnMut(Q, Told<'_>),
    ) {
        let (asked, at) = (clock::now(), clock::now());
        for question in questions {
            let key = question.key().into_owned();
            let (is_usable, found) = {
                let mut state = self.state();
                state.asked.push(key.clone());
                (state.is_usable, state.look(&key))
            };
            let said = match &found {
                _ if !is_usable => Said::Unusable,
                Some((value, _)) => Said::Hit(value),
                None => Said::Miss,
            };
            told(question, Told { said, asked, at });
        }
    }

    fn back_since(&self, _: &str) -> Option<Instant> {
        self.state().back_since
    }

    fn takes_writes(&self, _: &str, _: Instant) -> bool {
        self.state().takes_writes
    }

    fn takes_any_writes(&self, _: Instant) -> bool {
        self.state().takes_writes
    }

    fn write(&self, _: usize, entries: &[Entry<'_>], _: Deadline) -> Written {
        let mut state = self.state();
        if !state.takes_writes {
            let refused = (0..entries.len()).collect();
            return Written { taken: 0, refused };
        }
        for entry in entries {
            let end = clock::now() + entry.ttl;
            let value = (entry.value.to_owned(), end);
            state.values.insert(entry.key.to_owned(), value);
        }
        let refused = Vec::new();
        let taken = entries.len();
        Written { taken, refused }
    }

    fn write_unless_younger(
        &self,
        caller: usize,
        entries: &[Entry<'_>],
        deadline: Deadline,
    ) -> Written {
        let is_older = |entry: &&Entry<'_>| {
            let there = self.state().look(entry.key);
            there.is_none_or(|(_, end)| end < clock::now() + entry.ttl)
        };
        let older: Vec<_> = entries.iter().filter(is_older).cloned().collect();
        self.write(caller, &older, deadline)
    }

    fn ttls(&self, _: usize, keys: &[&str], _: Deadline) -> Vec<Option<KeyTtl>> {
        let now = clock::now();
        let state = self.state();
        let ttl = |key: &&str| match state.look(key) {
            _ if !state.is_usable => None,
            Some((_, end)) => Some(KeyTtl::Left(end - now)),
            None => Some(KeyTtl::Gone),
        };
        keys.iter().map(ttl).collect()
    }
}

pub(super) struct Stage {
    pub policy: Policy<FakeRedis>,
    pub redis: Arc<FakeRedis>,
    pub source: ScriptedSource,
    pub metrics: Arc<Metrics>,
}

pub(super) fn value(text: &str) -> Result<Fetched, SourceError> {
    Ok(Fetched::Value(text.to_owned()))
}

/// Redis is not to be asked.
pub(super) fn stage(settings: &str) -> Stage {
    virtual_time::stop();
    let config =
        config::parse(settings, "test.ini", NO_ENVIRONMENT).expect("a sound configuration");
    let config = config.config;
    let source = ScriptedSource(Arc::new(Mutex::new(value("v"))));
    let metrics = Arc::new(Metrics::new(&config).expect("metrics"));
    let boxed = Box::new(source.clone());
    let guarded = GuardedSource::new(&config.sources[0], 0, boxed, Arc::clone(&metrics));
    let redis = Arc::new(FakeRedis::new(&config));
    let memory = Memory::new(&config.memory);
    let cache = Arc::clone(&redis);
    Stage {
        policy: Policy::new(&config, vec![guarded], cache, memory, Arc::clone(&metrics)),
        redis,
        source,
        metrics,
    }
}

impl Stage {
    pub(super) fn ask(&self, key: &str) -> Receiver<Got> {
        self.ask_within(key, Duration::from_secs(10))
    }

    pub(super) fn ask_within(&self, key: &str, limit: Duration) -> Receiver<Got> {
        let (sender, receiver) = channel();
        self.policy.submit(vec![Lookup {
            target: target(key),
            arrived: clock::now(),
            deadline: Deadline::after(clock::now(), limit),
            client: Box::new(TestClient(sender, false)),
        }]);
        receiver
    }

    /// Asks, lets everything happen that can happen now, and returns the answer.
    pub(super) fn get(&self, key: &str) -> Got {
        let receiver = self.ask(key);
        self.run();
        receiver.try_recv().expect("an answer")
    }

    /// Time goes on, and is looked at.
    pub(super) fn advance(&self, by: Duration) {
        virtual_time::advance(by);
        self.policy.watch(clock::now());
    }

    /// All workers at once: everything that waits is done.
    pub(super) fn run(&self) {
        while self.read_next() || self.fetch_next() || self.write_next() || self.upkeep() {}
    }

    /// What a reader would do next, if there is anything.
    pub(super) fn read_next(&self) -> bool {
        next(&self.policy.reads, |batch| self.policy.read(0, batch))
    }

    /// What a filler would do next, if there is anything.
    pub(super) fn fetch_next(&self) -> bool {
        next(&self.policy.fills, |batch| {
            batch.drain(..).for_each(|fill| self.policy.fetch(fill));
        })
    }

    fn write_next(&self) -> bool {
        next(&self.policy.writes, |batch| self.policy.write(1, batch))
    }

    fn upkeep(&self) -> bool {
        let policy = &self.policy;
        next(&policy.ttls, |batch| policy.refresh_due(2, batch))
            || policy.can_recover() && policy.recover(2) > Duration::ZERO
    }

    pub(super) fn remember(&self, key: &str, value: &str, ttl: Duration, age: Duration) {
        let fetched_at = clock::now().checked_sub(age).expect("the machine is older");
        let copy = CachedValue::fetched(value.into(), ttl, Some(ttl / 10 * 9), fetched_at);
        self.policy.memory.remember(0, key, copy);
    }
}

/// Does one item of a queue; false: there is none.
fn next<T>(queue: &Queue<T>, work: impl FnOnce(&mut Vec<T>)) -> bool {
    if queue.is_empty() {
        return false;
    }
    let mut batch = Vec::new();
    let Taken::From(lane) = queue.take(1, Duration::ZERO, &mut batch) else {
        return false;
    };
    work(&mut batch);
    queue.done(lane, Duration::ZERO);
    true
}

fn target(key: &str) -> Target {
    Target {
        route: 0,
        key: key.into(),
    }
}
