//! Many clients, and such as take their time: none of them takes the server from the others.

use std::time::{Duration, Instant};

use crate::front::served;
use crate::harness::{
    App, NoResponse, Origin, REDIS_CONNECTIONS_MAX, Redis, SOON, SourceFault, alone, wait_until,
};

/// A short limit of the front.
const LIMIT: Duration = Duration::from_millis(600);

#[test]
fn a_head_that_does_not_end_is_ended_by_head_timeout_in_total() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let limit = format!("{}ms", LIMIT.as_millis());
    let app = App::with(&redis, &origin)
        .set("server", "head_timeout", &limit)
        .connect();
    let began = Instant::now();
    let mut silent = app.client();
    silent.send("GET /api/da");
    let mut dripping = app.client();
    wait_until(SOON, "who drips is ended", || {
        std::thread::park_timeout(Duration::from_millis(20));
        dripping.try_send("x").is_err()
    });
    assert!(began.elapsed() >= LIMIT, "{:?}", began.elapsed());
    assert!(began.elapsed() < LIMIT * 4, "{:?}", began.elapsed());
    assert!(silent.rest().is_ok(), "who is silent is ended too");
}

#[test]
fn an_idle_connection_is_ended_by_idle_timeout_and_a_busy_one_is_not() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let limit = format!("{}ms", LIMIT.as_millis());
    let app = App::with(&redis, &origin)
        .set("server", "idle_timeout", &limit)
        .connect();
    let mut never = app.client();
    let mut once = app.client();
    assert_eq!(once.get("/api/data/a").status, 200);
    origin.set_fault(SourceFault::Hangs);
    let mut waiting = app.client();
    waiting.send("GET /api/data/slow HTTP/1.1\r\nHost: h\r\n\r\n");
    let began = Instant::now();
    assert_eq!(
        (never.rest(), once.rest()),
        (Ok(Vec::new()), Ok(Vec::new()))
    );
    assert!(began.elapsed() > LIMIT / 2, "{:?}", began.elapsed());
    let early = waiting.patient(LIMIT).response(false);
    assert_eq!(
        early.err(),
        Some(NoResponse::TimedOut),
        "it is not idle: it waits for its answer"
    );
}

#[test]
fn threads_do_not_grow_with_clients_and_descriptors_come_back() {
    let (app, _redis, _origin) = served();
    app.value("new");
    let (threads, descriptors) = (app.threads(), app.descriptors() + REDIS_CONNECTIONS_MAX);
    let mut clients: Vec<_> = (0..500).map(|_| app.client()).collect();
    for client in &mut clients {
        client.send("GET /api/data/hit HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response(false).expect("an answer").value().0, "well");
    }
    assert_eq!(app.threads(), threads, "with 1 and with 500 clients");
    assert!(app.figure("/connections/open") >= 500);
    drop(clients);
    wait_until(SOON, "descriptors are given back", || {
        app.descriptors() <= descriptors
    });
    assert_eq!(app.threads(), threads);
}

#[test]
fn several_fronts_share_the_clients() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .set("server", "fronts", "4")
        .connect();
    let mut clients: Vec<_> = (0..64).map(|_| app.client()).collect();
    for round in 0..5 {
        for (n, client) in clients.iter_mut().enumerate() {
            client.send(format!("GET /api/data/k{n} HTTP/1.1\r\nHost: h\r\n\r\n"));
        }
        for (n, client) in clients.iter_mut().enumerate() {
            let answer = client.response(false).expect("an answer");
            assert_eq!(answer.value().0, format!("value of k{n}"), "round {round}");
        }
    }
    assert_eq!(origin.calls(), 64);
}

