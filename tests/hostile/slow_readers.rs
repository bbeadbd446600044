//! Clients that ask for much and read little hold no thread and slow nobody down.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Target, connect, short_limits};
use crate::harness::{Client, Redis, alone, let_pass, wait_until};

/// Hits a second of two kept connections, over `span`.
fn hits_per_second(target: &Target, span: Duration) -> f64 {
    let began = Instant::now();
    let ask = |address| {
        let (mut client, mut count) = (Client::connect(address), 0_u32);
        while began.elapsed() < span {
            assert_eq!(client.get("/api/data/known").value().0, "the value");
            count += 1;
        }
        count
    };
    let count: u32 = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| ask(target.address())))
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("every answer came"))
            .sum()
    });
    f64::from(count) / span.as_secs_f64()
}

#[test]
#[ignore = "long: many clients, alone"]
fn a_hundred_slow_readers_of_a_megabyte_slow_nobody_down() {
    alone();
    let redis = Redis::start();
    redis.set("known", "the value");
    redis.set("large", &"v".repeat(1_000_000));
    let target = Target::start_on(redis, short_limits(), "");
    let threads = target.threads();
    // The same without slow readers, asked in turns: what the machine does, it does to both.
    let beside = Target::start();
    let span = Duration::from_millis(300);
    let _ = (
        hits_per_second(&target, span),
        hits_per_second(&beside, span),
    );
    let mut readers: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = connect(target.address());
            socket2::SockRef::from(&stream)
                .set_recv_buffer_size(4096)
                .expect("a socket of ours");
            stream
                .write_all(b"GET /api/data/large HTTP/1.1\r\nHost: s\r\n\r\n")
                .expect("taken");
            stream.set_nonblocking(true).expect("a socket of ours");
            stream
        })
        .collect();
    wait_until(super::PROMISED * 5, "they are being answered", || {
        readers
            .iter_mut()
            .all(|reader| reader.peek(&mut [0]).is_ok())
    });
    let witness = target.witness();
    let stop = AtomicBool::new(false);
    let (with, without) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                readers
                    .iter_mut()
                    .for_each(|reader| drop(reader.read(&mut [0])));
                let_pass(Duration::from_millis(500));
            }
        });
        let (mut with, mut without) = (0.0, 0.0);
        for _ in 0..5 {
            with += hits_per_second(&target, span) / 5.0;
            without += hits_per_second(&beside, span) / 5.0;
        }
        stop.store(true, Ordering::Relaxed);
        reading.join().expect("a thread of ours");
        (with, without)
    });
    let (_, slowest) = witness.assert_served();
    println!(
        "hits/s: {without:.0} without, {with:.0} with slow readers; slowest of the witness {slowest:?}; {} MB at most",
        target.most_resident_bytes() >> 20
    );
    assert_eq!(target.threads(), threads);
    assert!(
        with > without * 0.75,
        "{without:.0} hits/s without slow readers, {with:.0} with them"
    );
}

#[test]
fn a_client_that_takes_nothing_of_a_long_answer_is_ended_by_write_timeout() {
    let redis = Redis::start();
    redis.set("known", "the value");
    // More than the kernel keeps for a connection.
    redis.set("large", &"v".repeat(8_000_000));
    let target = Target::start_on(redis, short_limits(), "");
    // Both ways to be the last request of a connection, and none.
    for fields in ["", "Connection: close\r\n", "Content-Length: 5\r\n"] {
        let mut stream = connect(target.address());
        socket2::SockRef::from(&stream)
            .set_recv_buffer_size(4096)
            .expect("a socket of ours");
        stream
            .write_all(format!("GET /api/data/large HTTP/1.1\r\n{fields}\r\n").as_bytes())
            .expect("taken");
        stream
            .set_read_timeout(Some(super::PROMISED * 5))
            .expect("a socket of ours");
        stream.peek(&mut [0]).expect("it is being answered");
        // write_timeout is 1 s.
        wait_until(Duration::from_secs(4), "it has ended", || {
            target.figure("/connections/open") <= 1
        });
    }
}
