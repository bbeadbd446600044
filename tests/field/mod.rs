//! What the field taught about Redis: a rule or two in each file, after public bug reports. Real
//! servers where they can show it, `FakeRedis` for what only proxies and clouds do. Most of them fail: they say
//! what the product is to hold and does not hold yet. Whoever mends a rule moves its tests to those that
//! always run.

use std::time::Duration;

use crate::harness::{App, Config, FakeRedis, Monitor, Origin, Redis, SOON, let_pass, wait_until};

mod invalidations;
mod partitions;
mod lost_data;
mod clusters;
mod optional_commands;
mod refused_values;
mod no_silence;
mod dead_addresses;
mod secrets_and_causes;
mod time_asleep;
mod calm;
mod damping;
mod lasting;

/// By when Redis is used again after its fault has ended.
const RECOVERY: Duration = Duration::from_millis(2500);
/// How long something is watched that must not happen: whatever is written behind the answers is written
/// within a tenth of that.
const WATCHED: Duration = Duration::from_millis(1500);
/// What the source says of a key after a change.
const CHANGED: &str = "changed";

fn path(key: &str) -> String {
    format!("/api/data/{key}")
}

/// Whether an answer came out of Redis.
fn is_hit_of_redis(answer: &crate::harness::Response) -> bool {
    let status = answer.field("cache-status").unwrap_or_default();
    answer.status == 200 && status.ends_with("detail=redis")
}

/// An app before a fake.
fn before(fake: &FakeRedis, origin: &Origin) -> Config {
    App::configured()
        .set("redis", "url", &fake.url())
        .origin(origin)
}

/// Fetches keys, so that Redis has them, and has each of them answered by Redis once.
#[track_caller]
fn make_known<'a>(app: &App, redis: &Redis, keys: impl IntoIterator<Item = &'a str>) {
    for key in keys {
        app.value(key);
        wait_until(SOON, "it is written", || redis.value(key).is_some());
        hit(app, key);
    }
}

/// Has a key answered by Redis.
#[track_caller]
fn hit(app: &App, key: &str) {
    wait_until(SOON, "redis answers it", || {
        is_hit_of_redis(&app.get(&path(key)))
    });
}

/// A key was changed by another service: once Redis was asked for it, clients get `expected`, and
/// nothing else is ever written there.
#[track_caller]
fn assert_seen(app: &App, redis: &Redis, monitor: &Monitor, key: &str, expected: &str) {
    let earlier = monitor.reads(key);
    let mut answer = (String::new(), String::new());
    wait_until(SOON, "redis is asked for it", || {
        answer = app.value(key);
        monitor.reads(key) > earlier
    });
    assert_eq!(answer.0, expected, "redis was asked, and has it no more");
    for _ in 0..5 {
        assert_eq!(app.value(key).0, expected, "it was seen, and came back");
    }
    assert_never_written(monitor, key, &Origin::value_of(key));
    let there = redis.value(key);
    assert_eq!(there.as_deref(), Some(expected), "written for everybody");
}

/// For a while to come no such value is written, nor has been.
#[track_caller]
fn assert_never_written(monitor: &Monitor, key: &str, value: &str) {
    let_pass(WATCHED);
    let written = monitor.writes(key);
    let old: Vec<_> = written.iter().filter(|w| w.contains(value)).collect();
    assert!(old.is_empty(), "written over the change: {old:#?}");
}

/// Of `/outages`.
fn outages(app: &App) -> Vec<serde_json::Value> {
    let page = app.admin("/outages").json();
    page["outages"].as_array().cloned().unwrap_or_default()
}

/// Lines that somebody on call would look at.
fn loud_lines(app: &App) -> Vec<String> {
    let log = app.log();
    let is_loud = |line: &&str| line.contains("WARN") || line.contains("ERROR");
    log.lines().filter(is_loud).map(str::to_owned).collect()
}

/// Clients that ask at the same time, so that one reader asks Redis for all of it at once.
struct Together {
    clients: Vec<(String, crate::harness::Client)>,
}

impl Together {
    fn new(app: &App, keys: impl IntoIterator<Item = String>) -> Self {
        let clients = keys.into_iter().map(|key| (key, app.client())).collect();
        Self { clients }
    }

    /// Each asks for its key once; the keys that did not come from Redis.
    #[track_caller]
    fn ask(&mut self) -> Vec<String> {
        for (key, client) in &mut self.clients {
            client.send(format!("GET {} HTTP/1.1\r\nHost: t\r\n\r\n", path(key)));
        }
        let mut others = Vec::new();
        for (key, client) in &mut self.clients {
            let answer = client.response(false).expect("an answer");
            assert_eq!(answer.value().0, Origin::value_of(key));
            if !is_hit_of_redis(&answer) {
                others.push(key.clone());
            }
        }
        others
    }
}
