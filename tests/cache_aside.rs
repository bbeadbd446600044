//! Cache-aside with a real Redis: what is a hit, what is a miss, and what is written back.

use std::time::Duration;

use crate::harness::{App, Origin, Redis, SOON, wait_until};

#[test]
fn a_hit_is_answered_from_redis_and_the_source_is_not_asked() {
    let (redis, origin) = (Redis::start(), Origin::start());
    redis.set("a", "written by the old service");
    let app = App::with(&redis, &origin).connect();
    let answer = app.get("/api/data/a");
    assert_eq!(
        answer.value(),
        ("written by the old service".into(), "cache".into())
    );
    assert_eq!(
        answer.field("cache-status"),
        Some("evenkeel; hit; detail=redis")
    );
    assert_eq!((answer.field("age"), origin.calls()), (None, 0));
}

#[test]
fn a_miss_is_fetched_and_written_to_redis_with_its_ttl() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .set("route data", "ttl", "2m")
        .connect();
    let answer = app.get("/api/data/a");
    assert_eq!(answer.value(), ("value of a".into(), "primary".into()));
    assert_eq!(answer.field("cache-status"), Some("evenkeel; fwd=miss"));
    wait_until(SOON, "the bare value is in redis", || {
        redis.value("a").as_deref() == Some("value of a")
    });
    let ttl: u64 = redis.query(&["TTL", "a"]);
    assert!((118..=120).contains(&ttl), "{ttl} s");
    assert_eq!(app.value("a"), ("value of a".into(), "cache".into()));
    assert_eq!(origin.calls(), 1);
}

#[test]
fn a_miss_is_answered_before_it_is_written() {
    let (redis, origin) = (Redis::start(), Origin::slow(Duration::from_millis(100)));
    let app = App::with(&redis, &origin)
        .set("redis", "timeout", "4s")
        .connect();
    let mut client = app.client().patient(Duration::from_secs(1));
    client.send("GET /api/data/a HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_until(SOON, "the source is asked", || origin.calls() == 1);
    redis.freeze();
    let answer = client
        .response(false)
        .expect("an answer while redis cannot be written to");
    assert_eq!(answer.value().1, "primary");
    redis.thaw();
}

/// However soon a client comes back: between the answer and the write there is no gap.
#[test]
fn after_a_miss_the_next_request_is_a_hit() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin).without_memory().connect();
    let mut client = app.client();
    for key in (0..500).map(|n| format!("k{n}")) {
        let path = format!("/api/data/{key}");
        assert_eq!(
            client.get(&path).value(),
            (Origin::value_of(&key), "primary".into())
        );
        assert_eq!(
            client.get(&path).value(),
            (Origin::value_of(&key), "cache".into())
        );
        assert_eq!(origin.calls_of(&key), 1);
    }
}

#[test]
fn a_cached_empty_string_is_a_hit() {
    let (redis, origin) = (Redis::start(), Origin::start());
    redis.set("empty", "");
    let app = App::with(&redis, &origin).connect();
    assert_eq!(app.value("empty"), (String::new(), "cache".into()));
    assert_eq!(origin.calls(), 0);
}

#[test]
fn an_undecodable_value_is_a_miss_and_is_overwritten() {
    let (redis, origin) = (Redis::start(), Origin::start());
    redis.query::<()>(&["EVAL", "redis.call('SET', 'bytes', '\\255\\254')", "0"]);
    redis.query::<()>(&["RPUSH", "list", "x"]);
    redis.query::<()>(&["HSET", "hash", "field", "x"]);
    let app = App::with(&redis, &origin).connect();
    for key in ["bytes", "list", "hash"] {
        assert_eq!(app.value(key), (Origin::value_of(key), "primary".into()));
        wait_until(SOON, "it is overwritten", || {
            redis.query::<String>(&["TYPE", key]) == "string"
                && redis.value(key) == Some(Origin::value_of(key))
        });
        assert_eq!(app.value(key), (Origin::value_of(key), "cache".into()));
    }
    assert!(app.redis_is_up(), "a wrong type is not redis's fault");
}

