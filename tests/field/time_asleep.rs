//! Rule 10: time that passed while asleep has passed. A copy is as old as the clocks of the world say, and a pause
//! of our own is not held against Redis or a source.

use std::time::{Duration, Instant};

use super::{loud_lines, outages, path};
use crate::harness::{
    App, Asleep, Load, NetworkFault, Origin, Proxy, Redis, SOON, SourceFault, alone, let_pass,
    wait_until,
};

/// How long the machine sleeps, and the shorter life of copies.
const NIGHT: Duration = Duration::from_secs(8 * 3600);
const TTL: &str = "10m";
/// How often it is stopped, and who asks meanwhile.
const PAUSES: usize = 4;
const CLIENTS: usize = 12;

/// An app whose Redis has gone, with a copy of `a`, on a machine that can sleep.
struct Scene {
    app: App,
    origin: Origin,
    asleep: Asleep,
    _redis: Redis,
}

impl Scene {
    fn set() -> Self {
        let (mut redis, origin, asleep) = (Redis::start(), Origin::start(), Asleep::new());
        let config = App::configured()
            .redis(&redis)
            .origin(&origin)
            .set("route data", "ttl", TTL)
            .set("route data", "negative_ttl", "5m");
        let app = asleep.of(config).start();
        app.wait_for_redis();
        app.value("a");
        redis.kill();
        wait_until(SOON, "the outage is known", || {
            assert_eq!(app.value("a").0, "value of a");
            !app.redis_is_up()
        });
        assert_eq!(app.value("a").1, "cache", "it is fresh");
        Self {
            app,
            origin,
            asleep,
            _redis: redis,
        }
    }

    /// The copy is past its end: the source is asked, and where it fails the copy is told as stale.
    #[track_caller]
    fn assert_over(&self) {
        self.origin.set_fault(SourceFault::Status(500));
        let answer = self.app.get(&path("a"));
        let status = answer.field("cache-status").unwrap_or_default();
        assert!(
            status.ends_with("detail=stale"),
            "its end has passed: {status}"
        );
        self.origin.set_fault(None);
        self.origin.put("b", "newer");
        assert_eq!(self.app.value("b").0, "newer");
    }
}

#[test]
fn a_copy_past_its_end_is_not_fresh_after_the_machine_was_suspended() {
    let scene = Scene::set();
    scene.app.value("b");
    scene.asleep.suspended_for(NIGHT);
    scene.assert_over();
}

/// Some hypervisors stop CLOCK_BOOTTIME too: the wall clock alone tells.
#[test]
fn a_copy_past_its_end_is_not_fresh_after_the_machine_was_paused() {
    let scene = Scene::set();
    scene.app.value("b");
    scene.asleep.paused_for(NIGHT);
    scene.assert_over();
}

/// Beyond `max_stale` there is nothing to be served.
#[test]
fn a_copy_beyond_max_stale_is_not_served_after_the_machine_was_suspended() {
    let scene = Scene::set();
    scene.asleep.suspended_for(NIGHT * 4);
    scene.origin.set_fault(SourceFault::Status(500));
    assert_eq!(scene.app.get(&path("a")).status, 503);
}

/// Neither is "no such thing" remembered over it.
#[test]
fn an_absence_is_not_remembered_over_the_time_that_the_machine_was_suspended() {
    let scene = Scene::set();
    scene.origin.set_fault(SourceFault::Status(404));
    assert_eq!(scene.app.get(&path("late")).status, 404);
    scene.origin.set_fault(None);
    assert_eq!(scene.app.get(&path("late")).status, 404, "it is remembered");
    scene.asleep.suspended_for(NIGHT);
    assert_eq!(scene.app.value("late").1, "primary");
}

/// The other side: a clock that was set back makes nobody younger, and a copy that is fresh stays so.
#[test]
fn a_wall_clock_that_was_set_back_makes_no_copy_younger_and_spoils_none() {
    let (mut redis, origin, asleep) = (Redis::start(), Origin::start(), Asleep::new());
    let config = App::configured().redis(&redis).origin(&origin);
    let app = asleep.of(config.set("route data", "ttl", "4s")).connect();
    let began = Instant::now();
    app.value("a");
    redis.kill();
    asleep.wall_clock_set_back_by(NIGHT);
    origin.put("a", "newer");
    while began.elapsed() < Duration::from_secs(2) {
        assert_eq!(app.value("a").0, "value of a");
        let_pass(Duration::from_millis(20));
    }
    let left = Duration::from_secs(5).saturating_sub(began.elapsed());
    wait_until(left, "its end has passed", || app.value("a").0 == "newer");
}

/// With calls to Redis under way all the time, and then to the source, the process is stopped for longer than any
/// of them may take.
#[test]
fn a_pause_of_our_own_is_held_neither_against_redis_nor_against_a_source() {
    alone();
    let (redis, origin) = (Redis::start(), Origin::slow(Duration::from_millis(200)));
    for key in (0..50).map(|n| format!("known-{n}")) {
        redis.set(&key, &Origin::value_of(&key));
    }
    let mut proxy = Proxy::start(redis.address());
    let app = App::configured()
        .set("redis", "url", &proxy.url())
        .set("source origin", "timeout", "1s")
        .set("source origin", "soft_timeout", "1s")
        .origin(&origin)
        .connect();
    // Replies are under way for most of the time.
    proxy.set_fault(NetworkFault::Slow(Duration::from_millis(30)));
    let load = Load::start(app.address(), CLIENTS, |client, n| match client % 2 {
        0 => format!("known-{}", n % 50),
        _ => format!("new-{client}-{n}"),
    });
    wait_until(SOON, "keys come from redis", || {
        app.figure("/answers/redis") > 100
    });
    for _ in 0..PAUSES {
        app.stop_running();
        let_pass(Duration::from_millis(1500));
        app.go_on();
        let_pass(Duration::from_millis(700));
    }
    assert_eq!(outages(&app), Vec::<serde_json::Value>::new());
    let lines = loud_lines(&app);
    assert!(lines.is_empty(), "{lines:#?}");
    assert!(app.redis_is_up(), "{}", app.log());
    assert_eq!(app.health()["sources"][0]["breaker"], "closed");
    let report = load.stop();
    assert!(report.wrong.is_empty(), "{:?}", report.wrong);
    // Those that were under way may have run out of their own time; nobody after them.
    let refused = report.failures.len();
    assert!(refused <= PAUSES * CLIENTS, "{refused} refused");
}
