//! What does not fit into a row: many more clients, a Redis that comes back with nothing, and a source
//! that is in trouble together with Redis.

use std::time::{Duration, Instant};

use crate::harness::{
    App, Control, Load, Origin, Redis, SOON, SourceFault, Verdict, alone, let_pass, play,
    wait_until,
};

use super::drill::{ONSET, RECOVERY, SLOW, SOURCE, TIMEOUT};

#[test]
#[ignore = "long: faults under load"]
fn of_256_clients_a_frozen_redis_makes_128_wait_at_most_and_none_longer_than_its_time_out() {
    play("256 clients", || {
        let (redis, origin) = (Redis::start(), Origin::slow(SOURCE));
        for key in (0..100).map(|n| format!("known-{n}")) {
            redis.set(&key, &Origin::value_of(&key));
        }
        let app = App::with(&redis, &origin)
            // So many clients may have to wait for a thread; that is not the matter here.
            .set("server", "queue_timeout", "5s")
            .start();
        app.wait_for_redis();
        let control = Control::start(&app);
        // One new key in a hundred, not all at the same time: the source has room for it, with and
        // without Redis.
        let load = Load::start(app.address(), 256, |client, n| {
            match (n + client * 39) % 100 {
                99 => format!("new-{client}-{n}"),
                _ => format!("known-{}", (n + client * 7) % 100),
            }
        });
        wait_until(SOON, "keys come from redis", || {
            app.figure("/answers/redis") > 2000
        });
        let_pass(SOURCE * 10);
        let began = Instant::now();
        redis.freeze();
        wait_until(SOON, "it is noticed", || !app.redis_is_up());
        let_pass(ONSET);
        redis.thaw();
        let before = redis.lookups();
        wait_until(RECOVERY, "redis is used again", || {
            redis.lookups() > before + 100
        });
        let report = load.stop().beside(&control.stop());
        let slow = report.slower_since(began, SLOW);
        let (slowest, at) = report.slowest_between(began, Instant::now());
        println!(
            "256 clients: {} requests, {slow} slow, the slowest {slowest:?} sent {at:?} after the onset",
            report.answers.len()
        );
        let mut verdict = Verdict::of(&[&report]).with_log(app.log());
        verdict.hold_in_time(slow <= 128, format!("{slow} waited"));
        verdict.hold_in_time(slowest <= TIMEOUT, format!("{slowest:?} at {at:?}"));
        (verdict, ())
    });
}

#[test]
#[ignore = "long: faults under load"]
fn a_redis_that_comes_back_empty_is_no_stampede_on_the_source() {
    alone();
    let (mut redis, origin) = (Redis::start(), Origin::slow(SOURCE));
    let app = App::with(&redis, &origin).connect();
    let load = Load::half_new(app.address());
    wait_until(SOON, "keys come from redis", || {
        app.figure("/answers/redis") > 1000
    });
    redis.kill();
    app.wait_for_outage();
    redis.start_again();
    let before = redis.lookups();
    wait_until(RECOVERY, "redis is used again", || redis.lookups() > before);
    let calls = origin.calls();
    let window = Duration::from_secs(10);
    let began = Instant::now();
    let_pass(window);
    let asked = origin.targets().split_off(calls);
    let report = load.stop();
    report.assert_sound();
    let mut new: Vec<_> = asked
        .iter()
        .filter(|target| target.contains("/new-"))
        .collect();
    new.sort_unstable();
    new.dedup();
    println!(
        "back empty: {} calls for {} distinct new keys in {:?}",
        asked.len(),
        new.len(),
        began.elapsed()
    );
    assert!(new.len() > 500, "{} new keys: no load", new.len());
    assert!(
        asked.len() <= new.len() * 2,
        "{} calls for {} new keys",
        asked.len(),
        new.len()
    );
    let refetched = asked.len() - new.len();
    assert!(
        refetched <= 100,
        "{refetched} known keys were fetched again"
    );
}

