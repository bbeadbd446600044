//! What stands between the clients and a source that is slow, fails, or is asked too often; and what
//! keeps the keys of Redis from expiring, or brings them back.

use std::time::{Duration, Instant};

use crate::harness::{App, Origin, Redis, SOON, SourceFault, let_pass, wait_until};

/// Cache-Status of an answer, from which its way shows.
fn status(answer: &crate::harness::Response) -> String {
    answer.field("cache-status").unwrap_or_default().to_owned()
}

#[test]
fn a_failing_source_is_left_alone_and_used_again_when_it_is_well() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .set("source origin", "reset_timeout", "300ms")
        .connect();
    app.value("kept");
    wait_until(SOON, "it is written", || redis.value("kept").is_some());
    origin.set_fault(SourceFault::Status(500));
    for n in 0..5 {
        assert_eq!(app.get(&format!("/api/data/k{n}")).status, 503);
    }
    let calls = origin.calls();
    let began = Instant::now();
    let mut client = app.client();
    for n in 0..200 {
        assert_eq!(client.get(&format!("/api/data/k{n}")).status, 503);
        assert_eq!(client.get("/api/data/kept").value().1, "cache");
    }
    let trials = began.elapsed().as_millis() / 300 + 1;
    let asked = origin.calls() - calls;
    assert!(
        asked as u128 <= trials,
        "{asked} calls in {:?}: trials alone",
        began.elapsed()
    );
    origin.set_fault(None);
    wait_until(SOON, "it is used again", || {
        app.get("/api/data/new").status == 200
    });
    let mut client = app.client();
    for n in 0..50 {
        assert_eq!(client.get(&format!("/api/data/n{n}")).status, 200);
    }
    assert_eq!(app.log_lines("breaker closed -> open: status 500"), 1);
    assert_eq!(app.log_lines("the trial succeeded"), 1, "{}", app.log());
}

#[test]
fn who_has_a_copy_waits_for_a_slow_source_no_longer_than_the_soft_time_out() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .set("source origin", "soft_timeout", "100ms")
        .connect();
    app.value("a");
    wait_until(SOON, "it is written", || redis.value("a").is_some());
    redis.query::<()>(&["DEL", "a"]);
    origin.put("a", "newer");
    origin.set_latency(Duration::from_millis(1500));
    let began = Instant::now();
    assert_eq!(app.value("a"), ("value of a".into(), "cache".into()));
    assert!(began.elapsed() < Duration::from_millis(1000));
    wait_until(SOON, "the fetch went on, to memory and redis", || {
        redis.value("a").as_deref() == Some("newer")
    });
    assert_eq!(app.value("a"), ("newer".into(), "cache".into()));
    assert_eq!(origin.calls_of("a"), 2);
    let began = Instant::now();
    assert_eq!(
        app.value("b").1,
        "primary",
        "without a copy it is waited for"
    );
    assert!(began.elapsed() >= Duration::from_millis(1500));
}

#[test]
fn a_key_that_failed_is_asked_of_the_source_once_in_stale_retry() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .set("route data", "stale_retry", "1s")
        .set("source origin", "fail_max", "0")
        .connect();
    app.value("a");
    wait_until(SOON, "it is written", || redis.value("a").is_some());
    redis.query::<()>(&["DEL", "a"]);
    origin.set_fault(SourceFault::Status(500));
    let began = Instant::now();
    let mut client = app.client();
    while began.elapsed() < Duration::from_millis(2500) {
        assert_eq!(client.get("/api/data/a").value().0, "value of a");
        assert_eq!(client.get("/api/data/none").status, 503, "asked each time");
    }
    let asked = origin.calls_of("a") - 1;
    assert!((2..=3).contains(&asked), "{asked} times in 2.5 s");
    assert!(origin.calls_of("none") > 10);
}

#[test]
fn that_a_key_does_not_exist_is_remembered_in_memory_only() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .set("route data", "negative_ttl", "1s")
        .connect();
    origin.set_fault(SourceFault::Status(404));
    let mut client = app.client();
    let first = client.get("/api/data/gone");
    let again = client.get("/api/data/gone");
    assert_eq!((first.status, again.status), (404, 404));
    assert_eq!(first.body, again.body);
    assert_eq!(origin.calls(), 1);
    assert_eq!(redis.query::<u64>(&["DBSIZE"]), 0);
    redis.set("gone", "written by somebody else");
    assert_eq!(client.get("/api/data/gone").value().1, "cache");
    redis.query::<()>(&["DEL", "gone"]);
    origin.set_fault(None);
    wait_until(SOON, "it is forgotten", || {
        client.get("/api/data/gone").status == 200
    });
}

#[test]
fn a_key_is_refreshed_before_its_end_and_nobody_waits_for_it() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .set("route data", "ttl", "4s")
        .set("route data", "refresh_at", "0.5")
        .connect();
    let mut client = app.client();
    client.get("/api/data/a");
    wait_until(SOON, "it is written", || redis.value("a").is_some());
    origin.set_latency(Duration::from_millis(300));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(7) {
        let answer = client.get("/api/data/a");
        assert_eq!(answer.value().1, "cache", "{:?}", began.elapsed());
        assert_eq!(status(&answer), "evenkeel; hit; detail=redis");
        let_pass(Duration::from_millis(5));
    }
    let calls = origin.calls_of("a");
    assert!((3..=5).contains(&calls), "{calls} calls in 7 s");
}

#[test]
fn a_key_that_another_service_keeps_alive_is_not_fetched() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .set("route data", "ttl", "4s")
        .set("route data", "refresh_at", "0.5")
        .connect();
    redis.set("endless", "e");
    let mut client = app.client();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(6) {
        redis.query::<()>(&["SET", "theirs", "t", "EX", "4"]);
        assert_eq!(client.get("/api/data/theirs").value().0, "t");
        assert_eq!(client.get("/api/data/endless").value().0, "e");
        let_pass(Duration::from_millis(50));
    }
    assert_eq!(origin.calls(), 0);
    wait_until(SOON, "left alone it is refreshed before its end", || {
        let answer = client.get("/api/data/theirs").value();
        assert_eq!(answer.1, "cache");
        answer.0 == "value of theirs"
    });
}

#[test]
fn what_was_fetched_during_an_outage_is_in_redis_soon_after_it() {
    let (mut redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .set("breaker", "probe_interval", "3s")
        .connect();
    redis.kill();
    let mut client = app.client();
    for n in 0..300 {
        assert_eq!(client.get(&format!("/api/data/k{n}")).value().1, "primary");
    }
    assert!(!app.redis_is_up());
    let_pass(Duration::from_millis(1100));
    redis.start_again();
    redis.query::<()>(&["SET", "k7", "younger", "EX", "3600"]);
    redis.query::<()>(&["SET", "k8", "older", "EX", "60"]);
    wait_until(SOON, "all are written", || {
        redis.query::<usize>(&["DBSIZE"]) == 300
    });
    wait_until(SOON, "the older one is replaced", || {
        redis.value("k8").as_deref() == Some("value of k8")
    });
    assert_eq!(redis.value("k7").as_deref(), Some("younger"));
    let life: i64 = redis.query(&["TTL", "k0"]);
    assert!((3500..3600).contains(&life), "{life}: what is left of it");
    assert_eq!(origin.calls(), 300);
}
