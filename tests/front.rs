//! The front: what a client may send, what it gets, and that none can take the server from others.

use std::time::{Duration, Instant};

use crate::harness::{App, NoResponse, Origin, Redis, SOON, SourceFault, alone, wait_until};

/// A short limit of the front.
const LIMIT: Duration = Duration::from_millis(600);

/// An app with `hit` in its Redis.
fn served() -> (App, Redis, Origin) {
    let (redis, origin) = (Redis::start(), Origin::start());
    redis.set("hit", "well");
    let app = App::start(&redis, &origin);
    app.wait_for_redis();
    (app, redis, origin)
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (app, redis, _origin) = served();
    // Hits, misses and errors take different ways and different times.
    let path = |n: usize| match n % 4 {
        0 => format!("/api/data/known{n}"),
        1 => format!("/api/data/new{n}"),
        2 => format!("/nothing/{n}"),
        _ => "/livez".to_owned(),
    };
    (0..200).for_each(|n| redis.set(&format!("known{n}"), &format!("v{n}")));
    let mut client = app.client();
    let requests: String = (0..200)
        .map(|n| {
            format!(
                "GET {} HTTP/1.1\r\nHost: h\r\nX-Request-Id: id-{n}\r\n\r\n",
                path(n)
            )
        })
        .collect();
    client.send(requests);
    for n in 0..200 {
        let answer = client.response(false).expect("an answer to each");
        assert_eq!(answer.field("x-request-id"), Some(&*format!("id-{n}")));
        match n % 4 {
            0 => assert_eq!(answer.value(), (format!("v{n}"), "cache".into())),
            1 => assert_eq!(
                answer.value(),
                (format!("value of new{n}"), "primary".into())
            ),
            2 => assert_eq!(answer.status, 404),
            _ => assert_eq!(answer.status, 200),
        }
    }
    assert_eq!(client.finish(), Ok(Vec::new()));
}

#[test]
fn a_request_id_is_taken_over_where_it_is_sound_and_made_where_it_is_not() {
    let (app, _redis, _origin) = served();
    let mut client = app.client();
    let longest = "x".repeat(128);
    for path in ["/api/data/hit", "/api/data/new", "/nope", "/healthz"] {
        for id in ["a", "A-b_c.9", &longest] {
            let answer = client.ask("GET", path, &format!("X-Request-Id: {id}\r\n"));
            assert_eq!(answer.field("x-request-id"), Some(id), "{path}");
        }
        let mut made = Vec::new();
        for id in ["", "a b", "caf\u{e9}", "a:b", &format!("{longest}x")] {
            let answer = client.ask("GET", path, &format!("X-Request-Id: {id}\r\n"));
            let own = answer.field("x-request-id").expect("always one").to_owned();
            assert!(own != id && own.len() >= 8 && own.bytes().all(|b| b.is_ascii_alphanumeric()));
            made.push(own);
        }
        made.sort_unstable();
        made.dedup();
        assert_eq!(made.len(), 5, "each its own");
    }
}

#[test]
fn a_key_over_the_limit_gets_414_and_touches_nothing() {
    let (redis, origin) = (Redis::start(), Origin::start());
    for (contract, letter) in [("flask", "f"), ("fastapi", "a")] {
        let app = App::configured()
            .redis(&redis)
            .origin(&origin)
            .set("server", "contract", contract)
            .start();
        app.wait_for_redis();
        let (lookups, calls) = (redis.lookups(), origin.calls());
        let mut client = app.client();
        for key in ["k".repeat(4097), "%6B".repeat(4097), "%C3%A9".repeat(2049)] {
            assert_eq!(client.get(&format!("/api/data/{key}")).status, 414);
        }
        assert_eq!((redis.lookups(), origin.calls()), (lookups, calls));
        let longest = letter.repeat(4096);
        assert_eq!(
            client.get(&format!("/api/data/{longest}")).value().1,
            "primary"
        );
        assert_eq!(origin.calls_of(&longest), 1);
    }
}

