//! Lookups on their way through the whole policy, on one thread and with a clock that is moved by hand:
//! hit, miss, outage and recovery, and large copies.

use std::sync::mpsc::TryRecvError;

use super::stage::Stage;
use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn cached(text: &str) -> Got {
    Got::Cache(text.to_owned())
}

fn fetched(text: &str) -> Got {
    Got::Primary(text.to_owned(), false)
}

#[test]
fn hit_miss_outage_and_recovery() {
    // An hour in Redis, and for a day more when there is nothing better.
    let stage = stage("[route data]\nttl = 1h\nttl_jitter = 0\nmax_stale = 24h\nrefresh_at = 1");
    stage.redis.returns();
    stage.advance(2 * MINUTE);

    // Miss, then hit.
    assert_eq!(stage.get("k"), fetched("v"));
    assert_eq!(stage.redis.has("k").as_deref(), Some("v"));
    assert_eq!(stage.get("k"), cached("v"));
    assert_eq!((stage.redis.asked(), stage.metrics.source_calls()), (2, 1));

    // Deleted: the copy of this process is no reason to serve it.
    stage.source.says(value("w"));
    stage.redis.deletes("k");
    stage.advance(MINUTE);
    assert_eq!(stage.get("k"), fetched("w"));

    // An outage of Redis is none of the source.
    stage.redis.fails();
    assert_eq!(stage.get("k"), cached("w"));
    assert_eq!((stage.redis.asked(), stage.metrics.source_calls()), (3, 2));

    // An outage of both: what is past its ttl is served, but not for ever.
    stage.source.says(Err(SourceError::TimedOut));
    stage.advance(2 * HOUR);
    assert_eq!(stage.get("k"), Got::Stale("w".to_owned()));
    stage.advance(23 * HOUR);
    assert_eq!(stage.get("k"), Got::Unavailable);

    // The source is back, Redis is not: what is fetched waits for Redis.
    stage.source.says(value("x"));
    assert_eq!(stage.get("k"), fetched("x"));
    assert_eq!(stage.policy.recovery.len().0, 1);
    stage.redis.returns();
    stage.run();
    assert_eq!(stage.redis.has("k").as_deref(), Some("x"));
    assert_eq!(stage.get("k"), cached("x"));

    // Redis comes back empty: copies stand in, and go back there.
    let calls = stage.metrics.source_calls();
    stage.redis.fails();
    stage.redis.forgets_all();
    stage.advance(MINUTE);
    stage.redis.returns();
    assert_eq!(stage.get("k"), cached("x"));
    assert_eq!(stage.redis.has("k").as_deref(), Some("x"));
    assert_eq!(stage.metrics.source_calls(), calls);
}

#[test]
fn what_nears_its_end_in_redis_is_fetched_before_it_is_missed() {
    let stage = stage("[route data]\nttl = 1h\nttl_jitter = 0\nrefresh_at = 0.9");
    stage.redis.returns();
    assert_eq!(stage.get("k"), fetched("v"));
    stage.source.says(value("w"));
    stage.advance(HOUR / 10 * 9);
    assert_eq!(stage.get("k"), cached("v"), "nobody waits for it");
    assert_eq!(stage.get("k"), cached("w"));
    assert_eq!(stage.metrics.source_calls(), 2);
}

#[test]
fn who_waits_too_long_for_a_reader_goes_on_without_redis() {
    let stage = stage("");
    stage.redis.returns();
    let client = stage.ask("k");
    stage.advance(stage.redis.limits().patience() / 2);
    assert!(stage.policy.reads.is_empty());
    assert!(stage.fetch_next());
    assert_eq!(client.recv(), Ok(fetched("v")));
    assert_eq!(stage.redis.asked(), 0);
}

/// A copy of each size that is past its ttl, or not.
fn each_size(test: impl Fn(&Stage, &str), settings: &str, age: Duration) {
    for size in [10, 100_000, 10_000_000] {
        let stage = stage(&format!("[memory]\nmax_bytes = 256MiB\n{settings}"));
        let text = "x".repeat(size);
        stage.remember("k", &text, MINUTE, age);
        test(&stage, &text);
    }
}

#[test]
fn a_copy_of_any_size_is_served_once_the_soft_time_out_has_passed() {
    for redis_is_up in [true, false] {
        let test = |stage: &Stage, text: &str| {
            if redis_is_up {
                stage.redis.returns();
                stage.advance(2 * MINUTE);
                stage.remember("k", text, MINUTE, 2 * MINUTE);
            }
            let asked = || stage.redis.asked();
            let client = stage.ask("k");
            while stage.read_next() {}
            let asked_before = asked();
            stage.advance(Duration::from_millis(199));
            assert_eq!(client.try_recv(), Err(TryRecvError::Empty));
            stage.advance(Duration::from_millis(1));
            while stage.read_next() {}
            let got = client.try_recv();
            assert!(got == Ok(Got::Stale(text.to_owned())), "{}", text.len());
            assert_eq!(asked(), asked_before, "Redis is not asked again");
            assert_eq!(stage.policy.fills.len(), 1, "the fetch goes on");
        };
        each_size(test, "[source demo]\nsoft_timeout = 200ms", 2 * MINUTE);
    }
}

#[test]
fn a_copy_of_any_size_is_served_in_an_outage_and_its_age_is_that_of_the_decision() {
    let test = |stage: &Stage, text: &str| {
        let client = stage.ask("k");
        let is_large = text.len() > AT_ONCE_MAX_BYTES;
        assert_eq!(stage.policy.reads.len(), usize::from(is_large));
        // It waits for a reader past its ttl: what was decided holds.
        stage.advance(MINUTE);
        while stage.read_next() {}
        let got = client.try_recv();
        assert!(got == Ok(cached(text)), "{}", text.len());
        assert_eq!((stage.redis.asked(), stage.policy.fills.len()), (0, 0));
    };
    each_size(test, "", MINUTE / 2);
}

#[test]
fn a_lookup_for_which_there_is_no_room_has_its_copy_whatever_its_size() {
    let test = |stage: &Stage, text: &str| {
        stage.redis.returns();
        let waiting = (stage.ask("a"), stage.ask("b"));
        let client = stage.ask("k");
        while stage.read_next() {}
        let got = client.try_recv();
        assert!(got == Ok(Got::Stale(text.to_owned())), "{}", text.len());
        assert_eq!(stage.redis.asked(), 2, "it is not queued to be asked for");
        stage.run();
        assert_eq!(waiting.0.try_recv(), Ok(fetched("v")));
        assert_eq!(waiting.1.try_recv(), Ok(fetched("v")));
    };
    each_size(test, "[server]\nqueue = 2", 2 * MINUTE);
}

#[test]
fn a_large_copy_is_answered_when_the_readers_end() {
    let stage = stage("");
    stage.remember("k", &"x".repeat(100_000), MINUTE, Duration::ZERO);
    stage.policy.reads.close();
    assert_eq!(stage.ask("k").try_recv(), Ok(cached(&"x".repeat(100_000))));
}
