//! The outages there were: of Redis, or of a source. When one ends, a report says how long it was,
//! why, and what clients saw of it; the last ones are kept for `/outages`. Pure bookkeeping: its callers
//! pass the time and the counts, and write the log lines.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value, json};

use crate::base::clock;
use crate::observe::outcome::Outcome;

/// Outages that `/outages` shows.
const KEPT_MAX: usize = 32;
/// How long after its end an outage waits until the values it kept from Redis are written.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);
/// Characters of a cause that are kept: some of it is what a server said.
const CAUSE_MAX_CHARS: usize = 200;
/// How outages of Redis are called; those of one node have the node's address after it.
pub(crate) const REDIS: &str = "redis";

#[derive(Debug, Default)]
pub(crate) struct Outages {
    /// Whether one is under way: only then an answer takes the lock.
    is_any: AtomicBool,
    /// Guards the outages; held for nanoseconds.
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    /// Those under way, and those that are over and not yet settled.
    open: Vec<Outage>,
    past: VecDeque<Outage>,
}

/// Counts of the whole process. An outage is measured by the difference of two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Lookups by outcome, in the order of [`Outcome::ALL`].
    pub(crate) answers: [u64; Outcome::ALL.len()],
    pub(crate) source_calls: u64,
    /// Fetches for keys that Redis was not asked for.
    pub(crate) extra_source_calls: u64,
    /// Values fetched during outages that were written to Redis later.
    pub(crate) keys_written_back: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Outage {
    /// What was out: `redis`, or `source NAME`.
    of: String,
    began: SystemTime,
    began_at: Instant,
    ended: Option<(SystemTime, Instant)>,
    cause: String,
    slowest: Duration,
    before: Tally,
    /// The counts at its end, but for `keys_written_back`: that is the count when it was settled.
    after: Tally,
    /// The next outage of the same has begun: what is written back from then on counts for that one.
    is_overtaken: bool,
}

/// One moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Durations are measured on this one.
    pub(crate) now: Instant,
    /// People are shown this one.
    pub(crate) wall: SystemTime,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self {
            now: clock::now(),
            wall: clock::wall(),
        }
    }
}

impl Outages {
    /// `of` is out, because of `cause`.
    pub(crate) fn begin(&self, of: &str, cause: &str, at: Moment, tally: Tally) {
        let mut book = self.lock();
        let mut same = book.open.iter_mut().filter(|outage| outage.of == of);
        if same.any(|outage| outage.ended.is_none()) {
            return;
        }
        for outage in book.open.iter_mut().filter(|outage| outage.of == of) {
            *outage = outage.at(&tally);
            outage.is_overtaken = true;
        }
        let cause = cause.chars().filter(|c| !c.is_control());
        book.open.push(Outage {
            of: of.to_owned(),
            began: at.wall,
            began_at: at.now,
            ended: None,
            cause: cause.take(CAUSE_MAX_CHARS).collect(),
            slowest: Duration::ZERO,
            before: tally,
            after: tally,
            is_overtaken: false,
        });
        self.is_any.store(true, Ordering::Release);
    }

    /// A lookup was answered after `took`.
    pub(crate) fn answered(&self, took: Duration) {
        if !self.is_any.load(Ordering::Acquire) {
            return;
        }
        for outage in &mut self.lock().open {
            if outage.ended.is_none() {
                outage.slowest = outage.slowest.max(took);
            }
        }
    }

    /// `of` serves again.
    pub(crate) fn end(&self, of: &str, at: Moment, tally: Tally) {
        let mut book = self.lock();
        let is_it = |outage: &&mut Outage| outage.of == of && outage.ended.is_none();
        if let Some(outage) = book.open.iter_mut().find(is_it) {
            outage.ended = Some((at.wall, at.now));
            outage.after = tally;
        }
        let is_any = book.open.iter().any(|outage| outage.ended.is_none());
        self.is_any.store(is_any, Ordering::Release);
    }

    /// Settles the outages that are over and returns them, each to be logged. One of Redis is settled
    /// when nothing waits for Redis any more (`is_recovered`), after [`SETTLES_WITHIN`], or when the
    /// next one has begun; one of a source at once.
    #[must_use]
    pub(crate) fn settle(&self, now: Instant, is_recovered: bool, tally: Tally) -> Vec<Outage> {
        let mut book = self.lock();
        let Book { open, past } = &mut *book;
        let is_settled = |outage: &mut Outage| {
            let waited = |(_, at)| now.saturating_duration_since(at) >= SETTLES_WITHIN;
            let waits_for_nothing = is_recovered || outage.is_overtaken || !outage.is_of_redis();
            outage
                .ended
                .is_some_and(|ended| waits_for_nothing || waited(ended))
        };
        let settled = open.extract_if(.., is_settled);
        let settled: Vec<_> = settled.map(|outage| outage.at(&tally)).collect();
        past.extend(settled.iter().cloned());
        let surplus = past.len().saturating_sub(KEPT_MAX);
        past.drain(..surplus);
        settled
    }

