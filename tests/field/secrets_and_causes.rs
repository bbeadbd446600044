//! Rules 8 and 9: secrets are read again when Redis refuses them; and the cause of an outage is what a server
//! said first, not the end of the connection after it.

use std::path::PathBuf;
use std::time::Duration;

use super::{RECOVERY, WATCHED, before, loud_lines};
use crate::harness::{
    Answer, App, CONNECT, Config, FakeRedis, Guarded, MASTER, Origin, Redis, SOON, free_address,
    let_pass, wait_until,
};

/// By when a new secret is in use: as long as anything that has ended may take, on a busy machine.
const USED: Duration = RECOVERY.saturating_mul(2);

/// A file for a password, and the app's configuration that names it by `key`.
fn with_file(mut config: Config, key: &str, password: &str) -> (Config, PathBuf) {
    let file = config.folder().join(key);
    std::fs::write(&file, format!("{password}\n")).expect("a file of ours");
    (config.set("redis", key, key), file)
}

/// As tools that manage secrets do it.
fn replace(file: &PathBuf, password: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, password).expect("a file of ours");
    std::fs::rename(new, file).expect("a file of ours");
}

fn change_password(redis: &Redis, password: &str) {
    redis.set_password(password);
    // Whoever was connected before would stay so.
    redis.query::<()>(&["CLIENT", "KILL", "TYPE", "normal"]);
}

#[track_caller]
fn wait_until_refused(app: &App) {
    wait_until(SOON, "the refusal is known", || {
        app.value("a");
        !app.redis_is_up()
    });
}

#[track_caller]
fn wait_until_written(app: &App, redis: &Redis) {
    let mut n = 0;
    wait_until(USED, "redis is used again", || {
        n += 1;
        let key = format!("new-{n}");
        app.value(&key);
        let_pass(Duration::from_millis(20));
        app.redis_is_up() && redis.value(&key).is_some()
    });
}

#[test]
fn a_password_file_that_was_rewritten_is_used_without_a_restart() {
    let (redis, origin) = (Redis::start(), Origin::start());
    redis.set_password("first");
    let config = App::configured().redis(&redis).origin(&origin);
    let (config, file) = with_file(config, "password_file", "first");
    let app = config.connect();
    // The file, and then the server.
    replace(&file, "second");
    change_password(&redis, "second");
    wait_until_written(&app, &redis);
    // The server, and the file only when it has been refused for a while.
    change_password(&redis, "third");
    wait_until_refused(&app);
    let_pass(WATCHED);
    std::fs::write(&file, "third\n").expect("a file of ours");
    wait_until_written(&app, &redis);
    for password in ["first", "second", "third"] {
        assert!(!app.log().contains(password), "{}", app.log());
    }
    let refusals = app.log_lines("ERROR");
    assert!(refusals <= 2, "one for each at most: {}", app.log());
}

/// One that is gone or empty for a moment is no reason to forget what was known.
#[test]
fn a_password_file_that_is_missing_for_a_while_is_read_when_it_is_back() {
    let (redis, origin) = (Redis::start(), Origin::start());
    redis.set_password("first");
    let config = App::configured().redis(&redis).origin(&origin);
    let (config, file) = with_file(config, "password_file", "first");
    let app = config.connect();
    std::fs::remove_file(&file).expect("a file of ours");
    redis.query::<()>(&["CLIENT", "KILL", "TYPE", "normal"]);
    wait_until_written(&app, &redis);
    change_password(&redis, "second");
    wait_until_refused(&app);
    let_pass(WATCHED);
    replace(&file, "second");
    wait_until_written(&app, &redis);
}

#[test]
fn the_sentinels_password_file_is_read_again_too() {
    let (guarded, origin) = (Guarded::start(), Origin::start());
    let change = |password: &str| {
        for sentinel in &guarded.sentinels {
            let secret = format!(">{password}");
            let words = ["ACL", "SETUSER", "watcher", "on", "resetpass", &secret];
            let all = [&words[..], &["+@all", "&*", "~*"]].concat();
            sentinel.query::<()>(&all);
            sentinel.query::<()>(&["CLIENT", "KILL", "USER", "watcher"]);
        }
    };
    change("first");
    let config = App::configured()
        .set("redis", "mode", "sentinel")
        .set("redis", "nodes", &guarded.nodes())
        .set("redis", "master", MASTER)
        .set("redis", "sentinel_username", "watcher")
        .origin(&origin);
    let (config, file) = with_file(config, "sentinel_password_file", "first");
    let app = config.connect();
    let statuses = || {
        let sentinels = app.health()["redis"]["sentinels"].clone();
        [0, 1, 2].map(|n| sentinels[n]["status"] == "up")
    };
    wait_until(SOON, "all sentinels answer", || statuses() == [true; 3]);
    change("second");
    wait_until(SOON, "all sentinels refuse us", || statuses() == [false; 3]);
    replace(&file, "second");
    wait_until(SOON, "all sentinels answer again", || {
        statuses() == [true; 3]
    });
}

