//! Pipelines, old clients, and unusual but sound requests.

use std::io::{Read, Write};
use std::time::Duration;

use super::{Target, connect, count_responses, short_limits};
use crate::harness::{NoResponse, Origin, Redis, SOON, let_pass, wait_until};

#[test]
fn five_thousand_pipelined_requests_are_answered_in_their_order() {
    let origin = Origin::start();
    let target = Target::start_with(short_limits().origin(&origin), "");
    let witness = target.witness();
    let mut client = target.client();
    let key = |n: usize| match n % 3 {
        0 => format!("new-{n}"),
        _ => format!("again-{}", n % 7),
    };
    let requests: String = (0..5000)
        .map(|n| format!("GET /api/data/{} HTTP/1.1\r\nHost: p\r\n\r\n", key(n)))
        .collect();
    // All of it fits into the buffers of both sides or waits there: the answers are read afterwards.
    client.send(&requests[..100_000]);
    for n in 0..5000 {
        if n == 100 {
            client.send(&requests[100_000..]);
        }
        let response = client
            .response(false)
            .unwrap_or_else(|why| panic!("answer {n}: {why:?}"));
        assert_eq!(response.value().0, Origin::value_of(&key(n)), "answer {n}");
    }
    witness.assert_served();
    let mut late = client.patient(Duration::from_millis(50));
    assert_eq!(
        late.response(false).map(|r| r.status),
        Err(NoResponse::TimedOut),
        "one too many"
    );
}

#[test]
fn a_pipeline_that_is_not_read_ends_by_the_write_timeout_and_holds_no_worker() {
    let redis = Redis::start();
    redis.set("known", "the value");
    redis.set("large", &"v".repeat(20_000));
    let target = Target::start_on(redis, short_limits(), "");
    let threads = target.threads();
    let witness = target.witness();
    let clients: Vec<_> = (0..40)
        .map(|_| {
            let mut stream = connect(target.address());
            let requests = b"GET /api/data/large HTTP/1.1\r\nHost: p\r\n\r\n".repeat(800);
            stream.write_all(&requests).expect("taken");
            stream
        })
        .collect();
    wait_until(SOON, "they are being served", || {
        target.figure("/connections/open") > 30
    });
    assert_eq!(target.threads(), threads);
    // 1 s, and what is left of one answer at a modem's rate.
    wait_until(SOON, "all have ended", || {
        target.figure("/connections/open") <= 3
    });
    witness.assert_served();
    drop(clients);
}

#[test]
fn long_answers_with_requests_behind_them_arrive_whole_and_in_order() {
    let redis = Redis::start();
    redis.set("known", "the value");
    for n in 0..5 {
        redis.set(
            &format!("large-{n}"),
            &format!("{n}").repeat(700_000 + n * 100_000),
        );
    }
    let target = Target::start_on(redis, short_limits(), "");
    let witness = target.witness();
    let mut client = target.client();
    for n in 0..40 {
        client.send(format!(
            "GET /api/data/large-{} HTTP/1.1\r\n\r\nGET /api/data/known HTTP/1.1\r\n\r\n",
            n % 5
        ));
    }
    let_pass(Duration::from_millis(200));
    for n in 0..40 {
        let value = client
            .response(false)
            .unwrap_or_else(|why| panic!("answer {n}: {why:?}"))
            .value()
            .0;
        let digit = format!("{}", n % 5);
        assert!(
            value.len() == 700_000 + (n % 5) * 100_000 && value.starts_with(&digit),
            "answer {n}"
        );
        assert_eq!(
            client.response(false).expect("an answer").value().0,
            "the value"
        );
    }
    witness.assert_served();
}

#[test]
fn the_next_head_has_its_own_time_however_long_the_answer_before_it_took() {
    let origin = Origin::slow(Duration::from_millis(900));
    let settings = short_limits()
        .origin(&origin)
        .set("server", "head_timeout", "500ms");
    let target = Target::start_with(settings, "");
    let mut client = target.client();
    client.send("GET /api/data/slow HTTP/1.1\r\nHost: p\r\n\r\nGET /api/data/kno");
    assert_eq!(
        client.response(false).expect("an answer").value().0,
        Origin::value_of("slow")
    );
    // A little later than the answer, far earlier than head_timeout.
    let_pass(Duration::from_millis(300));
    client.send("wn HTTP/1.1\r\n\r\n");
    assert_eq!(
        client.response(false).map(|r| r.status),
        Ok(200),
        "the second head was cut off"
    );
}

#[test]
fn old_clients_and_unusual_requests_are_answered() {
    let target = Target::start();
    let mut old = target.client();
    old.send("GET /api/data/known HTTP/1.0\r\n\r\n");
    let bytes = old.rest().expect("the server ends it");
    assert!(count_responses(&bytes) == 1 && bytes.starts_with(b"HTTP/1.1 200 "));
    let mut kept = target.client();
    for _ in 0..3 {
        kept.send("GET /api/data/known HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let response = kept.response(false).expect("an answer");
        assert_eq!(response.field("connection"), Some("keep-alive"));
        assert_eq!(response.value().0, "the value");
    }
    for (request, status) in [
        (
            "GET http://elsewhere/api/data/known HTTP/1.1\r\nHost: h\r\n\r\n",
            200,
        ),
        ("GET /api/data/known HTTP/1.1\r\n\r\n", 200),
        ("\r\n\r\nGET /api/data/known HTTP/1.1\r\n\r\n", 200),
        ("HEAD /api/data/known HTTP/1.1\r\n\r\n", 200),
        ("OPTIONS * HTTP/1.1\r\n\r\n", 404),
        (
            "GET /api/data/known HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
            200,
        ),
        ("CONNECT elsewhere:443 HTTP/1.1\r\n\r\n", 404),
    ] {
        kept.send(request);
        let response = kept
            .response(request.starts_with("HEAD"))
            .unwrap_or_else(|why| panic!("{request:?}: {why:?}"));
        assert_eq!(response.status, status, "{request:?}");
    }
    let mut closing = target.client();
    closing.send(
        "GET /api/data/known HTTP/1.1\r\nConnection: close\r\n\r\nGET /api/data/b HTTP/1.1\r\n\r\n",
    );
    assert_eq!(
        count_responses(&closing.rest().expect("the server ends it")),
        1
    );
}

#[test]
fn an_answer_that_is_read_slowly_but_steadily_arrives_whole() {
    let redis = Redis::start();
    redis.set("known", "the value");
    redis.set("large", &"v".repeat(6_000_000));
    let target = Target::start_on(redis, short_limits(), "");
    let witness = target.witness();
    for close in ["", "Connection: close\r\n"] {
        let mut stream = connect(target.address());
        stream
            .write_all(format!("GET /api/data/large HTTP/1.1\r\n{close}\r\n").as_bytes())
            .expect("taken");
        stream
            .set_read_timeout(Some(Duration::from_millis(700)))
            .expect("a socket of ours");
        let (mut received, mut buffer) = (0, vec![0; 60_000]);
        // Some 3 s, three times the write time-out.
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            received += count;
            let_pass(Duration::from_millis(30));
        }
        assert!(received > 6_000_000, "{received} bytes {close:?}");
    }
    witness.assert_served();
}