#[test]
fn the_key_prefix_stands_before_every_key_and_a_route_may_have_its_own() {
    let (redis, origin) = (Redis::start(), Origin::start());
    redis.set("all:a", "from all");
    redis.set("own:a", "from own");
    redis.set("a", "from nobody");
    let app = App::with(&redis, &origin)
        .set("redis", "key_prefix", "all:")
        .set("route second", "path", "/second/<key>/x")
        .set("route second", "source", "origin")
        .set("route second", "key_prefix", "own:")
        .connect();
    assert_eq!(app.value("a"), ("from all".into(), "cache".into()));
    assert_eq!(
        app.get("/second/a/x").value(),
        ("from own".into(), "cache".into())
    );
    assert_eq!(app.get("/second/b/x").value().1, "primary");
    wait_until(SOON, "it is written with its prefix", || {
        redis.value("own:b").is_some()
    });
    assert_eq!(
        origin.targets(),
        ["/items/b"],
        "the source never sees a prefix"
    );
}

#[test]
fn routes_have_their_own_sources_and_their_own_ttl() {
    let redis = Redis::start();
    let (first, second) = (Origin::start(), Origin::start());
    second.put("a", "from the second");
    let app = App::with(&redis, &first)
        .set("route other", "path", "/other/<key>")
        .set("route other", "source", "other")
        .set("route other", "key_prefix", "other:")
        .set("route other", "ttl", "1h")
        .set("route data", "ttl", "1d")
        .set("source other", "kind", "http")
        .set("source other", "url", &second.url())
        .connect();
    assert_eq!(app.value("a").0, "value of a");
    assert_eq!(app.get("/other/a").value().0, "from the second");
    assert_eq!((first.calls(), second.calls()), (1, 1));
    let ttl = |key: &str| redis.query::<i64>(&["TTL", key]);
    wait_until(SOON, "both are written", || {
        ttl("a") > 86_000 && (1..=3600).contains(&ttl("other:a"))
    });
}

#[test]
fn the_database_of_the_url_is_used() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let url = redis.url().replace("/0", "/5");
    let app = App::configured()
        .redis(&redis)
        .set("redis", "url", &url)
        .origin(&origin)
        .connect();
    assert_eq!(app.value("a").1, "primary");
    wait_until(SOON, "it is written to database 5", || {
        redis
            .query::<String>(&["INFO", "keyspace"])
            .contains("db5:keys=1")
    });
    assert_eq!(redis.value("a"), None);
}

#[test]
fn a_redis_behind_a_unix_socket_is_used() {
    let (redis, origin) = (Redis::start(), Origin::start());
    redis.set("a", "over a socket");
    let app = App::configured()
        .set("redis", "url", &redis.socket_url())
        .origin(&origin)
        .connect();
    assert_eq!(app.value("a"), ("over a socket".into(), "cache".into()));
    assert_eq!(app.value("b").1, "primary");
    wait_until(SOON, "it is written", || redis.value("b").is_some());
}

#[test]
fn lookups_that_wait_together_are_asked_for_in_one_call() {
    let (redis, origin) = (Redis::start(), Origin::start());
    (0..40).for_each(|n| redis.set(&format!("k{n}"), &format!("v{n}")));
    let app = App::with(&redis, &origin)
        .set("server", "request_timeout", "60s")
        .set("server", "queue_timeout", "60s")
        .set("redis", "timeout", "40s")
        .set("redis", "readers", "1")
        .connect();
    redis.freeze();
    let mut clients: Vec<_> = (0..40).map(|_| app.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /api/data/k{n} HTTP/1.1\r\nHost: h\r\n\r\n"));
        // The first one keeps the only reader waiting for redis.
        wait_until(SOON, "it waits", || {
            app.figure("/queue/waiting_for_redis") == n as u64
        });
    }
    redis.thaw();
    for (n, client) in clients.iter_mut().enumerate() {
        let answer = client.response(false).expect("an answer");
        assert_eq!(answer.value(), (format!("v{n}"), "cache".into()));
    }
    assert_eq!(redis.calls("mget"), 1, "39 lookups, one call");
    assert_eq!(origin.calls(), 0);
}