/// The cause in health, in a loud line and in the report of the outage.
#[track_caller]
fn assert_cause(app: &App, cause: &str) {
    let mut fault = String::new();
    // Whatever was met first: this is what lasts.
    wait_until(SOON, "the cause shows", || {
        app.value("a");
        app.value(&format!("new-{}", fault.len()));
        fault = app.health()["redis"]["last_fault"].to_string();
        fault.contains(cause) && !app.redis_is_up()
    });
    let_pass(WATCHED);
    fault = app.health()["redis"]["last_fault"].to_string();
    assert!(fault.contains(cause), "not {cause}: {fault}");
    let is_said = loud_lines(app).iter().any(|line| line.contains(cause));
    assert!(is_said, "what lasts is a warning: {}", app.log());
}

/// A real server that is full says so and closes, before it was asked anything.
#[test]
fn a_full_house_is_told_by_what_the_server_says_and_not_by_the_reset_after_it() {
    let (redis, origin) = (Redis::start(), Origin::start());
    redis.query::<()>(&["CONFIG", "SET", "maxclients", "20"]);
    let app = App::with(&redis, &origin).connect();
    let mut kept = redis.connection();
    let kill =
        crate::harness::command(&["CLIENT", "KILL", "TYPE", "normal"]).query::<i64>(&mut kept);
    kill.expect("redis answers");
    let mut others = Vec::new();
    wait_until(SOON, "all places are taken", || {
        match std::net::TcpStream::connect(redis.address()) {
            Ok(stream) => others.push(stream),
            Err(_) => return true,
        }
        others.len() > 40
    });
    assert_cause(&app, "max number of clients reached");
}

#[test]
fn what_a_proxy_says_before_it_resets_is_the_cause() {
    let origin = Origin::start();
    let said = "DENIED source address 10.0.0.7 is not on the list";
    let fake = FakeRedis::start(move |words| match words {
        [CONNECT] => Answer::ErrorAndReset(said),
        _ => Answer::Usual,
    });
    let app = before(&fake, &origin).start();
    assert_cause(&app, "source address 10.0.0.7 is not on the list");
}

#[test]
fn what_a_server_says_to_a_get_before_it_resets_is_the_cause() {
    let origin = Origin::start();
    let said = "ERR tenant suspended";
    let fake = FakeRedis::start(|_| Answer::Usual);
    let app = before(&fake, &origin).connect();
    fake.follow(move |words| match words {
        ["GET" | "MGET" | "PING", ..] => Answer::ErrorAndReset(said),
        _ => Answer::Usual,
    });
    wait_until_refused(&app);
    assert_cause(&app, "tenant suspended");
}

/// A real node of a cluster that names hosts by names which nobody has set: each of them is `?`.
#[test]
fn a_cluster_that_names_its_hosts_with_a_question_mark_is_told_as_that() {
    let (redis, origin) = (
        Redis::start_in_memory(&[
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &free_address().port().to_string(),
            "--cluster-preferred-endpoint-type",
            "hostname",
        ]),
        Origin::start(),
    );
    redis.query::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    let app = App::configured()
        .set("redis", "mode", "cluster")
        .set("redis", "nodes", &redis.address().to_string())
        .origin(&origin)
        .start();
    assert_cause(&app, "?");
    let fault = app.health()["redis"].to_string();
    assert!(!fault.contains("knows of no slots"), "{fault}");
}

/// A node that has met nobody does not know its own address: it is the one at which it was asked.
#[test]
fn a_cluster_of_one_node_that_does_not_know_its_address_is_used() {
    let (redis, origin) = (
        Redis::start_in_memory(&[
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &free_address().port().to_string(),
        ]),
        Origin::start(),
    );
    redis.query::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    wait_until(SOON, "it is well", || {
        let info: String = redis.query(&["CLUSTER", "INFO"]);
        info.contains("cluster_state:ok")
    });
    let app = App::configured()
        .set("redis", "mode", "cluster")
        .set("redis", "nodes", &redis.address().to_string())
        .origin(&origin)
        .connect();
    wait_until_written(&app, &redis);
}
