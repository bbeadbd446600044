//! Rule 6: a Redis that is well whenever it is tried and ill whenever it is used is one outage, not a new one
//! every second. The same is held for ten minutes, with every fault that lasts: few lines, one outage, no
//! connection storm, no late answer. `FIELD_SECONDS=600` makes it ten minutes; otherwise it is one.

use std::time::{Duration, Instant};

use super::dead_addresses::{fill, whole_cluster};
use super::{before, is_hit_of_redis, outages, path};
use crate::harness::{
    Answer, App, CONNECT, Dropping, FakeRedis, Load, Origin, Redis, Report, SOON, Undisturbed,
    alone, free_address, let_pass, wait_until,
};

/// Half of `[redis] timeout`: no request may take longer for Redis's sake.
const HALF: Duration = Duration::from_millis(250);
/// What an answer of an app that nobody disturbs takes, and a machine that is too busy to measure on.
const USUAL: Duration = Duration::from_millis(50);
const NOISE_MAX: Duration = Duration::from_millis(75);
/// Between two requests of one client: load, but no more than a machine that is busy otherwise can take.
const PACE: Duration = Duration::from_millis(10);
const CLIENTS: usize = 4;
/// How long the short rows go on.
const SHORT: Duration = Duration::from_secs(10);
/// Lines of one fault, however long it lasts: fewer.
const LINES: usize = 20;

/// What one fault came to.
struct Came {
    name: &'static str,
    lines: Vec<String>,
    outages: usize,
    status: String,
    /// Answers that took longer than half of `[redis] timeout`.
    late: usize,
    /// A second, after the onset.
    connects: f64,
}

/// An app under a fault, and the load on it.
struct Row {
    name: &'static str,
    app: App,
    load: Load,
    connects: Box<dyn Fn() -> usize>,
    connects_at_begin: usize,
    began: Instant,
    lines_before: usize,
}

/// Known keys and new ones by turns.
fn gentle(app: &App) -> Load {
    Load::start(app.address(), CLIENTS, |client, n| {
        std::thread::park_timeout(PACE);
        match n % 2 {
            0 => format!("k{}", (n / 2 + client) % 9),
            _ => format!("new-{client}-{n}"),
        }
    })
}

impl Row {
    /// The fault has begun.
    fn begin(name: &'static str, app: App, connects: impl Fn() -> usize + 'static) -> Self {
        Self {
            name,
            load: gentle(&app),
            connects_at_begin: connects(),
            connects: Box::new(connects),
            began: Instant::now(),
            lines_before: app.log().lines().count(),
            app,
        }
    }

    fn end(self, undisturbed: &crate::harness::Seen) -> (App, Came) {
        let connects = (self.connects)() - self.connects_at_begin;
        let seconds = self.began.elapsed().as_secs_f64();
        let report = self.load.stop().beside(undisturbed, USUAL);
        // What the machine adds is off; what it adds to single answers is forgiven when it was busy.
        let (delay, wait) = report.noise();
        let forgiven = match delay.max(wait) <= NOISE_MAX {
            true => 0,
            false => report.answers.len() / 1000,
        };
        assert_sound(self.name, &report);
        let late = report.slower_than(HALF + USUAL).saturating_sub(forgiven);
        let log = self.app.log();
        let lines = log.lines().skip(self.lines_before).map(str::to_owned);
        let came = Came {
            name: self.name,
            lines: lines.collect(),
            outages: outages(&self.app).len(),
            status: self.app.health()["status"].to_string(),
            late,
            connects: connects as f64 / seconds,
        };
        (self.app, came)
    }
}

fn assert_sound(name: &str, report: &Report) {
    assert!(report.answers.len() > 100, "{name}: no load");
    let failures = &report.failures[..report.failures.len().min(3)];
    assert!(failures.is_empty(), "{name}: {failures:?}");
    assert!(report.wrong.is_empty(), "{name}: {:?}", report.wrong);
}

/// Everything that is wrong with it.
fn wrong_with(came: &Came, outages: std::ops::RangeInclusive<usize>, is_degraded: bool) -> String {
    let mut wrong = String::new();
    let mut hold = |holds: bool, what: String| {
        if !holds {
            wrong.push_str(&format!("{}: {what}\n", came.name));
        }
    };
    let (lines, first) = (came.lines.len(), came.lines.iter().take(12));
    let first = first.cloned().collect::<Vec<_>>().join("\n");
    hold(lines < LINES, format!("{lines} lines:\n{first}"));
    let count = came.outages;
    hold(outages.contains(&count), format!("{count} outages"));
    let expected = if is_degraded {
        "\"degraded\""
    } else {
        "\"ok\""
    };
    let either = !is_degraded && came.status == "\"degraded\"";
    hold(
        came.status == expected || either,
        format!("status {}", came.status),
    );
    hold(came.late == 0, format!("{} late answers", came.late));
    let connects = came.connects;
    hold(
        connects < 2.0,
        format!("{connects:.1} new connections a second"),
    );
    wrong
}

