//! Names that resolve as a test wants them to, for the app alone: a small library that is loaded before
//! the C library answers for one host.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::{App, Config, Origin, Redis, SOON, file, wait_until};

use super::drill::RECOVERY;

/// The host of which the test says where it is.
pub const HOST: &str = "redis.test";

/// What the app is told of [`HOST`].
pub struct Names {
    folder: TempDir,
}

impl Names {
    /// It is at `answer`.
    pub fn new(answer: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for names");
        let names = Self { folder };
        names.say(answer);
        names
    }

    /// From now on: an address, one after some milliseconds (`3000 127.0.0.1`), or `none`.
    pub fn say(&self, answer: &str) {
        // Renamed into place: nobody reads half of it.
        let new = self.folder.path().join("new");
        std::fs::write(&new, answer).expect("a file of ours");
        std::fs::rename(new, self.file()).expect("a file of ours");
    }

    /// `config`, for an app that asks here.
    pub fn of(&self, config: Config) -> Config {
        config
            .environment("LD_PRELOAD", &library().to_string_lossy())
            .environment("NAMES", &self.file().to_string_lossy())
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("names")
    }
}

/// Built once, by the compiler driver that links Rust programs too.
fn library() -> PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("names.so");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &file("tests/failures/names.c")])
            .arg("-ldl")
            .status();
        assert!(built.expect("cc is installed").success());
        library
    };
    LIBRARY.get_or_init(build).clone()
}

#[test]
fn a_name_that_is_unknown_at_the_start_costs_nothing_and_redis_is_used_once_it_is_known() {
    let (redis, origin, names) = (Redis::start(), Origin::start(), Names::new("none"));
    let app = start(&redis, &origin, &names);
    app.wait_for_outage();
    assert_quick(&app);
    assert_eq!(app.log_lines("name resolution failed"), 1, "{}", app.log());
    names.say("127.0.0.1");
    wait_until_used(&app, &redis, RECOVERY);
}

#[test]
fn a_name_that_resolves_slowly_delays_neither_the_start_nor_anybody() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let names = Names::new("3000 127.0.0.1");
    let began = Instant::now();
    let app = start(&redis, &origin, &names);
    assert_quick(&app);
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "it was waited for"
    );
    // Looked up once, it is used as it was known while the next look-up is under way.
    wait_until_used(&app, &redis, Duration::from_secs(3) + RECOVERY);
    assert_quick(&app);
}

fn start(redis: &Redis, origin: &Origin, names: &Names) -> App {
    let url = redis.url().replace("127.0.0.1", HOST);
    let config = App::configured().origin(origin).set("redis", "url", &url);
    names.of(config).start()
}

/// Thirty requests, and none of them waits for a name.
fn assert_quick(app: &App) {
    let mut client = app.client();
    let began = Instant::now();
    for n in 0..30 {
        client.get(&format!("/api/data/k{n}")).value();
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?} for 30 requests");
}

fn wait_until_used(app: &App, redis: &Redis, limit: Duration) {
    let before = redis.lookups();
    wait_until(limit.max(SOON / 5), "redis is used", || {
        app.value("again");
        redis.lookups() > before + 1
    });
}
