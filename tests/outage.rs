//! What is not a row of the matrix (`failures/`): how an outage is noticed, said and ended, and what
//! nobody pays for meanwhile.

use std::time::{Duration, Instant};

use crate::harness::{App, NetworkFault, Origin, Proxy, Redis, SOON, let_pass, wait_until};

/// By when Redis is used again.
const RECOVERY: Duration = Duration::from_millis(2500);

#[test]
fn a_redis_that_was_never_there_costs_nothing_and_is_used_when_it_comes() {
    let (mut redis, origin) = (Redis::not_started(), Origin::start());
    let app = App::with(&redis, &origin).start();
    let began = Instant::now();
    assert_eq!(app.value("a"), ("value of a".into(), "primary".into()));
    assert_eq!(app.value("a"), ("value of a".into(), "cache".into()));
    assert!(began.elapsed() < SOON / 2);
    app.wait_for_outage();
    redis.start_again();
    let before = redis.lookups();
    wait_until(RECOVERY, "redis is used", || {
        assert_eq!(app.value("b").0, "value of b");
        redis.lookups() > before + 1
    });
    wait_until(SOON, "values are written to it", || {
        app.value("c");
        redis.value("c").is_some()
    });
}

#[test]
fn a_dead_redis_is_not_dialled_by_every_request() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let mut proxy = Proxy::start(redis.address());
    let app = App::configured()
        .set("redis", "url", &proxy.url())
        .origin(&origin)
        .connect();
    proxy.set_fault(NetworkFault::Hangs);
    let mut client = app.client();
    let known = |n: usize| format!("/api/data/k{n}");
    wait_until(SOON, "the outage is known", || {
        client.get(&known(0));
        !app.redis_is_up()
    });
    let before = proxy.connects();
    (1..500).for_each(|n| assert_eq!(client.get(&known(n)).value().1, "primary"));
    let dialled = proxy.connects() - before;
    assert!(
        dialled <= 5,
        "{dialled} connects: the prober alone may knock"
    );
}

#[test]
fn without_a_prober_a_request_is_the_trial_that_ends_an_outage() {
    let (mut redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .without_memory()
        .set("breaker", "probe_interval", "0")
        .set("breaker", "reset_timeout", "300ms")
        .connect();
    redis.kill();
    wait_until(SOON, "the outage is known", || {
        assert_eq!(app.value("a").1, "primary");
        !app.redis_is_up()
    });
    redis.start_again();
    let before = redis.lookups();
    let_pass(Duration::from_millis(400));
    assert_eq!(redis.lookups(), before, "nobody asks before a client does");
    wait_until(SOON, "a request finds redis", || {
        assert_eq!(app.value("a").0, "value of a");
        app.redis_is_up()
    });
}

#[test]
fn a_breaker_forced_open_never_asks_redis_and_a_disabled_one_always_does() {
    let (mut redis, origin) = (Redis::start(), Origin::start());
    let config = |mode: &str| {
        let config = App::with(&redis, &origin).without_memory();
        config.set("breaker", "mode", mode)
    };
    let forced = config("forced_open").start();
    let disabled = config("disabled").start();
    // Each has looked once whether Redis is there.
    for app in [&forced, &disabled] {
        wait_until(SOON, "it has looked", || app.log().contains("redis at"));
    }
    let asked = || redis.lookups();
    let before = asked();
    (0..50).for_each(|n| assert_eq!(forced.value(&format!("k{n}")).1, "primary"));
    assert_eq!(asked(), before);
    assert_eq!(redis.query::<u64>(&["DBSIZE"]), 0);
    (0..50).for_each(|n| assert_eq!(disabled.value(&format!("k{n}")).1, "primary"));
    assert!(asked() >= before + 50);
    redis.kill();
    (0..50).for_each(|n| assert_eq!(disabled.value(&format!("k{n}")).1, "primary"));
    redis.start_again();
    let before = redis.lookups();
    assert_eq!(disabled.value("k0").0, "value of k0");
    assert!(redis.lookups() > before, "the very next request asks");
}

#[test]
fn a_wrong_password_is_said_once_and_costs_no_client_an_error() {
    let (redis, origin) = (Redis::start(), Origin::start());
    redis.set_password("correct");
    let wrong = redis.url().replace("redis://", "redis://:mistaken@");
    for url in [redis.url(), wrong] {
        let app = App::configured()
            .set("redis", "url", &url)
            .set("breaker", "probe_interval", "20ms")
            .origin(&origin)
            .start_in_outage();
        let_pass(Duration::from_millis(500));
        for key in (0..50).map(|n| format!("k{n}")) {
            assert_eq!(app.value(&key).0, Origin::value_of(&key));
        }
        assert_eq!(app.log_lines("refuses us"), 1, "{}", app.log());
        assert!(app.log().lines().count() < 10, "{}", app.log());
        assert!(!app.log().contains("mistaken"));
    }
}

#[test]
fn a_password_set_while_it_runs_is_an_outage_and_taken_back_ends_it() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin).connect();
    assert_eq!(app.value("a").1, "primary");
    redis.set_password("sudden");
    // Whoever was connected before stays so: the app has to be thrown out.
    redis.query::<()>(&["CLIENT", "KILL", "TYPE", "normal"]);
    wait_until(SOON, "the outage is known", || {
        assert_eq!(app.value("a").0, "value of a");
        !app.redis_is_up()
    });
    assert_eq!(app.log_lines("refuses us"), 1, "{}", app.log());
    redis.set_password("");
    app.wait_for_redis();
}

