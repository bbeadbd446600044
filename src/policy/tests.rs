//! The policy by example, without threads and without Redis: each step is called where a thread would.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::config::{self, NO_ENVIRONMENT};
use crate::source::{Source, SourceError};
use crate::workers::Workers;

/// What a client got.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Got {
    Cache(String),
    Stale(String),
    Primary(String, bool),
    NoSuchThing,
    Unavailable,
    Shed,
    /// Dropped without an answer.
    Nothing,
}

struct TestClient(Sender<Got>, bool);

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

/// A client whose connection's code breaks off.
struct PanickingClient;

impl Client for PanickingClient {
    fn answer(self: Box<Self>, _: &Answer<'_>) {
        panic!("a client that panics");
    }
}

/// A source that does what it was told last.
#[derive(Clone)]
struct ScriptedSource(Arc<Mutex<Result<Fetched, SourceError>>>);

impl ScriptedSource {
    fn says(&self, next: Result<Fetched, SourceError>) {
        *self.0.lock().expect("unpoisoned") = next;
    }
}

impl Source for ScriptedSource {
    fn fetch(&self, key: &str, _: Deadline) -> Result<Fetched, SourceError> {
        assert_ne!(key, "panic", "a source that panics");
        self.0.lock().expect("unpoisoned").clone()
    }
}

struct Stage {
    lookups: Arc<Policy>,
    source: ScriptedSource,
    metrics: Arc<Metrics>,
}

fn value(text: &str) -> Result<Fetched, SourceError> {
    Ok(Fetched::Value(text.to_owned()))
}

/// With the breaker held open: Redis is not to be asked.
fn stage(settings: &str) -> Stage {
    let text = format!("[breaker]\nmode = forced_open\n{settings}");
    let config = config::parse(&text, "test.ini", NO_ENVIRONMENT).expect("a sound configuration");
    let config = config.config;
    let source = ScriptedSource(Arc::new(Mutex::new(value("v"))));
    let metrics = Arc::new(Metrics::new(&config).expect("metrics"));
    let boxed = Box::new(source.clone());
    let guarded = GuardedSource::new(&config.sources[0], 0, boxed, Arc::clone(&metrics));
    let redis = RedisCache::new(&config.redis, &config.breaker, 3, Arc::clone(&metrics));
    let cache = Arc::new(redis);
    let memory = Memory::new(&config.memory);
    let lookups = Policy::new(&config, vec![guarded], cache, memory, Arc::clone(&metrics));
    Stage {
        lookups: Arc::new(lookups),
        source,
        metrics,
    }
}

impl Stage {
    fn ask(&self, key: &str) -> Receiver<Got> {
        self.ask_within(key, Duration::from_secs(10))
    }

    fn ask_within(&self, key: &str, limit: Duration) -> Receiver<Got> {
        let (sender, receiver) = channel();
        self.lookups.submit(vec![lookup(
            key,
            limit,
            Box::new(TestClient(sender, false)),
        )]);
        receiver
    }

    /// What a filler would do next.
    fn fetch_next(&self) {
        let (lane, fill) = self.lookups.fills.take().expect("a fetch that waits");
        self.lookups.fetch(fill);
        self.lookups.fills.done(lane, Duration::ZERO);
    }

    fn remember(&self, key: &str, value: &str, ttl: Duration, age: Duration) {
        let fetched_at = clock::now().checked_sub(age).expect("the machine is older");
        let copy = CachedValue::fetched(value.into(), ttl, Some(ttl / 10 * 9), fetched_at);
        self.lookups.memory.remember(0, key, copy);
    }
}

