//! Rule 1, the other side: a Redis that has provably lost its data is no stampede, for at most ten seconds.
//! Lost means: another process, and none of the keys that were hits in the last seconds is there.

use std::time::{Duration, Instant};

use super::{CHANGED, WATCHED, assert_seen, hit, make_known};
use crate::harness::{
    App, Config, Guarded, MASTER, Monitor, Origin, Redis, SOON, let_pass, wait_until,
};

/// How long copies may stand in for what Redis has lost.
const STANDS_IN_FOR: Duration = Duration::from_secs(10);

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("k{n}")).collect()
}

/// An app that knows these keys, and asked for all of them a moment ago.
fn app_that_knows(redis: &Redis, origin: &Origin, keys: &[String], config: Config) -> App {
    let app = config.origin(origin).connect();
    make_known(&app, redis, keys.iter().map(String::as_str));
    keys.iter().for_each(|key| hit(&app, key));
    app
}

fn kill(redis: &mut Redis, app: &App, key: &str) {
    redis.kill();
    wait_until(SOON, "the outage is known", || {
        app.value(key);
        !app.redis_is_up()
    });
}

/// Every key is answered, and the source hears nothing of it; soon they are in Redis again.
#[track_caller]
fn assert_no_stampede(app: &App, redis: &Redis, origin: &Origin, keys: &[String]) {
    let calls = origin.calls();
    let began = Instant::now();
    let mut client = app.client();
    for key in keys {
        let answer = client.get(&super::path(key));
        assert_eq!(answer.value().0, Origin::value_of(key));
    }
    let asked = origin.calls() - calls;
    let took = began.elapsed();
    assert_eq!(asked, 0, "calls for {} keys in {took:?}", keys.len());
    wait_until(SOON, "they are written back", || {
        let mut words = vec!["EXISTS"];
        words.extend(keys.iter().map(String::as_str));
        redis.query::<usize>(&words) == keys.len()
    });
}

#[test]
fn an_empty_redis_after_a_restart_is_no_stampede() {
    let (mut redis, origin, keys) = (Redis::start(), Origin::start(), keys(200));
    let app = app_that_knows(&redis, &origin, &keys, App::configured().redis(&redis));
    kill(&mut redis, &app, "k0");
    redis.start_again();
    app.wait_for_redis();
    assert_no_stampede(&app, &redis, &origin, &keys);
}

/// `NX`: what somebody else has written there since is younger, however soon it ends.
#[test]
fn what_others_wrote_to_an_empty_redis_is_not_written_over() {
    let (mut redis, origin, keys) = (Redis::start(), Origin::start(), keys(40));
    let app = app_that_knows(&redis, &origin, &keys, App::configured().redis(&redis));
    kill(&mut redis, &app, "k0");
    // It takes nothing at first, so that ours still waits when theirs is there.
    redis.set_arguments(&["--maxmemory", "1"]);
    redis.start_again();
    app.wait_for_redis();
    for key in &keys {
        assert_eq!(app.value(key).0, Origin::value_of(key), "a copy stands in");
    }
    let calls = origin.calls();
    // Nothing comes between the commands of one packet.
    let mut connection = redis.connection();
    let mut both = redis::pipe();
    both.cmd("CONFIG").arg(&["SET", "maxmemory", "0"]).ignore();
    both.cmd("SET").arg(&["k7", "theirs", "EX", "60"]).ignore();
    both.query::<()>(&mut connection).expect("redis takes it");
    wait_until(SOON, "the others are written back", || {
        redis.value("k9").is_some()
    });
    let_pass(WATCHED);
    assert_eq!(redis.value("k7").as_deref(), Some("theirs"));
    assert_eq!(app.value("k7"), ("theirs".into(), "cache".into()));
    assert_eq!(origin.calls(), calls);
}

#[test]
fn ten_seconds_after_an_empty_redis_is_back_a_miss_is_a_miss() {
    let (mut redis, origin, keys) = (Redis::start(), Origin::start(), keys(20));
    let app = app_that_knows(&redis, &origin, &keys, App::configured().redis(&redis));
    kill(&mut redis, &app, "k0");
    redis.start_again();
    app.wait_for_redis();
    let_pass(STANDS_IN_FOR + Duration::from_secs(1));
    let monitor = Monitor::start(&redis);
    origin.put("k7", CHANGED);
    redis.query::<()>(&["DEL", "k7"]);
    assert_seen(&app, &redis, &monitor, "k7", CHANGED);
}