#[test]
fn health_knows_get_head_and_options() {
    let (app, _redis, _origin) = served();
    let mut client = app.client();
    for path in ["/livez", "/readyz", "/healthz", "/healthz?verbose"] {
        let get = client.get(path);
        assert_eq!(
            (get.status, get.field("cache-control")),
            (200, Some("no-store"))
        );
        assert_eq!(get.json()["status"], "ok");
        let head = client.ask("HEAD", path, "");
        assert_eq!(
            (head.status, head.field("content-type")),
            (200, get.field("content-type"))
        );
        let options = client.ask("OPTIONS", path, "");
        assert_eq!(options.status, 200);
        assert_eq!(options.field("allow"), Some("GET, HEAD, OPTIONS"));
        assert!(options.body.is_empty());
        assert_eq!(client.ask("DELETE", path, "").status, 405);
    }
}

#[test]
fn http_1_0_is_answered_and_closed_unless_it_asks_to_be_kept() {
    let (app, _redis, _origin) = served();
    let mut client = app.client();
    client.send("GET /api/data/hit HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let kept = client.response(false).expect("an answer");
    assert_eq!(
        (kept.value().0, kept.field("connection")),
        ("well".into(), Some("keep-alive"))
    );
    client.send("GET /api/data/hit HTTP/1.0\r\n\r\n");
    let last = client.response(false).expect("an answer");
    assert_eq!(
        (last.value().0, last.field("connection")),
        ("well".into(), Some("close"))
    );
    assert_eq!(client.rest(), Ok(Vec::new()));
}

#[test]
fn who_asks_to_close_is_answered_and_closed() {
    let (app, _redis, _origin) = served();
    for path in ["/api/data/hit", "/api/data/new", "/nope", "/livez"] {
        let mut client = app.client();
        let answer = client.ask("GET", path, "Connection: close\r\n");
        assert_eq!(answer.field("connection"), Some("close"), "{path}");
        assert_eq!(client.rest(), Ok(Vec::new()), "{path}");
    }
}

#[test]
fn a_request_with_a_body_gets_one_answer_and_then_the_end() {
    let (app, redis, origin) = served();
    let smuggled = "GET /api/data/smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    let length = smuggled.len();
    for framing in [
        format!("Content-Length: {length}\r\n"),
        "Content-Length: 1\r\n".to_owned(),
        "Content-Length: 100000000000000\r\n".to_owned(),
        "Content-Length: 18446744073709551615\r\n".to_owned(),
        "Content-Length: 5\r\nExpect: 100-continue\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\n".to_owned(),
        "Transfer-Encoding: gzip, chunked\r\n".to_owned(),
    ] {
        for (method, status) in [("GET", 200), ("POST", 405)] {
            let mut client = app.client();
            client.send(format!(
                "{method} /api/data/hit HTTP/1.1\r\nHost: h\r\n{framing}\r\n{smuggled}"
            ));
            let answer = client.response(false).expect("one answer");
            assert_eq!(answer.status, status, "{framing}");
            assert_eq!(answer.field("connection"), Some("close"), "{framing}");
            assert_eq!(
                client.rest(),
                Ok(Vec::new()),
                "{framing}: not one byte more"
            );
        }
    }
    assert_eq!((redis.value("smuggled"), origin.calls()), (None, 0));
}

#[test]
fn an_ambiguous_head_is_refused_before_anything_is_touched() {
    let (app, redis, origin) = served();
    let lookups = redis.lookups();
    for (head, status) in [
        (
            "GET /api/data/hit HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
        ),
        (
            "GET /api/data/hit HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            "GET /api/data/hit HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            400,
        ),
        (
            "GET /api/data/hit HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
            501,
        ),
        (
            "GET /api/data/hit HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n",
            400,
        ),
        (
            "GET /api/data/hit HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            400,
        ),
        ("GET /api/data/hit HTTP/1.1\nHost: a\n\n", 400),
        ("GET /api/data/hit HTTP/1.1\r\nX: a\0b\r\n\r\n", 400),
        ("\u{16}\u{3}\u{1} hello", 400),
    ] {
        let mut client = app.client();
        client.send(format!(
            "{head}GET /api/data/hit HTTP/1.1\r\nHost: h\r\n\r\n"
        ));
        let answer = client.response(false).expect("an answer");
        assert_eq!(answer.status, status, "{head:?}");
        assert_eq!(
            client.rest(),
            Ok(Vec::new()),
            "{head:?}: one answer, then the end"
        );
    }
    assert_eq!((redis.lookups(), origin.calls()), (lookups, 0));
}

#[test]
fn a_head_over_its_limit_is_refused() {
    let (app, _redis, _origin) = served();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000));
    let large = format!(
        "GET /api/data/hit HTTP/1.1\r\nX: {}\r\n\r\n",
        "x".repeat(20_000)
    );
    let many = format!(
        "GET /api/data/hit HTTP/1.1\r\n{}\r\n",
        "X: y\r\n".repeat(200)
    );
    for (head, status) in [(long, 414), (large, 431), (many, 431)] {
        let mut client = app.client();
        client.send(head);
        assert_eq!(client.response(false).expect("an answer").status, status);
        assert_eq!(client.rest(), Ok(Vec::new()));
    }
}

