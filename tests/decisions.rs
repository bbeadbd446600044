//! A decision once taken travels: that a stale copy is the answer is found out once, whatever its size. A
//! large one is rendered elsewhere, and neither waits for the source nor is queued for it again.

use std::time::{Duration, Instant};

use crate::harness::{App, Config, Origin, Redis, Response, SOON, alone, wait_until};

/// After which a client that has a copy gets it.
const SOFT_TIMEOUT: Duration = Duration::from_millis(200);
/// What the source takes: long after that.
const SOURCE: Duration = Duration::from_millis(1500);
/// How long a copy is fresh.
const TTL: Duration = Duration::from_secs(1);
/// Keys, and how large their copies are: one that the event loop renders itself, one that it does not, and one
/// that takes a thread its time.
const COPIES: [(&str, usize); 3] = [("10-bytes", 10), ("100-kb", 100_000), ("10-mb", 10_000_000)];

/// How Redis is when the copies are asked for.
#[derive(Clone, Copy)]
enum RedisIs {
    Up,
    Down,
}

#[test]
fn a_stale_copy_is_served_after_soft_timeout_whatever_its_size() {
    served_after_soft_timeout(RedisIs::Up);
}

#[test]
fn in_an_outage_a_stale_copy_is_served_after_soft_timeout_whatever_its_size() {
    served_after_soft_timeout(RedisIs::Down);
}

#[test]
fn a_shed_copy_is_not_queued_again_whatever_its_size() {
    shed_once(RedisIs::Up);
}

#[test]
fn in_an_outage_a_shed_copy_is_not_queued_again_whatever_its_size() {
    shed_once(RedisIs::Down);
}

/// An app that holds stale copies, and knows how Redis is.
struct Held {
    app: App,
    origin: Origin,
    _redis: Redis,
}

impl Held {
    fn start(redis_is: RedisIs, settings: fn(Config) -> Config) -> Self {
        alone();
        let (mut redis, origin) = (Redis::start(), Origin::start());
        let config = App::with(&redis, &origin)
            .set("route data", "ttl", "1s")
            .set("source origin", "max_body", "16MiB")
            .set("source origin", "timeout", "4s")
            .set("memory", "max_bytes", "1GiB");
        let app = settings(config).connect();
        for (key, bytes) in COPIES {
            origin.put(key, "o".repeat(bytes));
            assert_eq!(app.value(key).1, "primary");
        }
        let fetched = Instant::now();
        // Large values take long: what the source usually takes is to be known by others.
        (0..50).for_each(|n| drop(app.value(&format!("small-{n}"))));
        match redis_is {
            RedisIs::Up => wait_until(SOON, "redis has let the keys go", || {
                let has = |(key, _)| redis.query::<usize>(&["EXISTS", key]) == 1;
                fetched.elapsed() > TTL && !COPIES.into_iter().any(has)
            }),
            RedisIs::Down => {
                redis.kill();
                wait_until(SOON, "the outage is known", || {
                    app.value("small");
                    !app.redis_is_up()
                });
            }
        }
        wait_until(SOON, "the copies are stale", || fetched.elapsed() > TTL);
        for (key, bytes) in COPIES {
            origin.put(key, "n".repeat(bytes));
        }
        origin.set_latency(SOURCE);
        Self {
            app,
            origin,
            _redis: redis,
        }
    }

    /// Asks for a key; the answer, and how long it took.
    fn ask(&self, key: &str) -> (Response, Duration) {
        let mut client = self.app.client();
        let began = Instant::now();
        let answer = client.get(&format!("/api/data/{key}"));
        (answer, began.elapsed())
    }

    /// Asks for every copy, one after the other; what is wrong with what comes, `within` how long.
    fn ask_for_copies(&self, within: std::ops::Range<Duration>) -> Vec<String> {
        let wrong = |(key, bytes): (&str, usize)| {
            let (answer, took) = self.ask(key);
            let status = answer.field("cache-status").unwrap_or_default();
            let (value, source) = answer.value();
            let is_old = value.len() == bytes && value.bytes().all(|byte| byte == b'o');
            let is_stale = status.ends_with("detail=stale") && source == "cache";
            let is_right = is_old && is_stale && within.contains(&took);
            (!is_right).then(|| format!("{key} after {took:?}: {status}, the old value: {is_old}"))
        };
        COPIES.into_iter().filter_map(wrong).collect()
    }
}

fn served_after_soft_timeout(redis_is: RedisIs) {
    let held = Held::start(redis_is, |config| {
        config.set("source origin", "soft_timeout", "200ms")
    });
    let wrong = held.ask_for_copies(SOFT_TIMEOUT..SOURCE);
    assert!(wrong.is_empty(), "{wrong:#?}");
    // What was begun for them goes on, and is of use to whoever comes later.
    for (key, _) in COPIES {
        wait_until(SOON, "the fetch has brought the newer value", || {
            held.ask(key).0.value().0.starts_with('n')
        });
    }
}

/// The source's only place is taken. Who waits for it has a copy: when it may wait no longer, that is the
/// answer, and the source is not asked for it.
fn shed_once(redis_is: RedisIs) {
    let held = Held::start(redis_is, |config| {
        config
            .set("source origin", "max_concurrent", "1")
            // Nobody is served for its sake here.
            .set("source origin", "soft_timeout", "4s")
            .set("server", "queue_timeout", "200ms")
    });
    held.origin.set_latency(SOURCE * 2);
    let mut other = held.app.client();
    other.send("GET /api/data/other HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_until(SOON, "the place is taken", || {
        held.origin.calls_of("other") == 1
    });
    let wrong = held.ask_for_copies(Duration::ZERO..SOURCE);
    let answer = other.response(false).expect("an answer");
    assert_eq!(answer.value().1, "primary");
    let free = Instant::now();
    // A fetch that was queued once more would begin at once.
    wait_until(SOON, "time", || free.elapsed() > SOURCE / 3);
    let asked: Vec<_> = COPIES
        .into_iter()
        .filter(|(key, _)| held.origin.calls_of(key) != 1)
        .collect();
    assert!(
        wrong.is_empty() && asked.is_empty(),
        "{wrong:#?}; queued again: {asked:?}"
    );
}