/// The prober's own key is served and a PING is answered; whatever is asked for is not.
fn of_requests(words: &[&str], answer: &Answer) -> Answer {
    match words {
        ["GET" | "MGET", key, ..] if !key.contains("probe") => answer.clone(),
        _ => Answer::Usual,
    }
}

/// Well when it is tried, ill when it is used: few lines and one outage; and used again once it is well.
#[track_caller]
fn is_one_outage(
    outages_told: std::ops::RangeInclusive<usize>,
    fault: impl Fn(&[&str]) -> Answer + Send + Sync + 'static,
) {
    alone();
    let (origin, fake) = (Origin::start(), FakeRedis::start(|_| Answer::Usual));
    fill(&fake);
    let app = before(&fake, &origin).start();
    app.wait_for_redis();
    let undisturbed = Undisturbed::start(&origin, &app);
    fake.follow(fault);
    let fake = std::sync::Arc::new(fake);
    let counted = std::sync::Arc::clone(&fake);
    let row = Row::begin("damping", app, move || counted.connects());
    let_pass(SHORT);
    let (app, came) = row.end(&undisturbed.stop());
    let wrong = wrong_with(&came, outages_told.clone(), true);
    assert!(wrong.is_empty(), "{wrong}");
    // Holds may have grown meanwhile, but not without bound.
    fake.follow(|_| Answer::Usual);
    wait_until(SOON * 3, "it is used again", || {
        is_hit_of_redis(&app.get(&path("k0")))
    });
    let_pass(Duration::from_secs(1));
    assert!(outages_told.contains(&outages(&app).len()), "{}", app.log());
    assert!(app.log().lines().count() < LINES, "{}", app.log());
}

#[test]
fn a_server_that_closes_on_requests_and_answers_probes_is_one_outage() {
    is_one_outage(1..=1, |words| of_requests(words, &Answer::Close));
}

#[test]
fn a_server_that_hangs_on_requests_and_answers_probes_is_one_outage() {
    is_one_outage(1..=1, |words| of_requests(words, &Answer::Hang));
}

#[test]
fn a_server_that_refuses_requests_in_words_of_its_own_and_answers_probes_is_one_outage_or_none() {
    let error = Answer::Error("upstream failure");
    is_one_outage(0..=1, move |words| of_requests(words, &error));
}

/// Five good replies after every probe, and then an end.
#[test]
fn a_server_that_serves_a_few_requests_on_each_connection_and_then_hangs_is_one_outage() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let count = move |words: &[&str]| match words {
        [CONNECT] => {
            asked.store(0, std::sync::atomic::Ordering::Relaxed);
            Answer::Usual
        }
        ["GET" | "MGET", ..] => match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0..6 => Answer::Usual,
            _ => Answer::Hang,
        },
        _ => Answer::Usual,
    };
    is_one_outage(1..=1, count);
}

/// A probe has half of `[redis] timeout` for its connect, a request has less: what the probe does must be what
/// requests do. With the connection of the probe it can be used.
#[test]
fn a_server_to_which_connecting_takes_longer_than_requests_have_is_no_flapping() {
    alone();
    let (origin, fake) = (Origin::start(), FakeRedis::start(|_| Answer::Usual));
    fill(&fake);
    let url = fake.url().replace("/0", "/5");
    let app = before(&fake, &origin).set("redis", "url", &url).start();
    app.wait_for_redis();
    let undisturbed = Undisturbed::start(&origin, &app);
    let slow = |words: &[&str]| match words {
        ["SELECT", ..] => Answer::Late(Duration::from_millis(150)),
        _ => Answer::Usual,
    };
    // All connections end once.
    fake.follow(|_| Answer::Close);
    wait_until(SOON, "the outage is known", || {
        app.value("k0");
        !app.redis_is_up()
    });
    fake.follow(slow);
    let fake = std::sync::Arc::new(fake);
    let counted = std::sync::Arc::clone(&fake);
    let row = Row::begin("slow to connect", app, move || counted.connects());
    let_pass(SHORT);
    let (_app, came) = row.end(&undisturbed.stop());
    let wrong = wrong_with(&came, 1..=1, false);
    assert!(wrong.is_empty(), "{wrong}");
}

