//! Connections: how many, how long, and what is left of them.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::{Target, connect, reset, short_limits};
use crate::harness::{
    Client, Origin, REDIS_CONNECTIONS_MAX, SOON, SourceFault, let_pass, wait_until,
};

#[test]
fn an_idle_connection_is_ended_at_idle_timeout() {
    let target = Target::start_with(short_limits().set("server", "idle_timeout", "1s"), "");
    let witness = target.witness();
    let mut used = target.client();
    let _ = used.get("/api/data/known");
    for client in [&mut used, &mut target.client()] {
        let began = Instant::now();
        assert_eq!(client.rest(), Ok(Vec::new()));
        let took = began.elapsed();
        assert!(took < Duration::from_millis(1700), "ended after {took:?}");
    }
    let mut busy = target.client();
    for _ in 0..8 {
        let _ = busy.get("/api/data/known");
        let_pass(Duration::from_millis(250));
    }
    witness.assert_served();
}

#[test]
fn never_more_than_max_connections_are_taken_and_the_others_have_their_turn() {
    let origin = Origin::start();
    let settings = short_limits()
        .origin(&origin)
        .set("server", "max_connections", "20");
    let target = Target::start_with(settings, "");
    let descriptors = target.descriptors();
    origin.set_fault(SourceFault::Hangs);
    let ask = |number: usize| {
        let mut client = target.client();
        client.send(format!(
            "GET /api/data/k-{number} HTTP/1.1\r\nConnection: close\r\n\r\n"
        ));
        client
    };
    // One after the other: who has not asked yet would give way.
    let mut clients = Vec::new();
    for number in 0..20 {
        clients.push(ask(number));
        wait_until(SOON, "it is with the source", || origin.calls() > number);
    }
    clients.extend((20..60).map(ask));
    let_pass(Duration::from_millis(300));
    assert_eq!(origin.calls(), 20, "one more was taken");
    let of_sources = 20;
    let taken = target.descriptors() - descriptors - of_sources;
    assert!(
        (20..=21).contains(&taken),
        "{taken} descriptors for clients"
    );
    origin.set_fault(None);
    for (number, client) in clients.iter_mut().enumerate() {
        let value = client.response(false).expect("its turn comes").value().0;
        assert_eq!(value, Origin::value_of(&format!("k-{number}")));
    }
}

#[test]
fn half_open_heads_on_all_slots_lock_nobody_out() {
    let target = Target::start_with(short_limits().set("server", "max_connections", "300"), "");
    let witness = target.witness();
    let half_open: Vec<_> = (0..700)
        .map(|_| {
            let mut stream = connect(target.address());
            let _ = stream.write_all(b"GET /api/data/a HTTP/1.1\r\nX: ");
            stream
        })
        .collect();
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(target.value("known").0, "the value");
        assert!(began.elapsed() < super::PROMISED, "{:?}", began.elapsed());
    }
    witness.assert_served();
    drop(half_open);
}

#[test]
fn five_hundred_connects_at_once_are_all_served() {
    let target = Target::start();
    let witness = target.witness();
    let mut clients: Vec<_> = (0..500).map(|_| target.client()).collect();
    let mut all_ask = || {
        for client in &mut clients {
            client.send("GET /api/data/known HTTP/1.1\r\nHost: h\r\n\r\n");
        }
        for client in &mut clients {
            let answer = client.response(false).expect("an answer");
            assert_eq!(answer.value().0, "the value");
        }
    };
    all_ask();
    let threads = target.threads();
    all_ask();
    assert_eq!(target.threads(), threads);
    witness.assert_served();
}

#[test]
fn nothing_is_left_of_clients_that_reset_half_close_or_vanish() {
    let origin = Origin::slow(Duration::from_millis(20));
    let redis = crate::harness::Redis::start();
    redis.set("known", "the value");
    redis.set("large", &"v".repeat(300_000));
    let target = Target::start_on(redis, short_limits().origin(&origin), "");
    // The pool to the source has its final size before anything is counted.
    let warm: Vec<_> = (0..40)
        .map(|n| {
            let mut client = target.client();
            client.send(format!(
                "GET /api/data/warm-{n} HTTP/1.1\r\nConnection: close\r\n\r\n"
            ));
            client
        })
        .collect();
    warm.into_iter()
        .for_each(|mut client| drop(client.response(false)));
    wait_until(SOON, "all have ended", || {
        target.figure("/connections/open") == 1
    });
    let (threads, descriptors) = (target.threads(), target.descriptors());
    let witness = target.witness();
    for round in 0..30 {
        for kind in 0..8 {
            let mut stream = connect(target.address());
            let key = format!("GET /api/data/n-{round}-{kind} HTTP/1.1\r\nHost: h\r\n\r\n");
            match kind {
                0 => reset(stream),
                1 => {
                    let _ = stream.write_all(b"GET /api");
                    reset(stream);
                }
                // In flight at the source.
                2 => {
                    let _ = stream.write_all(key.as_bytes());
                    reset(stream);
                }
                3 => {
                    let _ = stream.write_all(key.as_bytes());
                    let _ = stream.shutdown(Shutdown::Write);
                }
                4 => {
                    let _ = stream.write_all(b"GET /api/data/large HTTP/1.1\r\n\r\n");
                    let_pass(Duration::from_millis(2));
                    reset(stream);
                }
                5 => {
                    let _ = stream.write_all(b"GET /api/data/large HTTP/1.1\r\n\r\n");
                    let _ = stream.shutdown(Shutdown::Read);
                }
                6 => {
                    let _ = stream.write_all(&key.as_bytes().repeat(20));
                    reset(stream);
                }
                _ => drop(stream),
            }
        }
    }
    // Who vanishes says nothing any more: an idle one and a half-open one.
    let vanished: Vec<TcpStream> = (0..20).map(|_| connect(target.address())).collect();
    witness.assert_served();
    wait_until(SOON, "all connections have ended", || {
        target.figure("/connections/open") == 1
    });
    // 260 clients have come and gone.
    wait_until(SOON, "all descriptors are closed", || {
        target.descriptors() <= descriptors + REDIS_CONNECTIONS_MAX
    });
    assert_eq!(target.threads(), threads);
    assert_eq!(target.figure("/panics"), 0);
    drop(vanished);
}

#[test]
fn a_client_that_closes_its_side_still_gets_its_answer() {
    let origin = Origin::slow(Duration::from_millis(100));
    let target = Target::start_with(short_limits().origin(&origin), "");
    let mut clients: Vec<(String, Client)> = (0..30)
        .map(|number| (format!("half-{number}"), target.client()))
        .collect();
    for (key, client) in &mut clients {
        client.send(format!(
            "GET /api/data/{key} HTTP/1.1\r\n\r\nGET /api/data/{key}-b HTTP/1.1\r\n\r\n"
        ));
    }
    std::thread::scope(|scope| {
        for (key, client) in &mut clients {
            scope.spawn(move || {
                let bytes = client.finish().expect("the server ends it");
                let text = String::from_utf8_lossy(&bytes);
                assert_eq!(count(&text, &format!("value of {key}\"")), 1, "{text}");
                assert_eq!(count(&text, &format!("value of {key}-b\"")), 1, "{text}");
            });
        }
    });
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}