#[test]
#[ignore = "long: faults under load"]
fn a_slow_source_and_a_frozen_redis_still_answer_within_request_timeout() {
    play("slow source, frozen redis", || {
        let (redis, origin) = (Redis::start(), Origin::slow(SOURCE));
        let app = App::with(&redis, &origin)
            .set("source origin", "timeout", "1400ms")
            .set("server", "request_timeout", "2s")
            .connect();
        let control = Control::start(&app);
        let load = Load::half_new(app.address());
        wait_until(SOON, "keys come from redis", || {
            app.figure("/answers/redis") > 200
        });
        let began = Instant::now();
        redis.freeze();
        // Slower than its time-out, and then not slow enough for that.
        for latency in [3000, 1300] {
            origin.set_latency(Duration::from_millis(latency));
            let_pass(Duration::from_secs(3));
        }
        let report = load.stop().beside(&control.stop());
        let (slowest, at) = report.slowest_between(began, Instant::now());
        let count = |status| {
            let answers = report.answers.iter();
            answers.filter(|answer| answer.status == status).count()
        };
        println!(
            "slow source, frozen redis: {} answers of 200 and {} of 503, the slowest {slowest:?}",
            count(200),
            count(503),
        );
        let mut verdict = Verdict::of_load(&[&report]).with_log(app.log());
        verdict.hold(report.unanswered == 0, "requests without an answer");
        verdict.hold(count(200) > 500, "who has a copy gets it");
        verdict.hold_in_time(
            slowest <= Duration::from_secs(2),
            format!("{slowest:?} at {at:?}"),
        );
        (verdict, ())
    });
}

#[test]
#[ignore = "long: faults under load"]
fn with_redis_and_the_source_gone_copies_are_served_up_to_max_stale_and_then_503() {
    let (mut redis, origin) = (Redis::start(), Origin::slow(SOURCE));
    let app = App::with(&redis, &origin)
        .set("route data", "ttl", "2s")
        .set("route data", "max_stale", "2s")
        .set("source origin", "timeout", "500ms")
        .connect();
    let known = |client: usize, n: usize| format!("known-{}", (n + client * 7) % 50);
    let fetched = Instant::now();
    let warm = Load::start(app.address(), 32, known);
    wait_until(SOON, "all keys are known", || origin.calls() >= 50);
    wait_until(SOON, "all keys are known", || {
        app.figure("/memory/entries") >= 50
    });
    warm.stop().assert_sound();
    redis.kill();
    origin.set_fault(SourceFault::Hangs);
    let load = Load::start(app.address(), 32, known);
    // No copy is older than ttl + max_stale by then.
    let_pass(Duration::from_millis(3500).saturating_sub(fetched.elapsed()));
    let report = load.stop();
    report.assert_sound();
    wait_until(SOON, "the copies are too old", || {
        app.get("/api/data/known-1").status == 503
    });
    let_pass(Duration::from_millis(1000));
    let load = Load::start(app.address(), 32, known);
    let_pass(Duration::from_millis(500));
    let report = load.stop();
    assert!(report.answers.iter().all(|answer| answer.status == 503));
    assert_eq!(report.unanswered, 0);
    origin.set_fault(None);
    wait_until(SOON, "the source is used again", || {
        app.get("/api/data/known-1").status == 200
    });
}

/// As the unit runs it: what memory is given back is a matter of its environment.
#[test]
#[ignore = "long: faults under load"]
fn four_clients_of_32_that_ask_for_nothing_but_10_mb_cost_less_than_256_mb() {
    let (redis, origin) = (Redis::start(), Origin::slow(SOURCE));
    for key in (0..20).map(|n| format!("large-{n}")) {
        let value = format!("{} {}", Origin::value_of(&key), "x".repeat(10_000_000));
        redis.set(&key, &value);
        origin.put(&key, value);
    }
    let app = App::with(&redis, &origin)
        .set("source origin", "max_body", "16MiB")
        .environment_of_the_unit()
        .connect();
    let load = Load::start(app.address(), 32, |client, n| match client {
        0..4 => format!("large-{}", (n + client * 5) % 20),
        _ if n % 2 == 0 => format!("known-{}", (n / 2 + client * 7) % 100),
        _ => format!("new-{client}-{n}"),
    });
    let_pass(Duration::from_secs(6));
    let report = load.stop();
    let bytes = app.most_resident_bytes();
    println!(
        "{} large answers, {} small ones, {} MB at most",
        report.large_answers.len(),
        report.answers.len(),
        bytes / 1_000_000
    );
    report.assert_sound();
    assert!(report.large_answers.len() > 8);
    assert!(bytes < 256_000_000, "{bytes} bytes");
}
