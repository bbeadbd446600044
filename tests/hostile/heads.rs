//! Heads that never end, drip, are too long, or are no heads at all.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::{Target, connect, count_responses};
use crate::harness::{NoResponse, SOON, let_pass, wait_until};

const MEMORY_MAX: u64 = 80 << 20;

/// Reads to the end, however it comes; what came.
fn read_all(mut stream: std::net::TcpStream) -> Vec<u8> {
    stream
        .set_read_timeout(Some(SOON))
        .expect("a socket of ours");
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

#[test]
fn a_head_that_never_ends_or_drips_is_ended_by_head_timeout_in_total() {
    let target = Target::start();
    let witness = target.witness();
    let began = Instant::now();
    let mut clients: Vec<_> = (0..50).map(|_| connect(target.address())).collect();
    for client in &mut clients {
        client
            .write_all(b"GET /api/data/a HTTP/1.1\r\nHost: h\r\nX: ")
            .expect("taken");
    }
    // Half of them say no more, the others a byte every 200 ms.
    let mut ended = vec![None; clients.len()];
    while ended.iter().any(Option::is_none) && began.elapsed() < Duration::from_secs(4) {
        let_pass(Duration::from_millis(200));
        for (number, client) in clients.iter_mut().enumerate() {
            if ended[number].is_some() {
                continue;
            }
            if number % 2 == 0 {
                let _ = client.write_all(b"x");
            }
            client.set_nonblocking(true).expect("a socket of ours");
            let is_open = client
                .peek(&mut [0])
                .is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
            client.set_nonblocking(false).expect("a socket of ours");
            ended[number] = (!is_open).then(|| began.elapsed());
        }
    }
    witness.assert_served();
    let ended: Vec<_> = ended
        .into_iter()
        .map(|at| at.expect("ended within 4 s"))
        .collect();
    let (first, last) = (
        ended.iter().min().expect("50"),
        ended.iter().max().expect("50"),
    );
    assert!(*first >= Duration::from_millis(900), "too early: {first:?}");
    assert!(*last <= Duration::from_millis(2200), "too late: {last:?}");
    wait_until(SOON, "all have ended", || {
        target.figure("/connections/open") <= 2
    });
}

#[test]
fn a_request_line_of_forty_megabytes_is_refused_and_costs_no_memory() {
    let target = Target::start();
    let witness = target.witness();
    let attacks: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = connect(target.address());
            std::thread::spawn(move || {
                let _ = stream.write_all(b"GET /");
                for _ in 0..640 {
                    if stream.write_all(&[b'a'; 64 * 1024]).is_err() {
                        break;
                    }
                }
                read_all(stream)
            })
        })
        .collect();
    for attack in attacks {
        let bytes = attack.join().expect("a thread of ours");
        let is_refused = bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 414 ");
        assert!(
            is_refused && count_responses(&bytes) <= 1,
            "{}",
            bytes.escape_ascii()
        );
    }
    witness.assert_served();
    let most = target.most_resident_bytes();
    assert!(most < MEMORY_MAX, "{} MB", most >> 20);
}

#[test]
fn fifty_thousand_headers_are_refused_and_cost_no_memory() {
    let target = Target::start();
    let witness = target.witness();
    for _ in 0..4 {
        let mut client = target.client();
        let fields: String = (0..50_000).map(|n| format!("X-{n}: {n}\r\n")).collect();
        let _ = client.try_send(format!("GET /api/data/a HTTP/1.1\r\n{fields}\r\n"));
        match client.rest() {
            Ok(bytes) => assert!(
                bytes.is_empty()
                    || (bytes.starts_with(b"HTTP/1.1 431 ") && count_responses(&bytes) == 1)
            ),
            Err(why) => panic!("{why:?}"),
        }
    }
    witness.assert_served();
    let most = target.most_resident_bytes();
    assert!(most < MEMORY_MAX, "{} MB", most >> 20);
}

#[test]
fn what_is_not_a_sound_head_is_refused_at_once() {
    let target = Target::start();
    let witness = target.witness();
    let heads: [&[u8]; 22] = [
        b"GET /api/data/a HTTP/1.1\nHost: h\n\n",
        b"GET /api/data/a HTTP/1.1\r\nHost: h\n\r\n",
        b"GET /api/data/a HTTP/1.1\r\nX: a\rb\r\n\r\n",
        b"GET /api/data/a\0 HTTP/1.1\r\n\r\n",
        b"GET /api/data/a HTTP/1.1\r\nX: \0\r\n\r\n",
        b"GET /api/data/a HTTP/1.1\r\nX\0: y\r\n\r\n",
        b"GET /api/data/a HTTP/1.1\r\nX: \x1b[31m\r\n\r\n",
        b"GET /api/data/a HTTP/1.1\r\nX: \x7f\r\n\r\n",
        b"GET /api/data/\x01 HTTP/1.1\r\n\r\n",
        b"GET /api/data/\xc3\xa9 HTTP/1.1\r\n\r\n",
        b"GET /api/data/a HTTP/1.1\r\n\xc3\xa9: y\r\n\r\n",
        b"G\xffT /api/data/a HTTP/1.1\r\n\r\n",
        b"GET /api/data/a b HTTP/1.1\r\n\r\n",
        b"GET\t/api/data/a\tHTTP/1.1\r\n\r\n",
        b"GET /api/data/a HTTP/2.0\r\n\r\n",
        b"GET /api/data/a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0\0\0\0",
        b"GET /api/data/a HTTP/1.1\r\n folded: x\r\n\r\n",
        b"GET /api/data/a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /api/data/a HTTP/1.1\r\n: x\r\n\r\n",
    ];
    for head in heads {
        let began = Instant::now();
        let mut client = target.client();
        let _ = client.try_send(head);
        let bytes = client
            .rest()
            .unwrap_or_else(|why| panic!("{}: {why:?}", head.escape_ascii()));
        let is_refused = [" 400 ", " 414 ", " 431 "]
            .iter()
            .any(|s| bytes.starts_with(format!("HTTP/1.1{s}").as_bytes()));
        assert!(
            is_refused && count_responses(&bytes) == 1,
            "{}: {}",
            head.escape_ascii(),
            bytes.escape_ascii()
        );
        let took = began.elapsed();
        // It lingers for those who go on sending.
        assert!(
            took < Duration::from_secs(3),
            "{} took {took:?}",
            head.escape_ascii()
        );
    }
    witness.assert_served();
}

#[test]
fn a_head_split_anywhere_is_the_same_head() {
    let target = Target::start();
    let witness = target.witness();
    let two = b"GET /api/data/known HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\nGET /api/data/other HTTP/1.1\r\n\r\n";
    let mut kept = target.client();
    for at in 1..two.len() {
        kept.send(&two[..at]);
        let_pass(Duration::from_millis(1));
        kept.send(&two[at..]);
        assert_eq!(
            kept.response(false).expect("an answer").value().0,
            "the value",
            "split at {at}"
        );
        let other = kept.response(false).expect("an answer").value().0;
        assert!(
            other.starts_with("Data for other "),
            "split at {at}: {other}"
        );
    }
    for byte in two {
        kept.send([*byte]);
    }
    assert_eq!(
        kept.response(false).expect("an answer").value().0,
        "the value"
    );
    assert!(
        kept.response(false)
            .expect("an answer")
            .value()
            .0
            .starts_with("Data for other ")
    );
    assert!(matches!(
        kept.patient(Duration::from_millis(50)).rest(),
        Err(NoResponse::TimedOut)
    ));
    witness.assert_served();
}
