//! The last good answers in the process: fresh while Redis is down, stale when the source fails too,
//! bounded in bytes.

use crate::harness::{App, Origin, Redis, SOON, SourceFault, wait_until};

#[test]
fn a_fresh_copy_spares_the_source_while_redis_is_down() {
    let (mut redis, origin) = (Redis::start(), Origin::start());
    redis.set("hit", "from redis");
    let app = App::with(&redis, &origin).connect();
    assert_eq!(app.value("hit").1, "cache");
    assert_eq!(app.value("fetched").1, "primary");
    redis.kill();
    for (key, value) in [("hit", "from redis"), ("fetched", "value of fetched")] {
        for _ in 0..20 {
            let answer = app.get(&format!("/api/data/{key}"));
            assert_eq!(answer.value(), (value.into(), "cache".into()));
            let status = answer.field("cache-status").unwrap_or_default();
            let is_fresh =
                status.starts_with("evenkeel; hit; ttl=3") && status.ends_with("; detail=memory");
            assert!(is_fresh, "{status}");
            let age: u64 = answer
                .field("age")
                .and_then(|age| age.parse().ok())
                .expect("an age");
            assert!(age < 20, "{age} s");
        }
    }
    assert_eq!(origin.calls(), 1, "what is fresh is not fetched again");
}

#[test]
fn the_source_is_asked_where_fresh_copies_are_not_wanted() {
    let (mut redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .set("memory", "fresh_while_redis_is_down", "false")
        .connect();
    assert_eq!(app.value("a").1, "primary");
    redis.kill();
    app.value("other");
    assert_eq!(app.value("a").1, "primary");
    origin.set_fault(SourceFault::Status(500));
    let answer = app.get("/api/data/a");
    assert_eq!(
        answer.value(),
        ("value of a".into(), "cache".into()),
        "better than none"
    );
}

#[test]
fn serves_stale_when_redis_and_source_are_down() {
    let (mut redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .set("route data", "ttl", "1s")
        .set("route data", "stale_retry", "500ms")
        .connect();
    let fresh = app.get("/api/data/a");
    redis.kill();
    origin.set_fault(SourceFault::Closes);
    let status = |answer: &crate::harness::Response| {
        answer.field("cache-status").unwrap_or_default().to_owned()
    };
    let mut answer = app.get("/api/data/a");
    wait_until(SOON, "the copy is stale", || {
        answer = app.get("/api/data/a");
        assert_eq!(answer.status, 200, "{answer:?}");
        status(&answer).ends_with("; detail=stale")
    });
    assert_eq!(
        answer.value(),
        (fresh.value().0, "cache".into()),
        "the body tells nothing of it"
    );
    assert!(
        status(&answer).starts_with("evenkeel; hit; ttl=-"),
        "{answer:?}"
    );
    assert!(
        answer.field("age").is_some_and(|age| age != "0"),
        "{answer:?}"
    );
    origin.set_fault(None);
    wait_until(SOON, "the source is asked again", || {
        app.value("a").1 == "primary"
    });
}

#[test]
fn serves_stale_when_the_source_fails_and_redis_has_let_the_key_go() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin).connect();
    app.value("a");
    wait_until(SOON, "it is written", || redis.value("a").is_some());
    redis.query::<()>(&["DEL", "a"]);
    origin.set_fault(SourceFault::Status(500));
    assert_eq!(app.value("a"), ("value of a".into(), "cache".into()));
}

#[test]
fn a_copy_beyond_max_stale_is_not_served() {
    let (mut redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .set("route data", "ttl", "1s")
        .set("route data", "max_stale", "1s")
        .connect();
    app.value("a");
    redis.kill();
    origin.set_fault(SourceFault::Status(500));
    assert_eq!(app.value("a").1, "cache");
    let mut answer = app.get("/api/data/a");
    wait_until(SOON, "it is too old", || {
        answer = app.get("/api/data/a");
        answer.status != 200
    });
    assert_eq!(answer.status, 503);
    let error = "{\"details\":\"Could not retrieve data from primary source.\",\
                 \"error\":\"Service unavailable\"}\n";
    assert_eq!(String::from_utf8_lossy(&answer.body), error);
    assert!(answer.field("retry-after").is_some());
}

#[test]
fn without_memory_nothing_is_remembered() {
    let (mut redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin).without_memory().connect();
    app.value("a");
    redis.kill();
    // However the outage is met, the first time or when it is known: the source is asked.
    for calls in 2..100 {
        assert_eq!(
            app.value("a"),
            ("value of a".into(), "primary".into()),
            "{calls}"
        );
        assert_eq!(origin.calls_of("a"), calls);
    }
    origin.set_fault(SourceFault::Status(500));
    assert_eq!(app.get("/api/data/a").status, 503);
}

/// Also where every request is the first one of an outage, before anybody has noticed it.
#[test]
fn without_memory_the_first_failures_are_answered_by_the_source_too() {
    let origin = Origin::start();
    for _ in 0..10 {
        let mut redis = Redis::start();
        let app = App::with(&redis, &origin).without_memory().connect();
        redis.kill();
        let mut client = app.client();
        for n in 0..10 {
            assert_eq!(
                client.get("/api/data/a").value().1,
                "primary",
                "request {n} of an outage"
            );
        }
    }
}

#[test]
fn memory_stays_within_its_bytes() {
    let (redis, origin) = (Redis::not_started(), Origin::start());
    let app = App::with(&redis, &origin)
        .set("memory", "max_bytes", "1MiB")
        .start_in_outage();
    let before = app.resident_bytes();
    let mut client = app.client();
    for n in 0..2000 {
        let key = format!("k{n}");
        origin.put(&key, "x".repeat(4096));
        assert_eq!(
            client.get(&format!("/api/data/{key}")).value().0.len(),
            4096
        );
    }
    let (bytes, entries) = (app.figure("/memory/bytes"), app.figure("/memory/entries"));
    assert!(bytes <= 1024 * 1024, "{bytes} bytes");
    assert!((100..256).contains(&entries), "{entries} entries of 4 KiB");
    let grown = app.resident_bytes().saturating_sub(before);
    assert!(
        grown < 16 * 1024 * 1024,
        "the process grew by {grown} bytes"
    );
}

#[test]
fn a_copy_is_never_older_than_what_redis_said_last() {
    let (mut redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin).connect();
    assert_eq!(app.value("a").0, "value of a");
    wait_until(SOON, "it is written", || redis.value("a").is_some());
    redis.set("a", "newer, by another instance");
    assert_eq!(app.value("a").0, "newer, by another instance");
    redis.kill();
    for _ in 0..10 {
        assert_eq!(app.value("a").0, "newer, by another instance");
    }
}
