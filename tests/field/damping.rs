//! Rule 6: a Redis that is well whenever it is tried and ill whenever it is used is one outage, not a new one
//! every second.

use std::time::Duration;

use super::calm::{LINES, Row, of_requests, wrong_with};
use super::dead_addresses::fill;
use super::{before, is_hit_of_redis, outages, path};
use crate::harness::{
    Answer, CONNECT, Control, FakeRedis, Origin, SOON, alone, let_pass, wait_until,
};

/// How long the short rows go on.
const SHORT: Duration = Duration::from_secs(10);

/// Well when it is tried, ill when it is used: few lines and one outage; and used again once it is well.
#[track_caller]
fn is_one_outage(
    outages_told: std::ops::RangeInclusive<usize>,
    fault: impl Fn(&[&str]) -> Answer + Send + Sync + 'static,
) {
    alone();
    let (origin, fake) = (Origin::start(), FakeRedis::start(|_| Answer::Usual));
    fill(&fake);
    let app = before(&fake, &origin).connect();
    let control = Control::start(&app);
    fake.follow(fault);
    let fake = std::sync::Arc::new(fake);
    let counted = std::sync::Arc::clone(&fake);
    let row = Row::begin("damping", app, move || counted.connects());
    let_pass(SHORT);
    let (app, came) = row.end(&control.stop());
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
    let app = before(&fake, &origin).set("redis", "url", &url).connect();
    let control = Control::start(&app);
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
    let (_app, came) = row.end(&control.stop());
    let wrong = wrong_with(&came, 1..=1, false);
    assert!(wrong.is_empty(), "{wrong}");
}
