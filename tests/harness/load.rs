//! Load: keep-alive clients that ask as fast as they are answered and hold every answer against the
//! key that was asked for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Client, Origin, Response, Seen, echo};

/// Bytes of an answer that is large: it is not looked at to its end.
const LARGE: usize = 1024 * 1024;

/// Clients that are asking. They stop when it is dropped.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Report>>,
}

/// What the clients saw.
#[derive(Default)]
pub struct Report {
    /// Every answer of a usual size.
    pub answers: Vec<Answered>,
    /// Every large one: its transfer alone takes time.
    pub large_answers: Vec<Answered>,
    /// Answers other than 200, or none.
    pub failures: Vec<String>,
    /// Requests to which there was no answer at all.
    pub unanswered: usize,
    /// Values that belong to another key.
    pub wrong: Vec<String>,
    /// When the control was asked, how long it took, and how much of it was too long.
    delays: Vec<(Instant, Duration, Duration)>,
    /// See [`Seen::waited`].
    waited: Duration,
}

/// An answer.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// Its status code.
    pub status: u16,
    /// When the request was sent.
    pub at: Instant,
    /// How long the answer took.
    pub took: Duration,
    /// Whether the value was a hit in Redis.
    pub from_redis: bool,
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
            all.large_answers.extend(seen.large_answers);
            all.failures.extend(seen.failures);
            all.unanswered += seen.unanswered;
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

    /// Holds it against what the control showed meanwhile on the same machine: what an answer of it took
    /// beyond the usual is the machine's doing, and is taken off every answer that was under way at the time.
    #[must_use]
    pub fn beside(mut self, control: &Seen) -> Self {
        self.waited = control.waited;
        let delays = control.report.answers.iter();
        let beyond = |took: Duration| took.saturating_sub(echo::LATENCY);
        self.delays = delays
            .map(|answer| (answer.at, answer.took, beyond(answer.took)))
            .collect();
        self
    }

    /// Answers that took longer than `limit`, and not for the machine's sake.
    pub fn slower_than(&self, limit: Duration) -> usize {
        let slow = self.answers.iter().filter(|answer| answer.took > limit);
        slow.filter(|answer| self.without_delays(answer) > limit)
            .count()
    }

    /// The same, of requests sent from `begin` on.
    pub fn slower_since(&self, begin: Instant, limit: Duration) -> usize {
        let since = self.answers.iter().filter(|answer| answer.at >= begin);
        let slow = since.filter(|answer| answer.took > limit);
        slow.filter(|answer| self.without_delays(answer) > limit)
            .count()
    }

    /// The slowest answer to a request sent from `begin` up to `end`, and how long after `begin`
    /// that was.
    pub fn slowest_between(&self, begin: Instant, end: Instant) -> (Duration, Duration) {
        let answers = self.answers.iter();
        let own = answers
            .filter(|answer| (begin..end).contains(&answer.at))
            .map(|answer| (self.without_delays(answer), answer.at - begin));
        own.max().unwrap_or_default()
    }

    /// The most that the machine added to an answer of the control, and the longest that a thread had
    /// to wait for a processor within a tenth of a second.
    pub fn noise(&self) -> (Duration, Duration) {
        let delays = self.delays.iter().map(|(.., delay)| *delay);
        (delays.max().unwrap_or_default(), self.waited)
    }

    /// The longest time between `begin` and `end` without an answer from Redis, and without the delays
    /// of the machine.
    pub fn longest_without_redis(&self, begin: Instant, end: Instant) -> Duration {
        let hits = self.answers.iter().filter(|answer| answer.from_redis);
        let mut times: Vec<_> = hits.map(|answer| answer.at + answer.took).collect();
        times.retain(|at| (begin..end).contains(at));
        times.extend([begin, end]);
        times.sort_unstable();
        let gaps = times.windows(2);
        let own = gaps.map(|pair| self.less_delays(pair[0], pair[1] - pair[0]));
        own.max().unwrap_or_default()
    }

    /// How long an answer took, less what the machine added.
    fn without_delays(&self, answer: &Answered) -> Duration {
        self.less_delays(answer.at, answer.took)
    }

    fn less_delays(&self, at: Instant, took: Duration) -> Duration {
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
        let response = match sent.map(|()| client.response(false)) {
            Ok(Ok(response)) => response,
            other => {
                report.failures.push(format!("{key}: {other:?}"));
                report.unanswered += 1;
                client = Client::connect(address);
                continue;
            }
        };
        let status = response.field("cache-status").unwrap_or_default();
        let answers = match response.body.len() > LARGE {
            true => &mut report.large_answers,
            false => &mut report.answers,
        };
        answers.push(Answered {
            status: response.status,
            at: began,
            took: began.elapsed(),
            from_redis: status.ends_with("detail=redis"),
        });
        if response.status != 200 {
            report.failures.push(format!("{key}: {response:?}"));
        } else if !is_value_of(&key, &response) {
            let body = String::from_utf8_lossy(&response.body[..response.body.len().min(200)]);
            report.wrong.push(format!("{key}: {body}"));
        }
    }
    report
}

/// Whether the answer carries its key: the value as the origin gives it, or padded after a space.
fn is_value_of(key: &str, response: &Response) -> bool {
    let value = Origin::value_of(key);
    if response.body.len() > LARGE {
        // Not worth the time of a whole parse: the value begins like that, whatever stands before it.
        let begin = String::from_utf8_lossy(&response.body[..1000]).into_owned();
        return begin.contains(&format!("\"{value} "));
    }
    let given = response.value().0;
    let rest = given.strip_prefix(&*value);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}