#[test]
fn a_hit_is_quick_while_every_filler_hangs() {
    alone();
    let (app, _redis, origin) = served();
    let median = |app: &App| {
        let mut client = app.client();
        let mut times: Vec<_> = (0..200)
            .map(|_| {
                let began = Instant::now();
                assert_eq!(
                    client.get("/api/data/hit").value(),
                    ("well".into(), "cache".into())
                );
                began.elapsed()
            })
            .collect();
        times.sort_unstable();
        times[100]
    };
    let before = median(&app);
    origin.set_fault(SourceFault::Hangs);
    let mut waiting: Vec<_> = (0..64).map(|_| app.client()).collect();
    for (n, client) in waiting.iter_mut().enumerate() {
        client.send(format!("GET /api/data/cold{n} HTTP/1.1\r\nHost: h\r\n\r\n"));
    }
    wait_until(SOON, "every filler hangs", || {
        app.figure("/queue/fetching") == 32
    });
    let meanwhile = median(&app);
    let limit = before * 3 + Duration::from_millis(2);
    assert!(
        meanwhile < limit,
        "{before:?} before, {meanwhile:?} meanwhile"
    );
}

#[test]
fn what_is_beyond_the_queue_is_shed_with_503_and_retry_after() {
    let (redis, origin) = (Redis::start(), Origin::start());
    origin.set_fault(SourceFault::Hangs);
    let app = App::with(&redis, &origin)
        .set("server", "workers", "1")
        .set("server", "queue", "2")
        .set("server", "queue_timeout", "500ms")
        .connect();
    let mut clients: Vec<_> = (0..3).map(|_| app.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /api/data/k{n} HTTP/1.1\r\nHost: h\r\n\r\n"));
        wait_until(SOON, "it is fetched or waits", || {
            app.figure("/queue/fetching") + app.figure("/queue/waiting_for_source") == n as u64 + 1
        });
    }
    let began = Instant::now();
    let shed = app.get("/api/data/one-more");
    assert!(
        began.elapsed() < Duration::from_millis(400),
        "at once: {:?}",
        began.elapsed()
    );
    let fields = (shed.field("retry-after"), shed.field("cache-status"));
    assert_eq!(
        (shed.status, fields),
        (503, (Some("1"), Some("evenkeel; detail=shed")))
    );
    for client in &mut clients[1..] {
        let answer = client.response(false).expect("an answer");
        assert_eq!(
            answer.field("cache-status"),
            Some("evenkeel; detail=shed"),
            "too old"
        );
    }
    assert_eq!(app.log_lines("shed a request with 503"), 1, "{}", app.log());
    origin.set_fault(None);
    assert_eq!(clients[0].response(false).expect("an answer").status, 200);
}

#[test]
fn max_connections_is_held_and_an_idle_one_gives_way() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .set("server", "max_connections", "20")
        .connect();
    let idle: Vec<_> = (0..50).map(|_| app.client()).collect();
    assert_eq!(app.value("a").0, "value of a");
    assert!(app.figure("/connections/open") <= 20);
    let said = "accept: all 20 places for connections are taken";
    assert_eq!(app.log_lines(said), 1, "{}", app.log());
    drop(idle);
    wait_until(SOON, "they are gone", || {
        app.figure("/connections/open") == 1
    });
}

#[test]
fn who_does_not_read_holds_nobody() {
    let (app, redis, _origin) = served();
    redis.set("large", &"x".repeat(4 * 1024 * 1024));
    let mut slow: Vec<_> = (0..6).map(|_| app.client()).collect();
    for client in &mut slow {
        client.send("GET /api/data/large HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    wait_until(SOON, "all are being answered", || {
        app.figure("/answers/redis") == 6
    });
    let mut client = app.client().patient(Duration::from_secs(2));
    (0..100).for_each(|_| assert_eq!(client.get("/api/data/hit").value().0, "well"));
    for client in &mut slow {
        assert_eq!(
            client.response(false).expect("all of it").value().0.len(),
            4 * 1024 * 1024
        );
    }
}

#[test]
#[ignore = "long: many clients, alone"]
fn long_answers_reach_many_clients_at_once() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let value = "x".repeat(10 * 1024 * 1024);
    redis.set("large", &value);
    // Some may find Redis too slow for so much at once.
    origin.put("large", value.clone());
    let app = App::with(&redis, &origin)
        .set("source origin", "max_body", "16MiB")
        .connect();
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                let mut client = app.client();
                for _ in 0..2 {
                    let received = client.get("/api/data/large").value().0;
                    assert!(received == value, "{} bytes", received.len());
                }
            });
        }
    });
}