#[test]
fn a_read_only_redis_keeps_serving_hits() {
    refused_writes(
        &["REPLICAOF", "127.0.0.1", "1"],
        &["REPLICAOF", "NO", "ONE"],
    );
}

#[test]
fn a_full_redis_keeps_serving_hits() {
    let full = ["CONFIG", "SET", "maxmemory", "1"];
    refused_writes(&full, &["CONFIG", "SET", "maxmemory", "0"]);
}

/// Writes are refused, reads are well: hits go on from Redis, and the log says it once.
fn refused_writes(begin: &[&str], end: &[&str]) {
    let (redis, origin) = (Redis::start(), Origin::start());
    (0..50).for_each(|n| redis.set(&format!("k{n}"), &format!("v{n}")));
    let app = App::with(&redis, &origin).connect();
    redis.query::<()>(begin);
    let mut client = app.client();
    for n in 0..50 {
        let new = client.get(&format!("/api/data/new{n}"));
        assert_eq!(new.value(), (format!("value of new{n}"), "primary".into()));
        let hit = client.get(&format!("/api/data/k{n}"));
        assert_eq!(hit.value(), (format!("v{n}"), "cache".into()));
        assert_eq!(
            hit.field("cache-status"),
            Some("evenkeel; hit; detail=redis"),
            "{n}"
        );
    }
    wait_until(SOON, "it is said", || app.log().contains("takes no writes"));
    assert_eq!(app.log_lines("takes no writes"), 1, "{}", app.log());
    assert!(app.redis_is_up());
    assert_eq!(app.health()["reason"], "redis takes no writes");
    assert_eq!(app.metric("evenkeel_redis_takes_writes", &[]), 0.0);
    assert_eq!(redis.value("new0"), None);
    redis.query::<()>(end);
    let mut n = 0;
    wait_until(SOON, "values are written again", || {
        n += 1;
        client.get(&format!("/api/data/later{n}"));
        redis.value(&format!("later{n}")).is_some()
    });
    wait_until(SOON, "it is said", || {
        app.log_lines("takes writes again") == 1
    });
    assert_eq!(app.health()["status"], "ok");
    assert_eq!(app.metric("evenkeel_redis_takes_writes", &[]), 1.0);
}
