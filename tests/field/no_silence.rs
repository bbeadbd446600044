//! Rules 4 and 5: health is not ok while reads or writes of some class always fail, and a loud line says
//! which and what to do; a Redis that refuses writes is no worse than none.

use std::time::Duration;

use super::loud_lines;
use crate::harness::{App, Config, Origin, Redis, SOON, let_pass, wait_until};

/// A server on which the app may use these keys.
fn with_rights(rights: &[&str]) -> (Redis, Config) {
    let redis = Redis::start();
    let words = ["ACL", "SETUSER", "app", "on", ">secret", "&*", "+@all"];
    redis.query::<()>(&[&words[..], rights].concat());
    let config = App::configured()
        .redis(&redis)
        .set("redis", "username", "app")
        .environment("EVENKEEL_REDIS_PASSWORD", "secret");
    (redis, config)
}

/// Eight keys, each asked for four times.
fn ask_32_times(app: &App) {
    for n in 0..32 {
        let key = format!("item-{}", n % 8);
        assert_eq!(app.value(&key).0, Origin::value_of(&key));
    }
}

#[track_caller]
fn wait_until_degraded(app: &App, why: &str) {
    wait_until(SOON, why, || {
        ask_32_times(app);
        app.health()["status"] == "degraded"
    });
    let reason = app.health()["reason"].to_string();
    assert!(reason.contains("redis"), "{reason}");
}

#[test]
fn an_acl_that_refuses_every_read_is_degraded_and_one_loud_line_names_key_rule_and_remedy() {
    let (_redis, config) = with_rights(&["~app:*"]);
    let origin = Origin::start();
    let app = config.origin(&origin).start();
    wait_until_degraded(&app, "reads that are always refused show");
    (0..5).for_each(|_| ask_32_times(&app));
    let lines = loud_lines(&app);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let line = &lines[0];
    assert!(line.contains("ERROR"), "{line}");
    let names_key = line.contains("item-") || line.contains("evenkeel:probe");
    assert!(names_key, "no key: {line}");
    assert!(line.contains("NOPERM"), "no rule: {line}");
    let names_remedy = line.contains("key_prefix") && line.contains("ACL");
    assert!(names_remedy, "no remedy: {line}");
    let calls = origin.calls();
    assert!(calls <= 16, "{calls} calls for 8 keys: memory is there");
}

/// The remedy that the line names works, while it runs: one that only a person can mend is tried again.
#[test]
fn an_acl_that_refused_every_read_and_is_mended_is_noticed() {
    let (redis, config) = with_rights(&["~app:*"]);
    let origin = Origin::start();
    let app = config.origin(&origin).start();
    wait_until_degraded(&app, "reads that are always refused show");
    redis.query::<()>(&["ACL", "SETUSER", "app", "~item-*"]);
    let mut n = 0;
    wait_until(SOON, "it is well", || {
        n += 1;
        app.value(&format!("item-new-{n}"));
        app.health()["status"] == "ok" && redis.value(&format!("item-new-{n}")).is_some()
    });
}

/// Everything may be read, and what is written is always refused: values are fetched and fetched again.
#[test]
fn an_acl_that_refuses_every_write_is_degraded_and_said_once() {
    let (_redis, config) = with_rights(&["%R~*", "%W~app:*"]);
    let origin = Origin::start();
    let app = config.origin(&origin).connect();
    wait_until_degraded(&app, "writes that are always refused show");
    (0..5).for_each(|_| ask_32_times(&app));
    let lines = loud_lines(&app);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("NOPERM"), "no rule: {}", lines[0]);
    assert!(lines[0].contains("ACL"), "no remedy: {}", lines[0]);
}

/// 53 requests for one new key, of a Redis that takes nothing.
#[track_caller]
fn is_fetched_once(refuse: &[&str], end: &[&str]) {
    let (redis, origin) = (Redis::start(), Origin::start());
    redis.set("hit", "from redis");
    let app = App::configured()
        .redis(&redis)
        .origin(&origin)
        .set("route data", "ttl", "6s")
        .connect();
    redis.query::<redis::Value>(refuse);
    // Once before it is known, and then by 53 clients one after the other.
    app.value("first");
    wait_until(SOON, "it is known", || {
        app.log().contains("takes no writes")
    });
    for n in 0..53 {
        let expected = if n == 0 { "primary" } else { "cache" };
        let given = app.value("new");
        assert_eq!(given, ("value of new".into(), expected.into()), "{n}");
    }
    assert_eq!(origin.calls_of("new"), 1, "for 53 requests");
    assert_eq!(app.value("hit").0, "from redis", "reads go on");
    assert_eq!(app.health()["status"], "degraded");
    // Within its life alone.
    origin.put("new", "newer");
    wait_until(SOON, "its life is over", || app.value("new").0 == "newer");
    assert_eq!(origin.calls_of("new"), 2);
    redis.query::<redis::Value>(end);
    wait_until(SOON, "it is written again", || {
        app.value(&format!("later-{}", origin.calls()));
        app.health()["status"] == "ok"
    });
}

#[test]
fn a_full_redis_costs_the_source_one_call_for_53_requests() {
    let full = ["CONFIG", "SET", "maxmemory", "1"];
    is_fetched_once(&full, &["CONFIG", "SET", "maxmemory", "0"]);
}

#[test]
fn a_read_only_redis_costs_the_source_one_call_for_53_requests() {
    let replica = ["REPLICAOF", "127.0.0.1", "1"];
    is_fetched_once(&replica, &["REPLICAOF", "NO", "ONE"]);
}

/// The first of them too: those that come before any write was refused.
#[test]
fn the_first_key_that_a_full_redis_refuses_is_fetched_once() {
    let (redis, origin) = (
        Redis::start_with(&["--maxmemory", "1", "--maxmemory-policy", "noeviction"]),
        Origin::start(),
    );
    let app = App::with(&redis, &origin).connect();
    for _ in 0..53 {
        assert_eq!(app.value("new").0, "value of new");
        let_pass(Duration::from_millis(10));
    }
    // A request may come before the write of the first one has been refused.
    let calls = origin.calls_of("new");
    assert!(calls <= 2, "{calls} calls for 53 requests");
}

/// What others wrote is what counts, also while ours was not taken.
#[test]
fn what_could_not_be_written_gives_way_to_what_redis_has() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let (user, app) = (
        ["ACL", "SETUSER", "app", "on", ">secret", "~*", "+@read"],
        App::configured()
            .redis(&redis)
            .set("redis", "username", "app")
            .environment("EVENKEEL_REDIS_PASSWORD", "secret"),
    );
    redis.query::<()>(&user);
    let app = app.origin(&origin).connect();
    app.value("first");
    wait_until(SOON, "it is known", || {
        app.log().contains("takes no writes")
    });
    assert_eq!(app.value("new").1, "primary");
    redis.set("new", "theirs");
    assert_eq!(app.value("new"), ("theirs".into(), "cache".into()));
    redis.query::<()>(&["DEL", "new"]);
    origin.put("new", "changed");
    assert_eq!(
        app.value("new").0,
        "changed",
        "a hit that is gone was deleted"
    );
}
