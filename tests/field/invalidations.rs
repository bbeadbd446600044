//! Rule 1: a missing key is not Redis's loss. Another service says that a value has changed, and how the
//! app's own connections have fared meanwhile is no reason to go on with the old one.

use super::{CHANGED, WATCHED, assert_seen, hit, make_known, path};
use crate::harness::{App, Monitor, Origin, Redis, SOON, SourceFault, let_pass, wait_until};

/// Asked for all the time, by which it shows that Redis still has its data.
const HOT: [&str; 20] = [
    "h0", "h1", "h2", "h3", "h4", "h5", "h6", "h7", "h8", "h9", "h10", "h11", "h12", "h13", "h14",
    "h15", "h16", "h17", "h18", "h19",
];

/// The words of a change to `price`, and what is to be had of it then.
type Change = (&'static [&'static str], &'static str);

const DEL: Change = (&["DEL", "price"], CHANGED);
const FLUSHALL: Change = (&["FLUSHALL"], CHANGED);
const EXPIRE: Change = (&["EXPIRE", "price", "1"], CHANGED);
const OVERWRITE: Change = (&["SET", "price", "theirs"], "theirs");
const OVERWRITE_FOR_A_WHILE: Change = (&["SET", "price", "theirs", "EX", "60"], "theirs");

/// The app knows `price`; something happens to its connections; another service changes `price`.
#[track_caller]
fn is_seen(happens: impl Fn(&Redis), (words, expected): Change) {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin).connect();
    make_known(&app, &redis, ["price"]);
    happens(&redis);
    let monitor = Monitor::start(&redis);
    origin.put("price", CHANGED);
    redis.query::<redis::Value>(words);
    wait_until(SOON, "the change is there", || {
        redis.value("price") != Some(Origin::value_of("price"))
    });
    assert_seen(&app, &redis, &monitor, "price", expected);
}

/// As `timeout 1` in redis.conf does with whoever has been idle for so long.
fn close_idle(redis: &Redis) {
    redis.query::<()>(&["CONFIG", "SET", "timeout", "1"]);
    wait_until(SOON, "idle connections are closed", || {
        // Ours, which asks, is the only one left.
        let list: String = redis.query(&["CLIENT", "LIST"]);
        list.lines().count() == 1
    });
    redis.query::<()>(&["CONFIG", "SET", "timeout", "0"]);
}

fn kill_connections(redis: &Redis) {
    redis.query::<()>(&["CLIENT", "KILL", "TYPE", "normal"]);
}

#[test]
fn a_del_is_seen_while_connected() {
    is_seen(|_| {}, DEL);
}

#[test]
fn a_flush_is_seen_while_connected() {
    is_seen(|_| {}, FLUSHALL);
}

#[test]
fn a_del_is_seen_after_redis_has_closed_idle_connections() {
    is_seen(close_idle, DEL);
}

#[test]
fn a_del_is_seen_after_our_connections_were_killed() {
    is_seen(kill_connections, DEL);
}

#[test]
fn a_flush_is_seen_after_our_connections_were_killed() {
    is_seen(kill_connections, FLUSHALL);
}

#[test]
fn an_expiry_set_by_others_is_seen_after_our_connections_were_killed() {
    is_seen(kill_connections, EXPIRE);
}

#[test]
fn an_overwriting_is_seen_after_our_connections_were_killed() {
    is_seen(kill_connections, OVERWRITE);
    is_seen(close_idle, OVERWRITE_FOR_A_WHILE);
}

/// Keeps its data over a restart, every command of it.
fn with_log() -> Redis {
    Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
}

/// The same over a restart of Redis with its data; the other service is told either before or after it.
#[track_caller]
fn is_seen_over_a_restart((words, expected): Change, is_told_before: bool) {
    let (mut redis, origin) = (with_log(), Origin::start());
    let app = App::with(&redis, &origin).connect();
    make_known(&app, &redis, HOT.into_iter().chain(["price"]));
    HOT.iter().for_each(|key| hit(&app, key));
    origin.put("price", CHANGED);
    if is_told_before {
        redis.query::<redis::Value>(words);
    }
    redis.kill();
    wait_until(SOON, "the outage is known", || {
        app.value("h0");
        !app.redis_is_up()
    });
    redis.start_with_data();
    if !is_told_before {
        redis.query::<redis::Value>(words);
    }
    let monitor = Monitor::start(&redis);
    app.wait_for_redis();
    assert_seen(&app, &redis, &monitor, "price", expected);
}

#[test]
fn a_del_is_seen_over_a_restart_of_redis_with_its_data() {
    is_seen_over_a_restart(DEL, true);
    is_seen_over_a_restart(DEL, false);
}

#[test]
fn an_overwriting_is_seen_over_a_restart_of_redis_with_its_data() {
    is_seen_over_a_restart(OVERWRITE, true);
}

/// It was missed in Redis, so the copy is stale from then on: better than none while the source fails too,
/// but no answer that spares the source.
#[test]
fn what_was_missed_once_is_not_served_as_fresh_in_the_next_outage() {
    let (mut redis, origin) = (Redis::start(), Origin::start());
    let app = App::configured()
        .redis(&redis)
        .origin(&origin)
        .set("route data", "stale_retry", "0")
        .connect();
    make_known(&app, &redis, ["price"]);
    redis.query::<()>(&["DEL", "price"]);
    origin.set_fault(SourceFault::Status(500));
    let answer = app.get(&path("price"));
    assert_eq!(answer.value().0, "value of price", "better than none");
    let status = answer.field("cache-status").unwrap_or_default();
    assert!(status.ends_with("detail=stale"), "{status}");
    redis.kill();
    let answer = app.get(&path("price"));
    let status = answer.field("cache-status").unwrap_or_default();
    assert!(status.ends_with("detail=stale"), "it was missed: {status}");
    origin.put("price", CHANGED);
    origin.set_fault(None);
    wait_until(SOON, "the source is asked again", || {
        app.value("price") == (CHANGED.into(), "primary".into())
    });
}

/// The same where the outage hides nothing: the refreshed value is what is kept.
#[test]
fn what_was_fetched_after_a_del_is_what_the_next_outage_serves() {
    let (mut redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin).connect();
    make_known(&app, &redis, ["price"]);
    kill_connections(&redis);
    origin.put("price", CHANGED);
    redis.query::<()>(&["DEL", "price"]);
    wait_until(SOON, "the change is seen", || {
        app.value("price").0 == CHANGED
    });
    redis.kill();
    let_pass(WATCHED);
    for _ in 0..20 {
        assert_eq!(app.value("price"), (CHANGED.into(), "cache".into()));
    }
    redis.start_again();
    app.wait_for_redis();
    assert_eq!(app.value("price").0, CHANGED);
}
