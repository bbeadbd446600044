//! The threads themselves: what a panic in one of them costs.

use std::sync::mpsc::{Sender, channel};

use super::*;
use crate::base::clock::Deadline;
use crate::cache::RedisCache;
use crate::config::{self, NO_ENVIRONMENT};
use crate::copies::cached_value::CachedValue;
use crate::copies::memory::Memory;
use crate::policy::flight::Target;
use crate::policy::{Answer, Client, GuardedSource, Lookup, Read};
use crate::source::{Fetched, Source, SourceError};

const MINUTE: Duration = Duration::from_secs(60);

struct EchoingSource;

impl Source for EchoingSource {
    fn fetch(&self, key: &str, _: Deadline) -> Result<Fetched, SourceError> {
        Ok(Fetched::Value(key.to_owned()))
    }
}

struct TestClient(Sender<String>);

impl Client for TestClient {
    fn answer(self: Box<Self>, answer: &Answer<'_>) {
        let _ = self.0.send(format!("{:?}", answer.outcome()));
    }
}

/// A client whose connection's code breaks off.
struct PanickingClient;

impl Client for PanickingClient {
    fn answer(self: Box<Self>, _: &Answer<'_>) {
        panic!("a client that panics");
    }
}

/// With the breaker of Redis held open.
fn policy() -> (Arc<Policy>, Arc<Metrics>) {
    let text = "[breaker]\nmode = forced_open";
    let config = config::parse(text, "test.ini", NO_ENVIRONMENT).expect("a sound configuration");
    let config = config.config;
    let metrics = Arc::new(Metrics::new(&config).expect("metrics"));
    let source = Box::new(EchoingSource);
    let guarded = GuardedSource::new(&config.sources[0], 0, source, Arc::clone(&metrics));
    let redis = RedisCache::new(&config.redis, &config.breaker, 3, Arc::clone(&metrics));
    let memory = Memory::new(&config.memory);
    let policy = Policy::new(
        &config,
        vec![guarded],
        Arc::new(redis),
        memory,
        Arc::clone(&metrics),
    );
    (Arc::new(policy), metrics)
}

#[test]
fn a_panic_in_a_reader_or_filler_costs_what_it_held_and_the_thread_lives_on() {
    let (policy, metrics) = policy();
    let kept = CachedValue::fetched("v".into(), MINUTE, None, clock::now());
    policy.memory().remember(0, "kept", kept);
    let workers = Workers::start(&policy, &metrics, 1, 1, 1).expect("threads");
    let put = |key: &str, client: Box<dyn Client>| {
        let arrived = clock::now();
        let (route, key) = (0, key.into());
        let lookup = Lookup {
            target: Target { route, key },
            arrived,
            deadline: Deadline::after(arrived, MINUTE),
            client,
        };
        assert!(policy.reads.put([(1, Read::Ask(lookup))]).is_empty());
    };
    let ask = |key: &str| {
        let (sender, receiver) = channel();
        put(key, Box::new(TestClient(sender)));
        receiver.recv_timeout(MINUTE)
    };
    put("kept", Box::new(PanickingClient));
    assert_eq!(
        ask("kept").as_deref(),
        Ok("MemoryFresh"),
        "the reader lives on"
    );
    put("new", Box::new(PanickingClient));
    assert_eq!(ask("other").as_deref(), Ok("Source"), "the filler lives on");
    assert!(metrics.panics.get() >= 2);
    drop(workers);
    assert!(!policy.is_under_way());
}

#[test]
fn a_probe_job_is_run_by_workers_that_are_at_rest() {
    let (policy, metrics) = policy();
    let workers = Workers::start(&policy, &metrics, 1, 1, 1).expect("threads");
    let (sender, receiver) = channel();
    let job = move || sender.send(thread::current().name().map(str::to_owned));
    probe_job::send(&policy, probe_job::ProbeJob::new(move || drop(job())));
    let ran_on = receiver.recv_timeout(MINUTE).expect("it is run");
    let ran_on = ran_on.expect("a name");
    assert!(
        ["reader-0", "filler-0"].contains(&ran_on.as_str()),
        "{ran_on}"
    );
    drop(workers);
}
