//! Rule 1, where the app alone is cut off: what others did to Redis meanwhile holds, and a value is
//! written only as long after the begin of its fetch as source and Redis may take together.

use std::time::Duration;

use super::{CHANGED, RECOVERY, WATCHED, assert_never_written, assert_seen, make_known};
use crate::harness::{
    App, Config, Monitor, NetworkFault, Origin, Proxy, Redis, SOON, let_pass, wait_until,
};

/// Longer than a source with `timeout` 1s and a Redis with `timeout` 500ms may take together.
const TOO_LATE: Duration = Duration::from_millis(2500);

struct Scene {
    app: App,
    origin: Origin,
    proxy: Proxy,
    redis: Redis,
}

impl Scene {
    /// The app knows `price`.
    fn set() -> Self {
        let (redis, origin) = (Redis::start(), Origin::start());
        let proxy = Proxy::start(redis.address());
        let config = App::configured().set("redis", "url", &proxy.url());
        let app = quick_source(config.origin(&origin)).start();
        app.wait_for_redis();
        make_known(&app, &redis, ["price", "other"]);
        Self {
            app,
            origin,
            proxy,
            redis,
        }
    }

    fn cut_off(&mut self, fault: NetworkFault) {
        self.proxy.set_fault(fault);
        wait_until(SOON, "the app is cut off, and knows", || {
            self.app.value("other");
            !self.app.redis_is_up()
        });
    }

    fn mend(&mut self) {
        self.proxy.set_fault(NetworkFault::None);
        self.app.wait_for_redis();
    }
}

fn quick_source(config: Config) -> Config {
    config
        .set("source origin", "timeout", "1s")
        .set("source origin", "soft_timeout", "500ms")
}

#[track_caller]
fn is_seen(fault: NetworkFault, words: &[&str], expected: &str) {
    let mut scene = Scene::set();
    scene.cut_off(fault);
    scene.origin.put("price", CHANGED);
    scene.redis.query::<redis::Value>(words);
    // Nobody could know.
    assert_eq!(scene.app.value("price").0, "value of price");
    let_pass(Duration::from_secs(1));
    let (app, redis) = (&scene.app, &scene.redis);
    let monitor = Monitor::start(redis);
    scene.proxy.set_fault(NetworkFault::None);
    app.wait_for_redis();
    assert_seen(app, redis, &monitor, "price", expected);
}

#[test]
fn a_del_during_a_partition_of_our_own_is_seen_after_it() {
    is_seen(NetworkFault::Refuses, &["DEL", "price"], CHANGED);
    is_seen(NetworkFault::Hangs, &["DEL", "price"], CHANGED);
}

#[test]
fn an_expiry_during_a_partition_of_our_own_is_seen_after_it() {
    is_seen(NetworkFault::Hangs, &["PEXPIRE", "price", "1"], CHANGED);
}

/// The process is the same: it has lost nothing.
#[test]
fn a_flush_during_a_partition_of_our_own_is_seen_after_it() {
    is_seen(NetworkFault::Hangs, &["FLUSHALL"], CHANGED);
}

#[test]
fn an_overwriting_during_a_partition_of_our_own_is_seen_after_it() {
    let words = ["SET", "price", "theirs", "EX", "60"];
    is_seen(NetworkFault::Refuses, &words, "theirs");
}

/// What we fetched while we were cut off may have been changed and deleted since.
#[test]
fn what_was_fetched_in_a_long_partition_is_not_written_after_it() {
    let mut scene = Scene::set();
    scene.cut_off(NetworkFault::Refuses);
    assert_eq!(scene.app.value("new").1, "primary");
    scene.origin.put("new", CHANGED);
    // Another service: it fetched, and then it learnt that this has changed.
    scene.redis.set("new", &Origin::value_of("new"));
    scene.redis.query::<()>(&["DEL", "new"]);
    let_pass(TOO_LATE);
    let monitor = Monitor::start(&scene.redis);
    scene.proxy.set_fault(NetworkFault::None);
    scene.app.wait_for_redis();
    assert_never_written(&monitor, "new", &Origin::value_of("new"));
    assert_seen(&scene.app, &scene.redis, &monitor, "new", CHANGED);
    assert_eq!(scene.app.log_lines("WARN"), 1, "{}", scene.app.log());
}

/// Theirs ends earlier than ours would: that does not make ours the younger one.
#[test]
fn what_was_fetched_in_a_partition_does_not_replace_what_others_wrote_meanwhile() {
    let mut scene = Scene::set();
    scene.cut_off(NetworkFault::Refuses);
    assert_eq!(scene.app.value("new").1, "primary");
    let words = ["SET", "new", "theirs", "EX", "30"];
    scene.redis.query::<()>(&words);
    let_pass(TOO_LATE);
    scene.mend();
    let_pass(WATCHED);
    assert_eq!(scene.redis.value("new").as_deref(), Some("theirs"));
    assert_eq!(scene.app.value("new").0, "theirs");
}

/// The other side of it: within that time it is written, for the sake of all the others.
#[test]
fn what_was_fetched_in_a_short_partition_is_written_after_it() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let mut proxy = Proxy::start(redis.address());
    // At most 30.5 s.
    let app = App::configured()
        .set("redis", "url", &proxy.url())
        .origin(&origin)
        .set("server", "request_timeout", "60s")
        .set("source origin", "timeout", "30s")
        .connect();
    proxy.set_fault(NetworkFault::Refuses);
    assert_eq!(app.value("new").1, "primary");
    proxy.set_fault(NetworkFault::None);
    wait_until(RECOVERY + SOON, "it is written", || {
        redis.value("new").is_some()
    });
}

#[test]
fn what_redis_refused_to_take_for_long_is_not_written_when_it_takes_writes_again() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = quick_source(App::configured().redis(&redis).origin(&origin)).connect();
    redis.query::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(app.value("new").1, "primary");
    wait_until(SOON, "it is refused", || {
        app.log().contains("takes no writes")
    });
    let_pass(TOO_LATE);
    let monitor = Monitor::start(&redis);
    redis.query::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    let mut n = 0;
    wait_until(SOON, "values are written again", || {
        n += 1;
        app.value(&format!("later{n}"));
        redis.value(&format!("later{n}")).is_some()
    });
    assert_never_written(&monitor, "new", &Origin::value_of("new"));
}
