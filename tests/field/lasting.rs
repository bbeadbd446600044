//! Rule 6 for faults that go on and on: those of rules 2 and 5 to 8 at the same time, for a minute, or for ten with
//! `FIELD_SECONDS=600`.

#![allow(
    clippy::print_stdout,
    reason = "figures, for whoever asks with --nocapture"
)]

use std::time::Duration;

use super::before;
use super::calm::{Row, of_requests, wrong_with};
use super::dead_addresses::{fill, whole_cluster};
use crate::harness::{
    Answer, App, Control, Dropping, FakeRedis, Origin, Redis, alone, free_address, let_pass,
};

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
    let app = before(&fake, origin).connect();
    Row::begin("error element", app, move || fake.connects())
}

/// Rule 5: a real server that is full.
fn full(origin: &Origin) -> Row {
    let redis = Redis::start();
    (0..9).for_each(|n| redis.set(&format!("k{n}"), &Origin::value_of(&format!("k{n}"))));
    redis.query::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let app = App::with(&redis, origin).connect();
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
    let app = before(&fake, origin).connect();
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
        .connect();
    drop(fake);
    let dropping = Dropping::at(address);
    Row::begin("dead addresses", app, move || dropping.attempts())
}

/// Rule 8: the password has changed, and nobody has told us.
fn refused(origin: &Origin) -> Row {
    let fake = FakeRedis::start(|_| Answer::Usual);
    let config = before(&fake, origin).environment("EVENKEEL_REDIS_PASSWORD", "of before");
    let app = config.connect();
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
    let control = Control::start(&rows[0].0.app);
    let_pass(span());
    let control = control.stop();
    let mut wrong = String::new();
    for (row, outages, is_degraded) in rows {
        let (_app, came) = row.end(&control);
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