/// Ten minutes if somebody has them, one otherwise.
fn span() -> Duration {
    let asked = std::env::var("FIELD_SECONDS").ok();
    let seconds = asked.map_or(60, |text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds)
}

/// Rule 2: an element of MGET's reply is an error.
fn element_in_error(origin: &Origin) -> Row {
    let of_key = |key: &&str| match key.contains("k3") {
        true => Answer::Error("upstream failure"),
        false => Answer::Usual,
    };
    let fake = FakeRedis::start(move |words| match words {
        ["MGET", keys @ ..] => Answer::Elements(keys.iter().map(of_key).collect()),
        ["GET", key] => of_key(key),
        _ => Answer::Usual,
    });
    fill(&fake);
    let app = before(&fake, origin).start();
    app.wait_for_redis();
    Row::begin("error element", app, move || fake.connects())
}

/// Rule 5: a real server that is full.
fn full(origin: &Origin) -> Row {
    let redis = Redis::start();
    (0..9).for_each(|n| redis.set(&format!("k{n}"), &Origin::value_of(&format!("k{n}"))));
    redis.query::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let app = App::start(&redis, origin);
    app.wait_for_redis();
    // Ours, which is kept, has no part in it.
    let asking = std::cell::RefCell::new(redis.connection());
    Row::begin("full", app, move || {
        let _runs = &redis;
        let info: String = crate::harness::command(&["INFO", "stats"])
            .query(&mut *asking.borrow_mut())
            .expect("redis answers");
        let mut lines = info.lines();
        let count = lines.find_map(|line| line.strip_prefix("total_connections_received:"));
        count
            .and_then(|count| count.trim().parse().ok())
            .expect("a count")
    })
}

/// Rule 6: probes are answered, requests are not.
fn flapping(origin: &Origin) -> Row {
    let fake = FakeRedis::start(|words| of_requests(words, &Answer::Close));
    let app = before(&fake, origin).start();
    app.wait_for_redis();
    Row::begin("probes alone", app, move || fake.connects())
}

/// Rule 7: every node and every seed of a cluster has gone, and drops packets.
fn dead(origin: &Origin) -> Row {
    let address = free_address();
    let fake = whole_cluster(address, address);
    fill(&fake);
    let app = App::configured()
        .set("redis", "mode", "cluster")
        .set("redis", "nodes", &address.to_string())
        .origin(origin)
        .start();
    app.wait_for_redis();
    drop(fake);
    let dropping = Dropping::at(address);
    Row::begin("dead addresses", app, move || dropping.attempts())
}

/// Rule 8: the password has changed, and nobody has told us.
fn refused(origin: &Origin) -> Row {
    let fake = FakeRedis::start(|_| Answer::Usual);
    let config = before(&fake, origin).environment("EVENKEEL_REDIS_PASSWORD", "of before");
    let app = config.start();
    app.wait_for_redis();
    fake.follow(|words| match words {
        ["AUTH" | "HELLO", ..] => {
            Answer::Error("WRONGPASS invalid username-password pair or user is disabled.")
        }
        _ => Answer::Error("NOAUTH Authentication required."),
    });
    Row::begin("another password", app, move || fake.connects())
}

/// All of them at the same time, each with an app of its own.
#[test]
fn what_lasts_for_minutes_is_one_outage_in_a_few_lines_and_no_storm() {
    alone();
    let origin = Origin::start();
    let rows = [
        (element_in_error(&origin), 0..=1, false),
        (full(&origin), 0..=1, true),
        (flapping(&origin), 1..=1, true),
        (dead(&origin), 1..=1, true),
        (refused(&origin), 1..=1, true),
    ];
    let undisturbed = Undisturbed::start(&origin, &rows[0].0.app);
    let_pass(span());
    let undisturbed = undisturbed.stop();
    let mut wrong = String::new();
    for (row, outages, is_degraded) in rows {
        let (_app, came) = row.end(&undisturbed);
        println!(
            "{}: {} lines, {} outages, {}, {:.2} connects a second",
            came.name,
            came.lines.len(),
            came.outages,
            came.status,
            came.connects
        );
        wrong.push_str(&wrong_with(&came, outages, is_degraded));
    }
    assert!(wrong.is_empty(), "{wrong}");
}
