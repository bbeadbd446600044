//! `/livez`, `/readyz` and `/healthz`: what they say, and that they wait for nobody.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{App, Origin, Redis, SOON, SourceFault, wait_until};

fn statuses(app: &App) -> [u16; 3] {
    ["/livez", "/readyz", "/healthz"].map(|path| app.get(path).status)
}

#[test]
fn a_redis_that_is_down_is_reported_and_the_service_is_ready() {
    let (mut redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin).connect();
    assert_eq!(
        (app.health()["status"].as_str(), statuses(&app)),
        (Some("ok"), [200; 3])
    );
    redis.kill();
    wait_until(SOON, "it is noticed", || {
        app.value("a");
        !app.redis_is_up()
    });
    let health = app.health();
    assert_eq!(
        (health["status"].as_str(), statuses(&app)),
        (Some("degraded"), [200; 3])
    );
    assert_eq!(health["redis"]["breaker"], "open");
    assert!(health["redis"]["last_fault"].is_string(), "{health}");
    redis.start_again();
    app.wait_for_redis();
    assert_eq!(
        (app.health()["status"].as_str(), statuses(&app)),
        (Some("ok"), [200; 3])
    );
}

#[test]
fn a_redis_that_is_down_fails_the_check_where_that_is_wanted() {
    let (mut redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .set("health", "redis", "fail")
        .connect();
    assert_eq!(statuses(&app), [200; 3]);
    redis.kill();
    wait_until(SOON, "it is noticed", || {
        app.value("a");
        app.get("/healthz").status == 503
    });
    assert_eq!(app.health()["status"], "down");
    assert_eq!(
        statuses(&app),
        [200, 503, 503],
        "the process itself is well"
    );
    assert_eq!(app.value("b").0, "value of b", "and serves whoever asks");
    redis.start_again();
    wait_until(SOON, "it is well again", || statuses(&app) == [200; 3]);
}

#[test]
fn a_source_that_is_down_is_degraded_and_said() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .set("source origin", "reset_timeout", "1h")
        .connect();
    assert_eq!(app.health()["sources"][0]["cause"], Value::Null);
    origin.set_fault(SourceFault::Status(500));
    for n in 0..5 {
        assert_eq!(app.get(&format!("/api/data/k{n}")).status, 503);
    }
    wait_until(SOON, "its breaker opens", || {
        app.health()["sources"][0]["breaker"] == "open"
    });
    let health = app.health();
    assert_eq!(
        (&health["status"], &health["reason"]),
        (&"degraded".into(), &"source origin is not usable".into())
    );
    assert_eq!(health["sources"][0]["name"], "origin");
    assert_eq!(health["sources"][0]["cause"], "status 500");
    assert_eq!(statuses(&app), [200; 3], "hits and copies are served");
}

#[test]
fn a_breaker_that_is_held_open_shows() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .set("breaker", "mode", "forced_open")
        .start();
    let health = app.health();
    assert_eq!(health["redis"]["breaker"], "open");
    assert_eq!(health["redis"]["breaker_mode"], "forced_open");
    assert_eq!(
        app.log_lines("mode = \"forced_open\": Redis is not used"),
        1
    );
}

#[test]
fn health_never_asks_redis() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin).connect();
    let (pings, lookups) = (redis.calls("ping"), redis.lookups());
    (0..50).for_each(|_| assert_eq!(statuses(&app), [200; 3]));
    redis.freeze();
    let began = Instant::now();
    (0..50).for_each(|_| assert_eq!(statuses(&app), [200; 3]));
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    redis.thaw();
    assert_eq!((redis.calls("ping"), redis.lookups()), (pings, lookups));
}

#[test]
fn a_full_queue_is_not_ready_and_health_does_not_wait_behind_it() {
    let (redis, origin) = (Redis::start(), Origin::start());
    origin.set_fault(SourceFault::Hangs);
    let app = App::with(&redis, &origin)
        .set("server", "workers", "1")
        .set("server", "queue", "3")
        .set("server", "queue_timeout", "4s")
        .connect();
    let mut clients: Vec<_> = (0..4).map(|_| app.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /api/data/k{n} HTTP/1.1\r\nHost: h\r\n\r\n"));
        // One is being fetched, the others wait.
        wait_until(SOON, "it is fetched or waits", || {
            app.figure("/queue/waiting_for_source") == n as u64 && origin.calls() == 1
        });
    }
    let began = Instant::now();
    assert_eq!(statuses(&app), [200, 503, 503]);
    assert_eq!(app.health()["reason"], "the queue is full");
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    origin.set_fault(None);
    for client in &mut clients {
        assert_eq!(client.response(false).expect("an answer").status, 200);
    }
    assert_eq!(statuses(&app), [200; 3]);
}

#[test]
fn answers_are_counted_by_where_they_came_from() {
    let (mut redis, origin) = (Redis::start(), Origin::start());
    redis.set("hit", "x");
    let app = App::with(&redis, &origin).connect();
    (0..3).for_each(|_| drop(app.value("hit")));
    app.value("new");
    origin.set_fault(SourceFault::Status(404));
    app.get("/api/data/none");
    origin.set_fault(SourceFault::Status(500));
    (0..2).for_each(|_| drop(app.get("/api/data/failing")));
    redis.kill();
    (0..4).for_each(|_| drop(app.value("new")));
    let counted = [
        "redis",
        "source",
        "no_such_thing",
        "unavailable",
        "memory_fresh",
        "shed",
    ]
    .map(|outcome| app.figure(&format!("/answers/{outcome}")));
    assert_eq!(counted, [3, 1, 1, 2, 4, 0]);
    assert_eq!(
        (app.figure("/source/calls"), app.figure("/source/failures")),
        (4, 2)
    );
    assert_eq!(app.figure("/panics"), 0);
}