fn lookup(key: &str, limit: Duration, client: Box<dyn Client>) -> Lookup {
    let now = clock::now();
    Lookup {
        target: Target {
            route: 0,
            key: key.into(),
        },
        arrived: now,
        deadline: Deadline::after(now, limit),
        copy: None,
        is_at_hand: false,
        client,
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn what_is_not_known_is_fetched_and_remembered() {
    let stage = stage("");
    let first = stage.ask("k");
    assert!(first.try_recv().is_err(), "nobody has fetched yet");
    stage.fetch_next();
    assert_eq!(first.recv(), Ok(Got::Primary("v".to_owned(), false)));
    assert_eq!(stage.ask("k").recv(), Ok(Got::Cache("v".to_owned())));
}

#[test]
fn a_hundred_lookups_of_one_key_are_one_fetch() {
    let stage = stage("");
    let waiting: Vec<_> = (0..100).map(|_| stage.ask("k")).collect();
    assert_eq!(stage.lookups.fills.len(), (1, vec![0]));
    stage.fetch_next();
    for (place, client) in waiting.iter().enumerate() {
        assert_eq!(client.recv(), Ok(Got::Primary("v".to_owned(), place > 0)));
    }
    assert_eq!(stage.metrics.source_calls(), 1);
}

#[test]
fn serves_stale_when_redis_and_source_are_down() {
    let stage = stage("");
    stage.source.says(Err(SourceError::TimedOut));
    stage.remember("k", "old", MINUTE, 2 * MINUTE);
    let client = stage.ask("k");
    stage.fetch_next();
    assert_eq!(client.recv(), Ok(Got::Stale("old".to_owned())));
}

#[test]
fn a_copy_older_than_ttl_and_max_stale_is_not_served() {
    let stage = stage("[route data]\nmax_stale = 30s");
    stage.source.says(Err(SourceError::TimedOut));
    stage.remember("k", "old", MINUTE, 2 * MINUTE);
    let client = stage.ask("k");
    stage.fetch_next();
    assert_eq!(client.recv(), Ok(Got::Unavailable));
}

#[test]
fn a_stale_copy_does_not_keep_the_source_from_being_asked() {
    let stage = stage("");
    stage.remember("k", "old", MINUTE, 2 * MINUTE);
    let client = stage.ask("k");
    stage.fetch_next();
    assert_eq!(client.recv(), Ok(Got::Primary("v".to_owned(), false)));
}

#[test]
fn fresh_copies_can_be_left_aside_while_redis_is_down() {
    let stage = stage("[memory]\nfresh_while_redis_is_down = false");
    stage.remember("k", "old", MINUTE, Duration::ZERO);
    let client = stage.ask("k");
    stage.fetch_next();
    assert_eq!(client.recv(), Ok(Got::Primary("v".to_owned(), false)));
}

#[test]
fn no_such_thing_is_said_and_the_copy_forgotten() {
    let stage = stage("");
    stage.source.says(Ok(Fetched::NoSuchThing));
    stage.remember("k", "old", MINUTE, 2 * MINUTE);
    let client = stage.ask("k");
    stage.fetch_next();
    assert_eq!(client.recv(), Ok(Got::NoSuchThing));
    assert!(stage.lookups.memory.recall(0, "k").is_none());
}

#[test]
fn sheds_with_503_when_the_queue_is_full() {
    let stage = stage("[server]\nqueue = 2");
    let _waiting = (stage.ask("a"), stage.ask("b"));
    assert_eq!(stage.ask("c").recv(), Ok(Got::Shed));
    stage.remember("d", "old", MINUTE, 2 * MINUTE);
    assert_eq!(
        stage.ask("d").recv(),
        Ok(Got::Stale("old".to_owned())),
        "better than nothing"
    );
}

#[test]
fn a_fetch_that_waited_too_long_for_a_filler_is_shed() {
    let stage = stage("[server]\nqueue_timeout = 1s");
    let client = stage.ask("k");
    let now = clock::now();
    stage.lookups.watch(now + Duration::from_millis(900));
    assert!(client.try_recv().is_err());
    stage.lookups.watch(now + Duration::from_millis(1100));
    assert_eq!(client.recv(), Ok(Got::Shed));
    assert_eq!(stage.lookups.flights.count(), 0);
}

#[test]
fn who_is_overdue_is_answered_while_the_fetch_goes_on() {
    let stage = stage("[server]\nqueue_timeout = 4s");
    let hasty = stage.ask_within("k", Duration::from_millis(500));
    let patient = stage.ask("k");
    stage.lookups.watch(clock::now() + Duration::from_secs(1));
    assert_eq!(hasty.recv(), Ok(Got::Unavailable));
    assert!(patient.try_recv().is_err());
    stage.fetch_next();
    assert_eq!(patient.recv(), Ok(Got::Primary("v".to_owned(), false)));
}

#[test]
fn a_source_that_panics_costs_its_waiters_a_503_and_nothing_else() {
    let stage = stage("");
    let (first, second, other) = (stage.ask("panic"), stage.ask("panic"), stage.ask("k"));
    stage.fetch_next();
    stage.fetch_next();
    assert_eq!(first.recv(), Ok(Got::Unavailable));
    assert_eq!(second.recv(), Ok(Got::Unavailable));
    assert_eq!(other.recv(), Ok(Got::Primary("v".to_owned(), false)));
    assert_eq!(stage.metrics.panics.get(), 1);
}

#[test]
fn a_panic_in_a_reader_or_filler_costs_what_it_held_and_the_thread_lives_on() {
    let stage = stage("");
    stage.remember("kept", "v", MINUTE, Duration::ZERO);
    let workers = Workers::start(&stage.lookups, &stage.metrics, 1, 1, 1).expect("threads");
    let put = |key: &str, client: Box<dyn Client>| {
        let refused = stage.lookups.reads.put([(0, lookup(key, MINUTE, client))]);
        assert!(refused.is_empty());
    };
    let ask = |key: &str| {
        let (sender, receiver) = channel();
        put(key, Box::new(TestClient(sender, false)));
        receiver.recv_timeout(MINUTE)
    };
    put("kept", Box::new(PanickingClient));
    assert_eq!(
        ask("kept"),
        Ok(Got::Cache("v".to_owned())),
        "the reader lives on"
    );
    put("new", Box::new(PanickingClient));
    assert_eq!(
        ask("other"),
        Ok(Got::Primary("v".to_owned(), false)),
        "the filler lives on"
    );
    assert!(stage.metrics.panics.get() >= 2);
    drop(workers);
    assert_eq!(stage.lookups.flights.count(), 0);
}

#[test]
fn a_batch_asks_for_each_key_once_under_its_prefix() {
    let stage = stage("[redis]\nkey_prefix = p:");
    let (sender, _receiver) = channel();
    let ask = |key| lookup(key, MINUTE, Box::new(TestClient(sender.clone(), true)));
    let batch = [ask("a"), ask("b"), ask("a")];
    let (keys, places) = stage.lookups.distinct_keys(&batch);
    assert_eq!(keys, ["p:a", "p:b"]);
    assert_eq!(places, [0, 1, 0]);
}

#[test]
fn who_has_a_copy_waits_for_the_soft_time_out_only_and_the_fetch_goes_on() {
    let stage = stage("[source demo]\nsoft_timeout = 200ms");
    stage.remember("k", "old", MINUTE, 2 * MINUTE);
    let (with_copy, without) = (stage.ask("k"), stage.ask("other"));
    let now = clock::now();
    stage.lookups.watch(now + Duration::from_millis(150));
    assert!(with_copy.try_recv().is_err());
    stage.lookups.watch(now + Duration::from_millis(250));
    assert_eq!(with_copy.recv(), Ok(Got::Stale("old".to_owned())));
    assert!(without.try_recv().is_err());
    stage.fetch_next();
    assert_eq!(stage.ask("k").recv(), Ok(Got::Cache("v".to_owned())));
}

#[test]
fn a_key_whose_fetch_failed_is_served_stale_and_not_asked_again_for_a_while() {
    let stage = stage("[route data]\nstale_retry = 1h");
    stage.source.says(Err(SourceError::TimedOut));
    stage.remember("k", "old", MINUTE, 2 * MINUTE);
    let client = stage.ask("k");
    stage.fetch_next();
    let old = || Ok(Got::Stale("old".to_owned()));
    assert_eq!(client.recv(), old());
    (0..5).for_each(|_| assert_eq!(stage.ask("k").recv(), old()));
    assert_eq!(stage.metrics.source_calls(), 1);
    let over = clock::now().checked_sub(Duration::from_secs(1));
    stage
        .lookups
        .memory
        .change(0, "k", |copy| copy.retry_at = over);
    stage.source.says(value("new"));
    let client = stage.ask("k");
    stage.fetch_next();
    assert_eq!(client.recv(), Ok(Got::Primary("new".to_owned(), false)));
}

#[test]
fn without_a_copy_a_failing_source_is_asked_until_its_breaker_opens() {
    let stage = stage("[source demo]\nfail_max = 3\nreset_timeout = 1h");
    stage.source.says(Err(SourceError::Status(500)));
    stage.remember("kept", "old", MINUTE, 2 * MINUTE);
    for n in 0..3 {
        let client = stage.ask(&format!("k{n}"));
        stage.fetch_next();
        assert_eq!(client.recv(), Ok(Got::Unavailable));
    }
    assert_eq!(stage.ask("k9").recv(), Ok(Got::Unavailable), "at once");
    assert_eq!(stage.ask("kept").recv(), Ok(Got::Stale("old".to_owned())));
    assert_eq!(stage.metrics.source_calls(), 3);
    assert_eq!(stage.lookups.fills.len(), (0, vec![0]));
}

#[test]
fn after_its_reset_time_out_one_fetch_is_the_trial_of_a_source() {
    let stage = stage("[source demo]\nfail_max = 1\nreset_timeout = 1ms");
    stage.source.says(Err(SourceError::TimedOut));
    let client = stage.ask("a");
    stage.fetch_next();
    assert_eq!(client.recv(), Ok(Got::Unavailable));
    stage.source.says(value("v"));
    while stage.lookups.sources[0].refuses(clock::now()) {
        std::thread::yield_now();
    }
    let (trial, other) = (stage.ask("b"), stage.ask("c"));
    stage.fetch_next();
    stage.fetch_next();
    assert_eq!(trial.recv(), Ok(Got::Primary("v".to_owned(), false)));
    assert_eq!(other.recv(), Ok(Got::Primary("v".to_owned(), false)));
}

#[test]
fn what_is_wrong_with_one_key_does_not_open_the_breaker_of_its_source() {
    let stage = stage("[source demo]\nfail_max = 1");
    for error in [SourceError::Status(400), SourceError::NotUtf8] {
        stage.source.says(Err(error));
        let client = stage.ask("k");
        stage.fetch_next();
        assert_eq!(client.recv(), Ok(Got::Unavailable));
    }
    stage.source.says(value("v"));
    let client = stage.ask("k");
    stage.fetch_next();
    assert_eq!(client.recv(), Ok(Got::Primary("v".to_owned(), false)));
}

#[test]
fn that_there_is_no_such_thing_is_remembered_for_its_time() {
    let stage = stage("");
    stage.source.says(Ok(Fetched::NoSuchThing));
    let client = stage.ask("k");
    stage.fetch_next();
    assert_eq!(client.recv(), Ok(Got::NoSuchThing));
    assert_eq!(stage.ask("k").recv(), Ok(Got::NoSuchThing));
    assert_eq!(stage.metrics.source_calls(), 1);
    assert_eq!(stage.metrics.route(0).negative_hits.get(), 1);
}

#[test]
fn with_no_negative_ttl_it_is_asked_again() {
    let stage = stage("[route data]\nnegative_ttl = 0");
    stage.source.says(Ok(Fetched::NoSuchThing));
    for _ in 0..2 {
        let client = stage.ask("k");
        stage.fetch_next();
        assert_eq!(client.recv(), Ok(Got::NoSuchThing));
    }
    assert_eq!(stage.metrics.source_calls(), 2);
}

#[test]
fn the_first_request_near_the_end_of_a_life_refreshes_it_and_waits_for_nothing() {
    let stage = stage("");
    stage.remember("k", "old", MINUTE, MINUTE / 100 * 95);
    let old = || Ok(Got::Cache("old".to_owned()));
    (0..5).for_each(|_| assert_eq!(stage.ask("k").recv(), old()));
    assert_eq!(stage.lookups.fills.len(), (1, vec![0]), "one refresh");
    stage.fetch_next();
    assert_eq!(stage.ask("k").recv(), Ok(Got::Cache("v".to_owned())));
    assert_eq!(stage.metrics.route(0).refreshes.get(), 1);
}

#[test]
fn what_is_fetched_while_redis_is_away_waits_for_it_newest_first_per_key() {
    let stage = stage("[route data]\nttl = 1s");
    for text in ["one", "two"] {
        stage.source.says(value(text));
        stage.lookups.memory.forget(0, "k");
        let client = stage.ask("k");
        stage.fetch_next();
        assert_eq!(client.recv(), Ok(Got::Primary(text.to_owned(), false)));
    }
    assert_eq!(stage.lookups.recovery.len().0, 1);
}

#[test]
fn lives_are_longer_or_shorter_by_the_jitter_and_no_more() {
    let lives = (0..1000).map(|_| write_back::jittered(MINUTE, MINUTE / 10));
    let (min, max) = lives.fold((MINUTE, MINUTE), |(min, max), life| {
        (min.min(life), max.max(life))
    });
    let within = MINUTE / 10 * 9..=MINUTE / 10 * 11;
    assert!(within.contains(&min) && within.contains(&max));
    assert!(max - min > MINUTE / 10, "{min:?} to {max:?}");
    assert_eq!(write_back::jittered(MINUTE, Duration::ZERO), MINUTE);
}
