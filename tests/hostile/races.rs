//! Clients that do anything at any moment, by a seed, and look at every answer. For a longer run:
//! `HOSTILE_SECONDS=300 cargo test --test main hostile::races -- --nocapture`.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::{Target, connect, reset, short_limits};
use crate::harness::{REDIS_CONNECTIONS_MAX, Redis, SOON, alone, let_pass, wait_until};

const CLIENTS: u64 = 24;

#[derive(Default)]
struct Tally {
    connections: AtomicU64,
    answers: AtomicU64,
}

/// One connection's conversation: keys in the order in which they were asked for, and what came back.
struct Talk {
    stream: TcpStream,
    received: Vec<u8>,
    asked: std::collections::VecDeque<String>,
    began: Instant,
}

impl Talk {
    fn new(address: SocketAddr) -> Self {
        let stream = connect(address);
        stream
            .set_read_timeout(Some(SOON))
            .expect("a socket of ours");
        stream
            .set_write_timeout(Some(SOON))
            .expect("a socket of ours");
        Self {
            stream,
            received: Vec::new(),
            asked: Default::default(),
            began: Instant::now(),
        }
    }

    /// Asks for `count` keys in pieces of random size.
    fn ask(&mut self, rng: &mut Rng, count: usize, large: bool) {
        let mut bytes = Vec::new();
        for _ in 0..count {
            let key = match rng.u8(..10) {
                0..5 => format!("known-{}", rng.u8(..50)),
                5..8 => format!("miss-{}", rng.u32(..5000)),
                8 if large => format!("large-{}", rng.u8(..4)),
                _ => format!("new-{:x}", rng.u64(..)),
            };
            let padding = "p".repeat(rng.usize(..30) * rng.usize(..20));
            bytes.extend_from_slice(
                format!("GET /api/data/{key} HTTP/1.1\r\nX: {padding}\r\n\r\n").as_bytes(),
            );
            self.asked.push_back(key);
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (now, later) = match rng.u8(..4) {
                0 => rest.split_at(rng.usize(1..=rest.len().min(40))),
                _ => rest.split_at(rest.len()),
            };
            self.stream.write_all(now).expect("the server takes it");
            if !later.is_empty() && rng.bool() {
                std::thread::yield_now();
            }
            rest = later;
        }
    }

