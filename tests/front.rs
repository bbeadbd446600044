//! The front: what a client may send, and what it gets.

use crate::harness::{App, Origin, Redis, SourceFault};

/// An app with `hit` in its Redis.
pub fn served() -> (App, Redis, Origin) {
    let (redis, origin) = (Redis::start(), Origin::start());
    redis.set("hit", "well");
    let app = App::with(&redis, &origin).connect();
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
        let app = App::with(&redis, &origin)
            .set("server", "contract", contract)
            .connect();
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
