//! Load: keep-alive clients that ask as fast as they are answered and hold every answer against the
//! key that was asked for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Client, Origin};

/// Clients that are asking. They stop when it is dropped.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Report>>,
}

/// What the clients saw.
#[derive(Default)]
pub struct Report {
    /// When each request was sent, and how long its answer took.
    pub answers: Vec<(Instant, Duration)>,
    /// Answers other than 200, or none.
    pub failures: Vec<String>,
    /// Values that belong to another key.
    pub wrong: Vec<String>,
    /// When an undisturbed app was asked, how long it took, and how much of it was too long.
    delays: Vec<(Instant, Duration, Duration)>,
}

impl Load {
    /// Starts `clients` of them; `key(client, n)` is what each asks for as its n-th.
    pub fn start(
        address: SocketAddr,
        clients: usize,
        key: impl Fn(usize, usize) -> String + Send + Sync + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let key = Arc::new(key);
        let client = |number| {
            let (stop, key) = (Arc::clone(&stop), Arc::clone(&key));
            std::thread::spawn(move || ask(address, &stop, |n| key(number, n)))
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, clients }
    }

    /// 32 clients, half of whose keys were never asked for before.
    pub fn half_new(address: SocketAddr) -> Self {
        Self::start(address, 32, |client, n| match n % 2 {
            0 => format!("known-{}", (n / 2 + client * 7) % 100),
            _ => format!("new-{client}-{n}"),
        })
    }

    /// Stops them; what they saw.
    pub fn stop(mut self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Report::default();
        for client in self.clients.drain(..) {
            let seen = client.join().expect("a client does not panic");
            all.answers.extend(seen.answers);
            all.failures.extend(seen.failures);
            all.wrong.extend(seen.wrong);
        }
        all
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

impl Report {
    /// Fails unless every answer was 200 and belonged to its key.
    #[track_caller]
    pub fn assert_sound(&self) {
        assert!(
            self.answers.len() > 100,
            "{} answers: no load",
            self.answers.len()
        );
        let failures = &self.failures[..self.failures.len().min(5)];
        assert!(
            failures.is_empty(),
            "{} failures, as {failures:?}",
            self.failures.len()
        );
        assert!(self.wrong.is_empty(), "wrong answers: {:?}", self.wrong);
    }

    /// Holds it against what an undisturbed app showed meanwhile on the same machine, where an
    /// answer should take `usual`: what it took beyond that is the machine's doing, and is taken
    /// off every answer that was under way at the time.
    #[must_use]
    pub fn beside(mut self, undisturbed: &Self, usual: Duration) -> Self {
        let delays = undisturbed.answers.iter();
        self.delays = delays
            .map(|(at, took)| (*at, *took, took.saturating_sub(usual)))
            .collect();
        self
    }

    /// Answers that took longer than `limit`, and not for the machine's sake.
    pub fn slower_than(&self, limit: Duration) -> usize {
        let slow = self.answers.iter().filter(|(_, took)| *took > limit);
        slow.filter(|(at, took)| self.without_delays(*at, *took) > limit)
            .count()
    }

    /// The slowest answer to a request sent from `begin` up to `end`, and how long after `begin`
    /// that was.
    pub fn slowest_between(&self, begin: Instant, end: Instant) -> (Duration, Duration) {
        let answers = self
            .answers
            .iter()
            .filter(|(at, _)| (begin..end).contains(at));
        let own = answers.map(|(at, took)| (self.without_delays(*at, *took), *at - begin));
        own.max().unwrap_or_default()
    }

    /// How long an answer took, less what the machine added.
    fn without_delays(&self, at: Instant, took: Duration) -> Duration {
        let overlaps = |(from, span, _): &&(Instant, Duration, Duration)| {
            *from < at + took && *from + *span > at
        };
        let delays = self.delays.iter().filter(overlaps);
        let worst = delays.map(|(.., delay)| *delay).max().unwrap_or_default();
        took.saturating_sub(worst)
    }
}

fn ask(address: SocketAddr, stop: &AtomicBool, key: impl Fn(usize) -> String) -> Report {
    let mut report = Report::default();
    let mut client = Client::connect(address);
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = key(n);
        let began = Instant::now();
        let sent = client.try_send(format!("GET /api/data/{key} HTTP/1.1\r\nHost: l\r\n\r\n"));
        match sent.map(|()| client.response(false)) {
            Ok(Ok(response)) if response.status == 200 => {
                report.answers.push((began, began.elapsed()));
                let value = response.value().0;
                if value != Origin::value_of(&key) {
                    report.wrong.push(format!("{key}: {value}"));
                }
            }
            other => {
                report.failures.push(format!("{key}: {other:?}"));
                client = Client::connect(address);
            }
        }
    }
    report
}