    /// Reads the next answer and holds it against its key; false: the connection has ended.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 64 * 1024];
        loop {
            if let Some((length, answer)) = self.parse() {
                let key = self.asked.pop_front().expect("an answer nobody asked for");
                assert!(
                    answer.contains(&format!("for {key} ")),
                    "asked for {key}, got {:.300}",
                    answer
                );
                assert!(
                    answer.starts_with("HTTP/1.1 200 "),
                    "{key}: {:.300}",
                    answer
                );
                self.received.drain(..length);
                return true;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!(
                    "{error} waiting for {:?} after {:?}",
                    self.asked.front(),
                    self.began.elapsed()
                ),
            }
        }
    }

    fn parse(&self) -> Option<(usize, String)> {
        let end = self
            .received
            .windows(4)
            .position(|four| four == b"\r\n\r\n")?
            + 4;
        let head = std::str::from_utf8(&self.received[..end]).expect("ASCII");
        let (_, length) = head.split_once("Content-Length: ").expect("a length");
        let length: usize = length.split("\r\n").next()?.parse().expect("a number");
        let all = self.received.get(..end + length)?;
        let shown = all.len().min(end + 200);
        Some((
            end + length,
            String::from_utf8_lossy(&all[..shown]).into_owned(),
        ))
    }

    fn read_all(&mut self, tally: &Tally) {
        while !self.asked.is_empty() {
            let key = self.asked.front().cloned();
            assert!(self.read(), "ended before the answer for {key:?}");
            tally.answers.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A client's life of one connection.
fn live(address: SocketAddr, rng: &mut Rng, tally: &Tally) {
    let mut talk = Talk::new(address);
    tally.connections.fetch_add(1, Ordering::Relaxed);
    for _ in 0..rng.usize(1..20) {
        match rng.u8(..12) {
            0..5 => {
                talk.ask(rng, 1, true);
                talk.read_all(tally);
            }
            5..8 => {
                let count = rng.usize(1..40);
                talk.ask(rng, count, false);
                talk.read_all(tally);
            }
            // The next request exactly while the answer is being sent.
            8 => {
                talk.ask(rng, 1, true);
                for _ in 0..rng.usize(1..20) {
                    talk.ask(rng, 1, false);
                    assert!(talk.read());
                    tally.answers.fetch_add(1, Ordering::Relaxed);
                }
                talk.read_all(tally);
            }
            9 => {
                let count = rng.usize(1..6);
                talk.ask(rng, count, true);
                talk.stream
                    .shutdown(Shutdown::Write)
                    .expect("a socket of ours");
                talk.read_all(tally);
                assert!(!talk.read(), "one answer too many");
                return;
            }
            10 => {
                let count = rng.usize(1..30);
                talk.ask(rng, count, true);
                for _ in 0..rng.usize(..3).min(count) {
                    assert!(talk.read());
                }
                return reset(talk.stream);
            }
            _ => {
                let count = rng.usize(1..6);
                talk.ask(rng, count, true);
                return drop(talk);
            }
        }
    }
}

#[test]
fn whatever_clients_do_every_answer_is_whole_in_order_and_of_its_key() {
    let seconds = std::env::var("HOSTILE_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(4);
    let fronts = std::env::var("HOSTILE_FRONTS").unwrap_or_else(|_| "2".to_owned());
    let seed = std::env::var("HOSTILE_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(7);
    let redis = Redis::start();
    redis.set("known", "the value");
    (0..50).for_each(|n| {
        redis.set(
            &format!("known-{n}"),
            &format!("Data for known-{n} in Redis"),
        )
    });
    for n in 0..4 {
        redis.set(
            &format!("large-{n}"),
            &format!("Data for large-{n} {}", "v".repeat(500_000)),
        );
    }
    let settings = short_limits()
        .set("server", "fronts", &fronts)
        .set("server", "queue", "10000")
        .set("source demo", "latency", "1ms")
        .set("server", "write_timeout", "10s")
        .set("server", "head_timeout", "10s")
        .set("server", "idle_timeout", "20s");
    let target = Target::start_on(redis, settings, "");
    let descriptors = target.descriptors();
    let threads = target.threads();
    let witness = target.witness();
    let tally = Tally::default();
    let end = Instant::now() + Duration::from_secs(seconds);
    let address = target.address();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let tally = &tally;
            scope.spawn(move || {
                let mut rng = Rng::with_seed(seed * 1000 + client);
                while Instant::now() < end {
                    live(address, &mut rng, tally);
                }
            });
        }
    });
    let (asked, slowest) = witness.assert_served();
    println!(
        "{seconds} s: {} connections, {} answers; witness {asked} asked, slowest {slowest:?}; {} MB",
        tally.connections.load(Ordering::Relaxed),
        tally.answers.load(Ordering::Relaxed),
        target.most_resident_bytes() >> 20
    );
    wait_until(SOON, "all connections have ended", || {
        target.figure("/connections/open") == 1
    });
    wait_until(SOON, "all descriptors are closed", || {
        target.descriptors() <= descriptors + REDIS_CONNECTIONS_MAX
    });
    assert_eq!((target.threads(), target.figure("/panics")), (threads, 0));
}

#[test]
fn a_front_without_anything_to_do_sleeps_after_any_burst() {
    alone();
    let target = Target::start_with(short_limits().set("server", "idle_timeout", "60s"), "");
    let mut spinning = 0;
    for _ in 0..10 {
        let pipelined = b"GET /api/data/known HTTP/1.1\r\n\r\n".repeat(300);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut client = target.client();
                    client.send(&pipelined);
                    (0..300).for_each(|_| drop(client.response(false).expect("an answer")));
                });
            }
        });
        let_pass(Duration::from_millis(50));
        let before = target.cpu_ticks();
        let_pass(Duration::from_millis(200));
        spinning += usize::from(target.cpu_ticks() - before > 8);
    }
    assert_eq!(
        spinning, 0,
        "times of 10 that it used a whole CPU without a request"
    );
}

#[test]
fn no_answer_waits_for_a_wake_up_that_was_lost() {
    alone();
    let target = Target::start_with(short_limits().set("server", "fronts", "2"), "");
    let mut waits: Vec<Duration> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let mut waits = Vec::new();
                    let mut client = target.client();
                    let began = Instant::now();
                    while began.elapsed() < Duration::from_millis(2500) {
                        let at = Instant::now();
                        client.send("GET /api/data/known HTTP/1.1\r\n\r\nGET /api/data/known HTTP/1.1\r\n\r\n");
                        (0..2).for_each(|_| drop(client.response(false).expect("an answer")));
                        waits.push(at.elapsed());
                    }
                    waits
                })
            })
            .collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().expect("all answered"))
            .collect()
    });
    waits.sort_unstable();
    let late = waits
        .iter()
        .filter(|wait| **wait > Duration::from_millis(150))
        .count();
    println!(
        "{} pairs, slowest {:?}, {late} over 150 ms",
        waits.len(),
        waits.last()
    );
    assert!(
        late == 0,
        "{late} of {} pairs took over 150 ms, up to {:?}",
        waits.len(),
        waits.last()
    );
}
