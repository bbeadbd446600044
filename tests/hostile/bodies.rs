//! Bodies that are announced, sent, half sent or hidden: answered once, never read as a request, never
//! waited for.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use super::{Target, connect, count_responses, short_limits};
use crate::harness::{Origin, SOON, let_pass, wait_until};

const SMUGGLED: &str = "GET /api/data/smuggled HTTP/1.1\r\nHost: s\r\n\r\n";

#[test]
fn a_body_in_any_disguise_gets_one_answer_and_is_never_read_as_a_request() {
    let origin = Origin::start();
    let target = Target::start_with(short_limits().origin(&origin), "");
    let witness = target.witness();
    let mut wrong = Vec::new();
    for fields in [
        "Content-Length: 100000000000000",
        "Content-Length: 18446744073709551615",
        "Content-Length: 18446744073709551616",
        "Content-Length: -1",
        "Content-Length: +5",
        "Content-Length: 5 5",
        "Content-Length: 0x10",
        "Content-Length: 0, 44",
        "Content-Length:\t44",
        "Content-Length: 0\r\nContent-Length: 44",
        "Content-Length: 44\r\nContent-Length: 44",
        "Content-Length: 44\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: Chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding:chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding:\r\n chunked",
        "X: y\r\n\tTransfer-Encoding: chunked",
        "Transfer_Encoding: chunked\r\nContent-Length: 5",
        "Expect: 100-continue\r\nContent-Length: 44",
        "Expect: 200-ok\r\nContent-Length: 44",
        "Content-Length: 44\r\nConnection: keep-alive",
    ] {
        for (method, version) in [
            ("GET", "1.1"),
            ("POST", "1.1"),
            ("HEAD", "1.1"),
            ("GET", "1.0"),
        ] {
            for body in [
                "",
                SMUGGLED,
                "0\r\n\r\nGET /api/data/smuggled HTTP/1.1\r\n\r\n",
            ] {
                let mut client = target.client();
                let head =
                    format!("{method} /api/data/a HTTP/{version}\r\nHost: h\r\n{fields}\r\n\r\n");
                let _ = client.try_send(format!("{head}{body}"));
                // The end has to be the server's: the client does not close.
                match client.rest() {
                    Ok(bytes) if count_responses(&bytes) == 1 => {}
                    other => wrong.push(format!("{head:?}{body:?}: {other:?}")),
                }
            }
        }
    }
    witness.assert_served();
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(
        origin.calls_of("smuggled"),
        0,
        "a body was read as a request"
    );
}

#[test]
fn a_request_without_a_body_keeps_its_connection_whatever_it_says_of_none() {
    let target = Target::start();
    let mut client = target.client();
    for fields in [
        "Content-Length: 0\r\n",
        "Expect: 100-continue\r\n",
        "TE: trailers\r\n",
        "",
    ] {
        assert_eq!(
            client.ask("GET", "/api/data/known", fields).value().0,
            "the value"
        );
    }
}

#[test]
fn sixty_clients_that_announce_a_body_and_send_none_change_nothing() {
    let target = Target::start();
    let threads = target.threads();
    let witness = target.witness();
    let mut clients: Vec<_> = (0..60).map(|_| target.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let length = ["2000", "100000000000000", "1"][number % 3];
        client.send(format!(
            "POST /api/data/a HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"
        ));
    }
    for client in &mut clients {
        let response = client.response(false).expect("answered without the body");
        assert_eq!(
            (response.status, response.field("connection")),
            (405, Some("close"))
        );
    }
    for client in &mut clients {
        assert_eq!(
            client.rest(),
            Ok(Vec::new()),
            "and then the end, by the server"
        );
    }
    let before = target.cpu_ticks();
    let_pass(Duration::from_millis(500));
    let spent = target.cpu_ticks() - before;
    println!("{spent} ticks of CPU in half a second");
    assert!(spent < 20, "{spent} ticks of CPU in half a second");
    witness.assert_served();
    assert_eq!(target.threads(), threads);
    wait_until(SOON, "all have ended", || {
        target.figure("/connections/open") <= 2
    });
}

/// Sends a request with a body that never ends, `chunk` every 50 ms; how long the server bore it.
fn endless_body(target: &Target, chunk: &[u8]) -> Duration {
    let mut stream = connect(target.address());
    stream
        .set_write_timeout(Some(SOON))
        .expect("a socket of ours");
    let head = b"POST /api/data/a HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000000000\r\n\r\n";
    stream.write_all(head).expect("taken");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(7) {
        if stream.write_all(chunk).is_err() {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(if chunk.len() > 100 {
            0
        } else {
            50
        }));
    }
    began.elapsed()
}

#[test]
fn a_body_that_never_ends_is_borne_for_a_few_seconds_and_no_longer() {
    let target = Target::start();
    let witness = target.witness();
    let dripping = endless_body(&target, b"x");
    assert!(
        dripping < Duration::from_secs(5),
        "a dripping body was borne for {dripping:?}"
    );
    let pouring = endless_body(&target, &[b'x'; 256 * 1024]);
    assert!(
        pouring < Duration::from_secs(5),
        "a pouring body was borne for {pouring:?}"
    );
    witness.assert_served();
}

#[test]
fn the_whole_of_a_long_answer_arrives_while_the_body_of_its_request_is_still_being_sent() {
    let redis = crate::harness::Redis::start();
    redis.set("known", "the value");
    redis.set("large", &"v".repeat(8_000_000));
    let target = Target::start_on(redis, short_limits(), "");
    let witness = target.witness();
    for round in 0..3 {
        let mut stream = connect(target.address());
        stream
            .write_all(
                b"GET /api/data/large HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\n",
            )
            .expect("taken");
        let mut sender = stream.try_clone().expect("a descriptor");
        let sending = std::thread::spawn(move || {
            for _ in 0..300 {
                if sender.write_all(&[b'x'; 1000]).is_err() {
                    break;
                }
                std::thread::park_timeout(Duration::from_millis(1));
            }
        });
        stream
            .set_read_timeout(Some(SOON))
            .expect("a socket of ours");
        let mut received = 0;
        let mut buffer = vec![0; 128 * 1024];
        let end = loop {
            match stream.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(count) => received += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error.kind()),
            }
            std::thread::park_timeout(Duration::from_millis(5));
        };
        sending.join().expect("a thread of ours");
        assert!(
            received > 8_000_000,
            "round {round}: {received} bytes of the answer, then {end:?}"
        );
    }
    witness.assert_served();
}
