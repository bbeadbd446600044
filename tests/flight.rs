//! One fill per key: whoever asks while a fetch is under way joins it and holds nothing.

use std::time::{Duration, Instant};

use crate::harness::{App, Client, Origin, Redis, SOON, SourceFault, wait_until};

/// Sends the same request over `count` connections; all of it is sent when this returns.
fn ask_for_one_key(app: &App, count: usize) -> Vec<Client> {
    let mut clients: Vec<_> = (0..count).map(|_| app.client()).collect();
    for client in &mut clients {
        client.send("GET /api/data/cold HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    clients
}

#[test]
fn a_hundred_clients_of_one_cold_key_make_one_call() {
    for mut redis in [Redis::start(), Redis::not_started()] {
        let origin = Origin::start();
        origin.set_fault(SourceFault::Hangs);
        let app = App::with(&redis, &origin).start();
        let mut clients = ask_for_one_key(&app, 100);
        wait_until(SOON, "99 have joined", || {
            app.figure("/source/joined") == 99
        });
        origin.set_fault(None);
        let mut collapsed = 0;
        for client in &mut clients {
            let answer = client.response(false).expect("an answer");
            assert_eq!(answer.value(), ("value of cold".into(), "primary".into()));
            let status = answer.field("cache-status").unwrap_or_default();
            collapsed += usize::from(status == "evenkeel; fwd=miss; collapsed");
        }
        assert_eq!((origin.calls(), collapsed), (1, 99));
        redis.kill();
    }
}

#[test]
fn a_failing_fetch_fails_all_who_joined_once_and_the_next_one_tries_again() {
    let (redis, origin) = (Redis::start(), Origin::start());
    origin.set_fault(SourceFault::Hangs);
    let app = App::with(&redis, &origin).connect();
    let mut clients = ask_for_one_key(&app, 20);
    wait_until(SOON, "19 have joined", || {
        app.figure("/source/joined") == 19
    });
    origin.set_fault(SourceFault::Status(500));
    for client in &mut clients {
        let answer = client.response(false).expect("an answer");
        assert_eq!(answer.status, 503);
        assert!(answer.field("retry-after").is_some());
    }
    assert_eq!(origin.calls(), 1);
    origin.set_fault(None);
    assert_eq!(app.value("cold").1, "primary");
}

#[test]
fn a_hanging_fetch_holds_nobody_beyond_their_own_deadline() {
    let (redis, origin) = (Redis::start(), Origin::start());
    origin.set_fault(SourceFault::Hangs);
    let app = App::with(&redis, &origin)
        .set("server", "request_timeout", "1s")
        .set("server", "queue_timeout", "100ms")
        .set("redis", "timeout", "100ms")
        .set("source origin", "timeout", "800ms")
        .connect();
    let leader = ask_for_one_key(&app, 1);
    wait_until(SOON, "the source is asked", || origin.calls() == 1);
    let began = Instant::now();
    let joined = ask_for_one_key(&app, 20);
    for mut client in leader.into_iter().chain(joined) {
        let answer = client.response(false).expect("an answer");
        assert_eq!(answer.status, 503);
    }
    let took = began.elapsed();
    assert!(took < Duration::from_millis(1500), "{took:?}");
    assert_eq!(origin.calls(), 1);
}

#[test]
fn one_hanging_key_does_not_hold_the_others() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin).connect();
    origin.set_fault(SourceFault::Hangs);
    let mut hanging = ask_for_one_key(&app, 50);
    wait_until(SOON, "49 have joined", || {
        app.figure("/source/joined") == 49
    });
    redis.set("hit", "well");
    assert_eq!(app.value("hit"), ("well".into(), "cache".into()));
    assert_eq!(
        app.figure("/queue/fetching"),
        1,
        "who joins holds no thread"
    );
    origin.set_fault(None);
    for client in &mut hanging {
        assert_eq!(client.response(false).expect("an answer").status, 200);
    }
}
