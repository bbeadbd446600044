//! Who we are to Redis, and what we may do there: ACL users, passwords from everywhere, old servers and
//! such as have commands switched off, both versions of the protocol.

use crate::harness::{App, Config, Origin, Redis, SOON, wait_until};

/// Everything that is needed, and nothing else.
const GET_AND_SET: &[&str] = &["~*", "+get", "+set"];

/// A server that lets nobody do anything but `user`, whose password is `secret word`.
fn with_user(user: &str, rights: &[&str]) -> Redis {
    let redis = Redis::start();
    let mut words = vec!["ACL", "SETUSER", user, "on", ">secret word"];
    words.extend(rights);
    redis.query::<()>(&words);
    redis
}

/// Nobody is let in without a login.
fn lock_out_strangers(redis: &Redis) {
    redis.set_password("of the tests");
}

/// Values are read from and written to Redis by the app with `config`, some at once.
#[track_caller]
fn is_served(redis: &Redis, config: Config) -> App {
    let origin = Origin::start();
    (0..40).for_each(|n| redis.set(&format!("k{n}"), &format!("v{n}")));
    let app = config
        .set("redis", "readers", "1")
        .origin(&origin)
        .connect();
    let mut clients: Vec<_> = (0..40).map(|_| app.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /api/data/k{n} HTTP/1.1\r\nHost: h\r\n\r\n"));
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let answer = client.response(false).expect("an answer");
        assert_eq!(
            answer.value(),
            (format!("v{n}"), "cache".into()),
            "{}",
            app.log()
        );
    }
    assert_eq!(origin.calls(), 0);
    assert_eq!(app.value("new").1, "primary");
    wait_until(SOON, "it is written", || redis.value("new").is_some());
    assert!(app.redis_is_up(), "{}", app.log());
    assert_eq!(app.log_lines("ERROR"), 0, "{}", app.log());
    app
}

fn user(redis: &Redis) -> Config {
    let mut config = App::configured().redis(redis);
    std::fs::write(config.folder().join("password"), "secret word\n").expect("a file of ours");
    config
        .set("redis", "username", "shop")
        .set("redis", "password_file", "password")
}

#[test]
fn a_user_that_may_get_and_set_alone_is_served() {
    let redis = with_user("shop", GET_AND_SET);
    lock_out_strangers(&redis);
    let app = is_served(&redis, user(&redis));
    assert_eq!(redis.calls("mget"), 0);
    wait_until(SOON, "lives were asked for, and refused", || {
        let info: String = redis.query(&["INFO", "commandstats"]);
        let line = info.lines().find(|line| line.starts_with("cmdstat_pttl"));
        line.is_some_and(|line| line.contains("calls=0,") && !line.contains("rejected_calls=0"))
    });
    assert_eq!(app.value("k1"), ("v1".into(), "cache".into()));
    assert!(app.redis_is_up(), "{}", app.log());
    assert_eq!(app.log_lines("WARN"), 1, "MGET alone: {}", app.log());
}

#[test]
fn a_user_of_some_keys_alone_is_served_those() {
    let redis = with_user("shop", &["~k*", "~new", "+@all"]);
    is_served(&redis, user(&redis));
}

#[test]
fn a_user_that_may_read_alone_is_served_hits_and_it_is_said_once() {
    let redis = with_user("shop", &["~*", "+get", "+mget"]);
    let origin = Origin::start();
    redis.set("a", "readable");
    let app = user(&redis).origin(&origin).connect();
    for n in 0..20 {
        assert_eq!(app.value("a"), ("readable".into(), "cache".into()));
        assert_eq!(app.value(&format!("new{n}")).1, "primary");
    }
    wait_until(SOON, "it is said", || app.log().contains("takes no writes"));
    assert_eq!(app.log_lines("takes no writes"), 1, "{}", app.log());
    assert_eq!(app.log_lines("ERROR"), 0, "{}", app.log());
    assert!(app.redis_is_up());
}

#[test]
fn user_and_password_of_the_url_are_used_over_a_unix_socket() {
    let redis = with_user("shop", GET_AND_SET);
    lock_out_strangers(&redis);
    let url = format!("{}?user=shop&pass=secret%20word", redis.socket_url());
    is_served(&redis, App::configured().set("redis", "url", &url));
}

#[test]
fn a_password_without_a_user_is_used() {
    let redis = Redis::start();
    redis.set_password("secret word");
    for config in [App::configured(), resp3(App::configured())] {
        let config = config
            .redis(&redis)
            .environment("EVENKEEL_REDIS_PASSWORD", "secret word");
        is_served(&redis, config);
        redis.query::<()>(&["FLUSHALL"]);
    }
}

fn resp3(config: Config) -> Config {
    config.set("redis", "protocol", "resp3")
}

#[test]
fn both_versions_of_the_protocol_are_spoken() {
    let redis = with_user("shop", GET_AND_SET);
    lock_out_strangers(&redis);
    let _app = is_served(&redis, resp3(user(&redis)));
    let connections: String = redis.query(&["CLIENT", "LIST"]);
    let ours: Vec<_> = connections
        .lines()
        .filter(|line| line.contains("user=shop"))
        .collect();
    let spoken = |line: &&str| line.contains("resp=3");
    assert!(!ours.is_empty() && ours.iter().all(spoken), "{connections}");
}

#[test]
fn a_server_that_does_not_know_resp3_is_served_with_resp2_and_it_is_said_once() {
    let old = Redis::start_with(&["--rename-command", "HELLO", "nobody-knows-it"]);
    old.set_password("secret word");
    let config = App::configured()
        .set("redis", "url", &old.url().replace("/0", "/5"))
        .environment("EVENKEEL_REDIS_PASSWORD", "secret word");
    let origin = Origin::start();
    let app = resp3(config).origin(&origin).connect();
    assert_eq!(app.value("a").1, "primary");
    wait_until(SOON, "it is written to database 5", || {
        old.query::<String>(&["INFO", "keyspace"])
            .contains("db5:keys=1")
    });
    assert_eq!(app.log_lines("does not know HELLO 3"), 1, "{}", app.log());
}

#[test]
fn a_wrong_password_is_told_in_either_protocol() {
    let redis = with_user("shop", GET_AND_SET);
    lock_out_strangers(&redis);
    for config in [user(&redis), resp3(user(&redis))] {
        let origin = Origin::start();
        let app = config
            .environment("EVENKEEL_REDIS_PASSWORD", "mistaken")
            .set("breaker", "probe_interval", "20ms")
            .origin(&origin)
            .start_in_outage();
        assert_eq!(app.value("a").0, "value of a");
        wait_until(SOON, "it is said", || app.log().contains("refuses us"));
        let log = app.log();
        assert!(
            log.contains("WRONGPASS") && !log.contains("mistaken"),
            "{log}"
        );
    }
}

#[test]
fn a_server_without_optional_commands_is_served() {
    let redis = Redis::start_with(&[
        "--rename-command",
        "MGET",
        "nobody-knows-1",
        "--rename-command",
        "PTTL",
        "nobody-knows-2",
        "--rename-command",
        "PING",
        "nobody-knows-3",
    ]);
    let app = is_served(&redis, App::configured().redis(&redis));
    assert_eq!(app.log_lines("WARN"), 1, "MGET alone: {}", app.log());
}
