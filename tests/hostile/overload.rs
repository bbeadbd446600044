//! Twice and ten times as much as the workers can do: they go on at their best, and everyone else is
//! told at once. Arrivals do not wait for answers, as those of many clients do not.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::epoll;

use super::{Target, connect, short_limits};
use crate::harness::alone;

/// What a fetch takes, and how many there are at once: 640 a second.
const FETCH: &str = "50ms";
const WORKERS: u32 = 32;
const BEST_PER_S: u32 = WORKERS * 20;
/// More than can be waiting for an answer at once.
const CONNECTIONS: usize = 600;

#[derive(Default)]
struct Seen {
    good: Vec<Duration>,
    refused: Vec<Duration>,
    wrong: Vec<String>,
    /// Arrivals for which no connection was free: the server holds too many.
    held_up: usize,
}

struct Asking {
    stream: TcpStream,
    key: String,
    since: Instant,
    received: Vec<u8>,
}

impl Seen {
    /// What came for one request; figures only of those that are settled.
    fn count(&mut self, one: &Asking, is_settled: bool) {
        let took = one.since.elapsed();
        let text = String::from_utf8_lossy(&one.received);
        if text.starts_with("HTTP/1.1 200 ") && text.contains(&format!("Data for {} ", one.key)) {
            self.good.extend(is_settled.then_some(took));
        } else if text.starts_with("HTTP/1.1 503 ") && text.contains("\r\nRetry-After: ") {
            self.refused.extend(is_settled.then_some(took));
        } else {
            self.wrong.push(format!("{}: {text}", one.key));
        }
    }
}

/// Requests for new keys, `per_s` a second; what came of those after the first quarter.
fn load(address: SocketAddr, per_s: u32, span: Duration, round: &str) -> Seen {
    let mut free: Vec<_> = (0..CONNECTIONS).map(|_| connect(address)).collect();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("a descriptor");
    let mut asking: HashMap<u64, Asking> = HashMap::new();
    let (mut seen, began) = (Seen::default(), Instant::now());
    let mut events = Vec::with_capacity(256);
    let mut next = 0;
    while began.elapsed() < span || !asking.is_empty() {
        let due = (began.elapsed().min(span).as_secs_f64() * f64::from(per_s)) as u64;
        while next < due {
            next += 1;
            let Some(mut stream) = free.pop() else {
                seen.held_up += 1;
                continue;
            };
            let key = format!("{round}-{next}");
            stream
                .write_all(format!("GET /api/data/{key} HTTP/1.1\r\nHost: o\r\n\r\n").as_bytes())
                .expect("taken");
            stream.set_nonblocking(true).expect("a socket of ours");
            epoll::add(
                &epoll,
                &stream,
                epoll::EventData::new_u64(next),
                epoll::EventFlags::IN,
            )
            .expect("added");
            asking.insert(
                next,
                Asking {
                    stream,
                    key,
                    since: Instant::now(),
                    received: Vec::new(),
                },
            );
        }
        events.clear();
        let limit = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 500_000,
        };
        let buffer = rustix::buffer::spare_capacity(&mut events);
        epoll::wait(&epoll, buffer, Some(&limit)).expect("a descriptor of ours");
        for event in &events {
            let id = event.data.u64();
            let one = asking.get_mut(&id).expect("it is asking");
            let mut buffer = [0; 4096];
            match one.stream.read(&mut buffer) {
                Ok(0) => panic!("{}: the connection has ended", one.key),
                Ok(count) => one.received.extend_from_slice(&buffer[..count]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{}", one.key),
            }
            // All answers here end so, and are short.
            if !one.received.ends_with(b"}\n") {
                continue;
            }
            let one = asking.remove(&id).expect("it was there");
            epoll::delete(&epoll, &one.stream).expect("a descriptor of ours");
            one.stream.set_nonblocking(false).expect("a socket of ours");
            seen.count(&one, one.since > began + span / 4);
            free.push(one.stream);
        }
    }
    seen.good.sort_unstable();
    seen.refused.sort_unstable();
    seen
}

fn at(sorted: &[Duration], part: f64) -> Duration {
    let place = (sorted.len() as f64 * part) as usize;
    sorted
        .get(place.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

#[test]
#[ignore = "long: many clients, alone"]
fn under_overload_the_workers_go_on_at_their_best_and_all_others_are_told_at_once() {
    alone();
    let queue = std::env::var("HOSTILE_QUEUE_TIMEOUT").unwrap_or_else(|_| "200ms".to_owned());
    let settings = short_limits()
        .set("source demo", "latency", FETCH)
        .set("server", "queue_timeout", &queue)
        .set("server", "idle_timeout", "60s");
    let target = Target::start_with(settings, "");
    let span = Duration::from_secs(2);
    let best = f64::from(BEST_PER_S) * span.as_secs_f64() * 0.75;
    for times in [2, 10] {
        let witness = target.witness();
        let seen = load(
            target.address(),
            times * BEST_PER_S,
            span,
            &format!("x{times}"),
        );
        let (asked, slowest) = witness.assert_served();
        let refused = &seen.refused;
        println!(
            "{times}x: good {} of {best} at best, after p50 {:?} p99 {:?}; refused {} after p50 {:?} p90 {:?} p99 {:?} max {:?}; \
             held up {}; witness {asked} asked, slowest {slowest:?}",
            seen.good.len(),
            at(&seen.good, 0.5),
            at(&seen.good, 0.99),
            refused.len(),
            at(refused, 0.5),
            at(refused, 0.9),
            at(refused, 0.99),
            at(refused, 1.0),
            seen.held_up,
        );
        assert!(seen.wrong.is_empty(), "{:?}", seen.wrong.first());
        assert!(
            seen.good.len() as f64 > best * 0.9,
            "{times}x: {} good, {best} at best",
            seen.good.len()
        );
        if times > 1 {
            assert!(!refused.is_empty(), "no overload");
            let late = at(refused, 0.99);
            assert!(
                late < Duration::from_millis(50),
                "{times}x: refused after {late:?}"
            );
        }
    }
}