/// It has been a hit of the new process: that it is missing now is not the loss of its data.
#[test]
fn a_key_that_was_written_back_and_is_deleted_then_has_no_stand_in() {
    let (mut redis, origin, keys) = (Redis::start(), Origin::start(), keys(20));
    let app = app_that_knows(&redis, &origin, &keys, App::configured().redis(&redis));
    kill(&mut redis, &app, "k0");
    redis.start_again();
    app.wait_for_redis();
    hit(&app, "k7");
    let monitor = Monitor::start(&redis);
    origin.put("k7", CHANGED);
    redis.query::<()>(&["DEL", "k7"]);
    assert_seen(&app, &redis, &monitor, "k7", CHANGED);
}

/// A server on which the app may do everything but ask for INFO, and of which the ids of connections are
/// high by now: after a restart they begin anew.
fn without_info(more: &[&str]) -> (Redis, Config) {
    let user = "--user app on >secret ~* &* +@all -info";
    let user: Vec<_> = user.split(' ').collect();
    let redis = Redis::start_with(&[&user[..], more].concat());
    for _ in 0..300 {
        redis.query::<()>(&["PING"]);
    }
    let config = App::configured()
        .redis(&redis)
        .set("redis", "username", "app")
        .environment("EVENKEEL_REDIS_PASSWORD", "secret");
    (redis, config)
}

#[test]
fn where_info_is_forbidden_an_empty_redis_is_no_stampede() {
    let (origin, keys) = (Origin::start(), keys(100));
    let (mut redis, config) = without_info(&[]);
    let app = app_that_knows(&redis, &origin, &keys, config);
    kill(&mut redis, &app, "k0");
    redis.start_again();
    app.wait_for_redis();
    assert_no_stampede(&app, &redis, &origin, &keys);
}

#[test]
fn where_info_is_forbidden_a_restart_with_data_is_no_loss() {
    let (origin, keys) = (Origin::start(), keys(20));
    let (mut redis, config) = without_info(&["--appendonly", "yes", "--appendfsync", "always"]);
    let app = app_that_knows(&redis, &origin, &keys, config);
    origin.put("k7", CHANGED);
    redis.query::<()>(&["DEL", "k7"]);
    kill(&mut redis, &app, "k0");
    redis.start_with_data();
    let monitor = Monitor::start(&redis);
    app.wait_for_redis();
    assert_seen(&app, &redis, &monitor, "k7", CHANGED);
}

/// Killed connections and ids that go on rising: it is the same process, and what is missing was deleted.
#[test]
fn where_info_is_forbidden_new_connections_are_no_loss() {
    let (origin, keys) = (Origin::start(), keys(3));
    let (redis, config) = without_info(&[]);
    let app = app_that_knows(&redis, &origin, &keys, config);
    redis.query::<()>(&["CLIENT", "KILL", "TYPE", "normal"]);
    let monitor = Monitor::start(&redis);
    origin.put("k1", CHANGED);
    redis.query::<()>(&["FLUSHALL"]);
    assert_seen(&app, &redis, &monitor, "k1", CHANGED);
}

/// The new master never got `late`: it answers with another id, and lacks that key, but it has the others.
#[test]
fn a_failover_to_a_replica_that_lags_has_lost_nothing() {
    let (mut guarded, origin, keys) = (Guarded::start(), Origin::start(), keys(20));
    let config = App::configured()
        .set("redis", "mode", "sentinel")
        .set("redis", "nodes", &guarded.nodes())
        .set("redis", "master", MASTER);
    let app = app_that_knows(&guarded.servers[0], &origin, &keys, config);
    for replica in &guarded.servers[1..] {
        wait_until(SOON, "replicas have what there is", || {
            replica.query::<usize>(&["DBSIZE"]) == keys.len()
        });
        // From here on they get nothing more: nobody is there.
        replica.query::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    }
    make_known(&app, &guarded.servers[0], ["late"]);
    keys.iter().for_each(|key| hit(&app, key));
    origin.put("late", CHANGED);
    let old = guarded.servers[0].address();
    guarded.servers[0].kill();
    wait_until(SOON * 3, "a replica is promoted", || {
        app.value("k0");
        guarded.promoted(old).is_some()
    });
    let new = guarded.promoted(old).expect("it was a moment ago");
    assert_eq!(new.value("late"), None, "it lags");
    let monitor = Monitor::start(new);
    wait_until(SOON, "the new master is used", || {
        app.health()["redis"]["master"] == new.address().to_string() && app.redis_is_up()
    });
    assert_seen(&app, new, &monitor, "late", CHANGED);
}