    /// Whether an outage is over and not yet settled.
    pub(crate) fn has_unsettled(&self) -> bool {
        self.lock().open.iter().any(|outage| outage.ended.is_some())
    }

    /// A line for each outage under way, for the last words of the process.
    pub(crate) fn lasting(&self, now: Instant, tally: Tally) -> Vec<String> {
        let book = self.lock();
        let lasting = book.open.iter().filter(|outage| outage.ended.is_none());
        lasting.map(|outage| outage.at(&tally).line(now)).collect()
    }

    /// The last outages, the latest first, as `/outages` shows them.
    pub(crate) fn json(&self, now: Instant, tally: &Tally) -> Value {
        let book = self.lock();
        let open = book.open.iter().rev().map(|outage| outage.at(tally));
        let past = book.past.iter().rev().cloned();
        let all = open.chain(past).take(KEPT_MAX);
        let all: Vec<_> = all.map(|outage| outage.json(now)).collect();
        json!({ "outages": all })
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outage {
    /// The same with what `tally`, the counts of now, still adds to it.
    fn at(&self, tally: &Tally) -> Self {
        let mut outage = self.clone();
        if outage.ended.is_none() {
            outage.after = *tally;
        } else if !outage.is_overtaken {
            outage.after.keys_written_back = tally.keys_written_back;
        }
        outage
    }

    fn is_of_redis(&self) -> bool {
        self.of.split(' ').next() == Some(REDIS)
    }

    fn lasted(&self, now: Instant) -> Duration {
        let end = self.ended.map_or(now, |(_, at)| at);
        end.saturating_duration_since(self.began_at)
    }

    /// The counts of the outage alone.
    fn counts(&self) -> Tally {
        let (before, after) = (&self.before, &self.after);
        Tally {
            answers: Outcome::ALL.map(|o| after.answers[o as usize] - before.answers[o as usize]),
            source_calls: after.source_calls - before.source_calls,
            extra_source_calls: after.extra_source_calls - before.extra_source_calls,
            keys_written_back: after.keys_written_back - before.keys_written_back,
        }
    }

    fn json(&self, now: Instant) -> Value {
        let counts = self.counts();
        let answers =
            Outcome::ALL.map(|o| (o.word().to_owned(), counts.answers[o as usize].into()));
        let mut json = json!({
            "of": self.of,
            "began": clock::rfc3339(self.began),
            "ended": self.ended.map(|(wall, _)| clock::rfc3339(wall)),
            "seconds": seconds(self.lasted(now)),
            "cause": self.cause,
            "answers": answers.into_iter().collect::<Map<_, _>>(),
            "slowest_answer_seconds": seconds(self.slowest),
            "source_calls": counts.source_calls,
        });
        if self.is_of_redis() {
            json["extra_source_calls"] = counts.extra_source_calls.into();
            json["keys_written_back"] = counts.keys_written_back.into();
        }
        json
    }

    /// One line for the log.
    fn line(&self, now: Instant) -> String {
        let counts = self.counts();
        let state = if self.ended.is_some() {
            "is over"
        } else {
            "lasts"
        };
        let mut line = format!(
            "outage of {} {state}: {:.1} s from {} ({}); ",
            self.of,
            self.lasted(now).as_secs_f64(),
            clock::rfc3339(self.began),
            self.cause,
        );
        let given = Outcome::ALL.map(|o| (o.word(), counts.answers[o as usize]));
        let given = given.iter().filter(|(_, count)| *count > 0);
        let given: Vec<_> = given
            .map(|(word, count)| format!("{word} {count}"))
            .collect();
        if given.is_empty() {
            line += "nobody asked; ";
        } else {
            let (answers, slowest) = (given.join(", "), self.slowest.as_secs_f64());
            line += &format!("answers: {answers}; slowest {slowest:.3} s; ");
        }
        line += &format!("{} calls to sources", counts.source_calls);
        if self.is_of_redis() {
            line += &format!(
                ", {} of them because redis could not be asked; {} keys written back",
                counts.extra_source_calls, counts.keys_written_back,
            );
        }
        line
    }
}

impl fmt::Display for Outage {
    /// One line for the log, of one that is over.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line(self.began_at))
    }
}

/// Seconds to the millisecond.
fn seconds(span: Duration) -> f64 {
    span.as_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(begin: Instant, offset_ms: u64) -> Moment {
        let offset = Duration::from_millis(offset_ms);
        Moment {
            now: begin + offset,
            wall: SystemTime::UNIX_EPOCH + offset,
        }
    }

    fn tally(from_memory: u64, written_back: u64) -> Tally {
        let mut tally = Tally {
            keys_written_back: written_back,
            ..Tally::default()
        };
        tally.answers[Outcome::MemoryFresh as usize] = from_memory;
        tally
    }

    #[test]
    fn an_outage_is_reported_with_what_happened_during_it_alone() {
        let (outages, begin) = (Outages::default(), clock::now());
        outages.answered(Duration::from_secs(9));
        outages.begin("redis", "refused\r\n", at(begin, 0), tally(10, 1));
        outages.begin("redis", "again", at(begin, 1), tally(11, 1));
        outages.answered(Duration::from_millis(120));
        outages.answered(Duration::from_millis(20));
        let shown = &outages.json(begin + Duration::from_secs(1), &tally(15, 1))["outages"][0];
        assert_eq!(shown["ended"], Value::Null);
        assert_eq!(
            (&shown["seconds"], &shown["answers"]["memory_fresh"]),
            (&json!(1.0), &json!(5))
        );
        outages.end("redis", at(begin, 2500), tally(17, 1));
        outages.answered(Duration::from_secs(9));
        let shown = &outages.json(begin + Duration::from_secs(5), &tally(40, 4))["outages"][0];
        assert_eq!(
            shown,
            &json!({
                "of": "redis",
                "began": "1970-01-01T00:00:00.000Z",
                "ended": "1970-01-01T00:00:02.500Z",
                "seconds": 2.5,
                "cause": "refused",
                "answers": {
                    "redis": 0, "memory_fresh": 7, "memory_stale": 0, "source": 0,
                    "no_such_thing": 0, "unavailable": 0, "shed": 0,
                },
                "slowest_answer_seconds": 0.12,
                "source_calls": 0,
                "extra_source_calls": 0,
                "keys_written_back": 3,
            })
        );
    }

    #[test]
    fn an_outage_is_settled_when_nothing_waits_for_redis_or_after_a_while() {
        let (outages, begin) = (Outages::default(), clock::now());
        let settle = |after_s, is_recovered| {
            let now = begin + Duration::from_secs(after_s);
            outages.settle(now, is_recovered, tally(0, 5)).len()
        };
        outages.begin("redis", "a", at(begin, 0), tally(0, 0));
        assert_eq!(settle(100, true), 0, "it lasts");
        outages.end("redis", at(begin, 1000), tally(0, 0));
        assert!(outages.has_unsettled());
        assert_eq!((settle(10, false), settle(11, false)), (0, 1));
        assert!(!outages.has_unsettled());
        outages.begin("redis", "b", at(begin, 20_000), tally(0, 5));
        outages.end("redis", at(begin, 21_000), tally(0, 5));
        let settled = outages.settle(begin + Duration::from_secs(21), true, tally(0, 9));
        let line = settled[0].to_string();
        assert!(
            line.starts_with("outage of redis is over: 1.0 s from 1970-01-01T00:00:20.000Z (b)")
        );
        assert!(line.ends_with("4 keys written back"), "{line}");
    }

    #[test]
    fn an_outage_is_not_credited_with_what_the_next_one_has_written_back() {
        let (outages, begin) = (Outages::default(), clock::now());
        outages.begin(REDIS, "a", at(begin, 0), tally(0, 0));
        outages.end(REDIS, at(begin, 1000), tally(0, 0));
        outages.begin(REDIS, "b", at(begin, 1500), tally(0, 2));
        outages.end(REDIS, at(begin, 1600), tally(0, 2));
        outages.begin(REDIS, "c", at(begin, 1700), tally(0, 2));
        let over = outages.settle(begin + Duration::from_secs(2), false, tally(0, 2));
        let ends: Vec<_> = over.iter().map(ToString::to_string).collect();
        assert!(ends[0].ends_with("; 2 keys written back"), "{ends:?}");
        assert!(ends[1].ends_with("; 0 keys written back"), "{ends:?}");
        outages.end(REDIS, at(begin, 2500), tally(0, 2));
        let over = outages.settle(begin + Duration::from_secs(3), true, tally(0, 9));
        assert!(over[0].to_string().ends_with("; 7 keys written back"));
    }

    #[test]
    fn an_outage_of_a_source_waits_for_nothing_and_says_nothing_of_redis() {
        let (outages, begin) = (Outages::default(), clock::now());
        outages.begin("source a", "status 500", at(begin, 0), tally(0, 0));
        let lasting = outages.lasting(begin + Duration::from_secs(3), tally(4, 7));
        assert_eq!(lasting.len(), 1);
        assert!(lasting[0].starts_with("outage of source a lasts: 3.0 s from "));
        outages.end("source a", at(begin, 1000), tally(3, 7));
        let over = outages.settle(begin + Duration::from_secs(1), false, tally(4, 8));
        let line = over[0].to_string();
        let end = "(status 500); answers: memory_fresh 3; slowest 0.000 s; 0 calls to sources";
        assert!(line.ends_with(end), "{line}");
        let json = outages.json(begin, &Tally::default());
        assert_eq!(json["outages"][0].get("keys_written_back"), None);
    }

    #[test]
    fn the_last_ones_are_kept_the_latest_first() {
        let (outages, begin) = (Outages::default(), clock::now());
        for n in 0..40 {
            let cause = n.to_string();
            outages.begin("source a", &cause, at(begin, n), Tally::default());
            outages.end("source a", at(begin, n), Tally::default());
            assert_eq!(outages.settle(begin, true, Tally::default()).len(), 1);
        }
        let json = outages.json(begin, &Tally::default());
        let shown = json["outages"].as_array().expect("a list");
        assert_eq!((shown.len(), &shown[0]["cause"]), (KEPT_MAX, &json!("39")));
    }
}
