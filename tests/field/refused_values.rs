//! Rule 3: what is refused for itself is given up: tried a few times with growing pauses, said once with its
//! key and size, and no reason to mistrust the server or the connections to it.

use std::time::{Duration, Instant};

use super::{before, hit, is_hit_of_redis, loud_lines, path};
use crate::harness::{Answer, App, FakeRedis, Origin, Redis, let_pass, wait_until};

/// By when it is given up: its fetch and Redis may take 5.5 s, after which nothing is written.
const GIVEN_UP: Duration = Duration::from_secs(15);
/// Tries of one value at most.
const TRIES: usize = 6;
/// How long after that nothing may come.
const SILENCE: Duration = Duration::from_secs(4);
/// Bytes of a value that is refused by the fake.
const SIZE: usize = 33_333;

/// Waits for the line that names the key and its bytes, while `meanwhile` goes on.
#[track_caller]
fn wait_until_said(app: &App, key: &str, size: usize, mut meanwhile: impl FnMut()) {
    let names_it = |line: &String| {
        let digits: String = line.chars().filter(char::is_ascii_digit).collect();
        line.contains(key) && (line.contains("iB") || digits.contains(&size.to_string()))
    };
    wait_until(GIVEN_UP, "it is said with key and size", || {
        meanwhile();
        let_pass(Duration::from_millis(50));
        loud_lines(app).iter().any(names_it)
    });
}

#[test]
fn a_value_that_set_refuses_is_given_up_and_said_once_and_costs_nobody_else_anything() {
    let origin = Origin::start();
    let fake = FakeRedis::start(|words| match words {
        ["SET", _, value, ..] if value.len() == SIZE => {
            Answer::Error("ERR max request size exceeded")
        }
        _ => Answer::Usual,
    });
    fake.set("hit", &Origin::value_of("hit"));
    origin.put("big", "x".repeat(SIZE));
    let app = before(&fake, &origin).connect();
    hit(&app, "hit");
    assert_eq!(app.value("big").0.len(), SIZE);
    let connects = fake.connects();
    let (mut n, mut others, mut unwell) = (0, 0, 0);
    wait_until_said(&app, "big", SIZE, || {
        n += 1;
        app.value(&format!("small{n}"));
        others += usize::from(!is_hit_of_redis(&app.get(&path("hit"))));
        unwell += usize::from(app.health()["redis"]["takes_writes"] != true);
    });
    let_pass(SILENCE);
    let tries = fake.times(&["SET", "big"]);
    assert!(tries.len() <= TRIES, "{} tries", tries.len());
    let pauses: Vec<Duration> = tries.windows(2).map(|two| two[1] - two[0]).collect();
    let grow = pauses.windows(2).all(|two| two[1] > two[0].mul_f64(1.2));
    assert!(grow, "pauses do not grow: {pauses:?}");
    assert!(tries.last().is_none_or(|at| at.elapsed() > SILENCE / 2));
    assert_eq!(loud_lines(&app).len(), 1, "{}", app.log());
    assert!(others <= 1, "{others} hits not from redis: {}", app.log());
    assert_eq!(unwell, 0, "writes of others are taken: {}", app.log());
    let new = fake.connects() - connects;
    assert!(new <= 1, "{new} new connections");
    let written = (1..=n).filter(|n| fake.value(&format!("small{n}")).is_some());
    assert_eq!(written.count(), n, "other values are written");
}

/// Over `proto-max-bulk-len` the real server closes the connection.
#[test]
fn a_value_over_the_servers_limit_is_given_up_and_the_pool_is_not_reset() {
    let (redis, origin) = (
        Redis::start_with(&["--proto-max-bulk-len", "1mb"]),
        Origin::start(),
    );
    let size = 1_200_000;
    origin.put("big", "x".repeat(size));
    redis.set("hit", &Origin::value_of("hit"));
    let app = App::with(&redis, &origin).connect();
    hit(&app, "hit");
    let mut looking = redis.connection();
    let mut ask = |words: &[&str]| -> String {
        let reply = crate::harness::command(words).query(&mut looking);
        reply.expect("redis answers")
    };
    let accepted = accepted(&ask(&["INFO", "stats"]));
    assert_eq!(app.value("big").0.len(), size);
    let mut others = 0;
    wait_until_said(&app, "big", size, || {
        others += usize::from(!is_hit_of_redis(&app.get(&path("hit"))));
    });
    let began = Instant::now();
    while began.elapsed() < SILENCE {
        others += usize::from(!is_hit_of_redis(&app.get(&path("hit"))));
        let_pass(Duration::from_millis(50));
    }
    let new = self::accepted(&ask(&["INFO", "stats"])) - accepted;
    assert!(new <= TRIES + 2, "{new} new connections");
    assert!(others <= 1, "{others} hits not from redis: {}", app.log());
    assert_eq!(loud_lines(&app).len(), 1, "{}", app.log());
    assert!(app.redis_is_up());
}

/// Connections since the start of the server.
fn accepted(info: &str) -> usize {
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("total_connections_received:"));
    let count = line.and_then(|count| count.trim().parse().ok());
    count.expect("a count")
}