#[test]
fn a_head_that_comes_byte_by_byte_is_a_head() {
    let (app, _redis, _origin) = served();
    let mut client = app.client();
    for byte in b"GET /api/data/hit HTTP/1.1\r\nHost: h\r\n\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.response(false).expect("an answer").value().0, "well");
}

#[test]
fn a_head_that_does_not_end_is_ended_by_head_timeout_in_total() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let limit = format!("{}ms", LIMIT.as_millis());
    let app = App::configured()
        .redis(&redis)
        .origin(&origin)
        .set("server", "head_timeout", &limit)
        .start();
    app.wait_for_redis();
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
    let app = App::configured()
        .redis(&redis)
        .origin(&origin)
        .set("server", "idle_timeout", &limit)
        .start();
    app.wait_for_redis();
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
    // Readers and writer may each open a connection to Redis meanwhile.
    let (threads, descriptors) = (app.threads(), app.descriptors() + 3);
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
    let app = App::configured()
        .redis(&redis)
        .origin(&origin)
        .set("server", "fronts", "4")
        .start();
    app.wait_for_redis();
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
    let app = App::configured()
        .redis(&redis)
        .origin(&origin)
        .set("server", "workers", "1")
        .set("server", "queue", "2")
        .set("server", "queue_timeout", "500ms")
        .start();
    app.wait_for_redis();
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
    origin.set_fault(None);
    assert_eq!(clients[0].response(false).expect("an answer").status, 200);
}

#[test]
fn max_connections_is_held_and_an_idle_one_gives_way() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::configured()
        .redis(&redis)
        .origin(&origin)
        .set("server", "max_connections", "20")
        .start();
    app.wait_for_redis();
    let idle: Vec<_> = (0..50).map(|_| app.client()).collect();
    assert_eq!(app.value("a").0, "value of a");
    assert!(app.figure("/connections/open") <= 20);
    drop(idle);
    wait_until(SOON, "they are gone", || {
        app.figure("/connections/open") == 1
    });
}

#[test]
fn who_does_not_read_holds_nobody() {
    let (app, redis, _origin) = served();
    redis.set("large", &"x".repeat(4 * 1024 * 1024));
    let mut slow: Vec<_> = (0..10).map(|_| app.client()).collect();
    for client in &mut slow {
        client.send("GET /api/data/large HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    wait_until(SOON, "all are being answered", || {
        app.figure("/answers/redis") == 10
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
fn nothing_of_a_request_reaches_the_log_unescaped() {
    let (app, _redis, origin) = served();
    origin.set_fault(SourceFault::Status(500));
    assert_eq!(app.get("/api/data/a%0D%0A%1B%5B31mERROR%C2%9B").status, 503);
    assert_eq!(
        app.log_lines("source origin: status 500"),
        1,
        "{}",
        app.log()
    );
    let is_plain = |c: char| c == '\n' || (!c.is_control() && c.is_ascii());
    assert!(app.log().chars().all(is_plain), "{:?}", app.log());
}
