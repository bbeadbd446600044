//! The command line, `config.ini` and the environment: what is checked, what is said, how it exits.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::harness::{App, Origin, Output, Redis, SOON, evenkeel, file, wait_until};

/// `--check` of a file with this text.
fn check(text: &str, environment: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("test.ini"), text).expect("a file of ours");
    let mut command = evenkeel(&["--check", "--config", "test.ini"]);
    Output::of(
        command
            .current_dir(&folder)
            .envs(environment.iter().copied()),
    )
}

#[test]
fn the_shipped_file_is_found_correct_and_no_port_is_touched() {
    let path = file("config.ini").to_string_lossy().into_owned();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listen = taken.local_addr().expect("a socket of ours").to_string();
    let mut command = evenkeel(&["--check", "--config", &path]);
    let output = Output::of(command.env("EVENKEEL_SERVER_LISTEN", listen));
    assert_eq!(
        (output.code, &*output.out, &*output.err),
        (Some(0), "ok\n", "")
    );
}

/// A bare machine: the binary, the shipped file, no Redis, nothing else.
#[test]
fn the_shipped_file_starts_on_a_bare_machine() {
    let nobody = Redis::not_started();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(file("config.ini"), folder.path().join("config.ini")).expect("a copy");
    let environment = [
        (
            "EVENKEEL_SERVER_LISTEN".to_owned(),
            "127.0.0.1:0".to_owned(),
        ),
        ("EVENKEEL_REDIS_URL".to_owned(), nobody.url()),
    ];
    // The file is found without an argument.
    let app = App::run(evenkeel(&[]).current_dir(&folder), &environment, None);
    let began = Instant::now();
    let (value, source) = app.value("x");
    assert!(value.starts_with("Data for x fetched at 20"), "{value}");
    assert_eq!(source, "primary");
    let took = began.elapsed();
    assert!(
        (500..1500).contains(&took.as_millis()),
        "half a second: {took:?}"
    );
    let began = Instant::now();
    assert_eq!(app.value("x"), (value, "cache".into()));
    assert!(
        began.elapsed() < Duration::from_millis(250),
        "at once: {:?}",
        began.elapsed()
    );
}

#[test]
fn every_mistake_is_named_at_once_with_its_line_and_the_nearest_name() {
    let text = "[server]\nlisten = nonsense\nworker = 4\nqueue = many\n[redis]\ntimeout = 500\n\
                url = http://x\n[rediss]\n[route data]\nsource = nobody\n";
    let output = check(
        text,
        &[
            ("EVENKEEL_SERVER_CONTRCT", "flask"),
            ("EVENKEEL_BREAKER_MODE", "on"),
        ],
    );
    assert_eq!((output.code, &*output.out), (Some(78), ""));
    let wanted = [
        ("test.ini:2:", "[server] listen"),
        ("test.ini:3:", "workers"),
        ("test.ini:4:", "[server] queue"),
        ("test.ini:6:", "unit"),
        ("test.ini:7:", "[redis] url"),
        ("test.ini:8:", "[redis]"),
        ("test.ini:10:", "nobody"),
        ("EVENKEEL_SERVER_CONTRCT:", "EVENKEEL_SERVER_CONTRACT"),
        ("EVENKEEL_BREAKER_MODE:", "forced_open"),
    ];
    let lines: Vec<_> = output.err.lines().collect();
    assert_eq!(lines.len(), wanted.len(), "{}", output.err);
    for (place, text) in wanted {
        let is_said = lines
            .iter()
            .any(|line| line.starts_with(place) && line.contains(text));
        assert!(is_said, "{place} {text}: {}", output.err);
    }
}

#[test]
fn files_for_tls_are_looked_at_and_named() {
    let text = "[redis]\nurl = rediss://redis.example\nca_file = absent/ca.crt\n\
                cert_file = test.ini\nkey_file = test.ini\n";
    let output = check(text, &[]);
    assert_eq!((output.code, &*output.out), (Some(78), ""));
    let expected = "\
test.ini:3: [redis] ca_file = \"absent/ca.crt\": can not be read: No such file or directory (os error 2)
test.ini:4: [redis] cert_file = \"test.ini\": holds no certificate in PEM
test.ini:5: [redis] key_file = \"test.ini\": holds no private key in PEM
";
    assert_eq!(output.err, expected);
}

#[test]
fn keys_of_redis_that_do_not_go_together_are_told_apart() {
    let text = "[redis]\nmode = cluster\nurl = rediss://me:hunter2@h\nmaster = m\ndb = 2\n\
                cert_file = x\n";
    let output = check(text, &[("EVENKEEL_REDIS_SENTINEL_PASSWORD", "hunter2")]);
    assert_eq!(output.code, Some(78));
    assert!(!output.err.contains("hunter2"), "{}", output.err);
    let wanted = [
        "test.ini:1: [redis] nodes: must be given with mode = cluster",
        "test.ini:3: [redis] url: belongs to mode = single",
        "test.ini:4: [redis] master: belongs to mode = sentinel",
        "test.ini:5: [redis] db: belongs to mode = sentinel; this is mode = cluster: a cluster has",
        "test.ini:6: [redis] cert_file: is of use with TLS only: write tls = true",
        "EVENKEEL_REDIS_SENTINEL_PASSWORD: belongs to [redis] mode = sentinel",
    ];
    let lines: Vec<_> = output.err.lines().collect();
    assert_eq!(lines.len(), wanted.len(), "{}", output.err);
    for (line, begin) in lines.iter().zip(wanted) {
        assert!(line.starts_with(begin), "{begin}: {}", output.err);
    }
}

#[test]
fn a_wrong_configuration_starts_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.ini"), "[server]\nworkers = 0\n").expect("a file");
    let output = Output::of(evenkeel(&[]).current_dir(&folder));
    assert_eq!(output.code, Some(78));
    assert!(
        output.err.contains("config.ini:2: [server] workers"),
        "{}",
        output.err
    );
    assert!(!output.err.contains("listens on"), "{}", output.err);
    let output = Output::of(&mut evenkeel(&["--config", "/nonexistent/evenkeel.ini"]));
    assert_eq!(output.code, Some(78));
    assert!(
        output.err.contains("/nonexistent/evenkeel.ini"),
        "{}",
        output.err
    );
}

#[test]
fn usage_version_and_help_have_their_exit_codes() {
    for arguments in [
        &["--nonsense"][..],
        &["extra"],
        &["--config"],
        &["--check=x"],
    ] {
        let output = Output::of(&mut evenkeel(arguments));
        assert_eq!((output.code, &*output.out), (Some(64), ""), "{arguments:?}");
        assert!(output.err.contains("usage: evenkeel"), "{}", output.err);
    }
    let help = Output::of(&mut evenkeel(&["--help"]));
    assert!(
        help.code == Some(0) && help.out.starts_with("usage: evenkeel"),
        "{help:?}"
    );
    let version = Output::of(&mut evenkeel(&["--version"]));
    let wanted = format!("evenkeel {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((version.code, version.out), (Some(0), wanted));
}

#[test]
fn a_taken_port_is_named_and_exits_69() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listen = taken.local_addr().expect("a socket of ours").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = evenkeel(&[]);
    let output = Output::of(
        command
            .current_dir(&folder)
            .env("EVENKEEL_SERVER_LISTEN", &listen),
    );
    assert_eq!(output.code, Some(69));
    assert!(output.err.contains(&listen), "{}", output.err);
}

#[test]
fn a_worst_case_beyond_request_timeout_is_a_mistake() {
    let text = "[server]\nrequest_timeout = 2s\n[redis]\ntimeout = 1600ms\n\
                [route data]\nsource = slow\n[source slow]\nkind = simulated\nlatency = 500ms\n";
    let output = check(text, &[]);
    assert_eq!(output.code, Some(78));
    assert!(
        output.err.contains("2100ms") || output.err.contains("2.1"),
        "{}",
        output.err
    );
    assert_eq!(check(&text.replace("1600ms", "1500ms"), &[]).code, Some(0));
}

#[test]
fn the_environment_overrides_the_file() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::configured()
        .set("redis", "url", "redis://127.0.0.1:1/0")
        .origin(&origin)
        .set("route data", "ttl", "1h")
        .environment("EVENKEEL_REDIS_URL", &redis.url())
        .environment("EVENKEEL_ROUTE_DATA_TTL", "100s")
        .environment("EVENKEEL_SERVER_CONTRACT", "fastapi")
        .connect();
    let answer = app.get("/api/data/a");
    assert!(
        answer.body.starts_with(b"{\"source\":\"primary\""),
        "{answer:?}"
    );
    let ttl = || redis.query::<i64>(&["TTL", "a"]);
    wait_until(SOON, "it is written", || (90..=100).contains(&ttl()));
}

#[test]
fn a_redis_that_cannot_be_reached_is_no_mistake_and_one_that_cannot_be_parsed_is() {
    assert_eq!(
        check("[redis]\nurl = redis://127.0.0.1:1/0\n", &[]).code,
        Some(0)
    );
    assert_eq!(
        check("[redis]\nurl = redis://name.invalid/0\n", &[]).code,
        Some(0)
    );
    for url in [
        "redis//x",
        "redis://x:99999",
        "redis://x/a",
        "rediss//",
        "redis://",
    ] {
        let output = check(&format!("[redis]\nurl = {url}\n"), &[]);
        assert_eq!(output.code, Some(78), "{url}: {output:?}");
    }
}

#[test]
fn the_password_comes_from_file_environment_or_credentials_and_is_used() {
    let (redis, origin) = (Redis::start(), Origin::start());
    redis.set_password("hunter2");
    let secrets = tempfile::tempdir().expect("a folder");
    std::fs::write(secrets.path().join("redis_password"), "hunter2\n").expect("a file of ours");
    let folder = secrets.path().to_string_lossy().into_owned();
    let config = || App::with(&redis, &origin);
    for config in [
        config().set(
            "redis",
            "password_file",
            &format!("{folder}/redis_password"),
        ),
        config().set(
            "redis",
            "url",
            &redis.url().replace("redis://", "redis://:hunter2@"),
        ),
        config().environment("EVENKEEL_REDIS_PASSWORD", "hunter2"),
        config().environment("CREDENTIALS_DIRECTORY", &folder),
    ] {
        let app = config.connect();
        assert_eq!(app.value("a").0, "value of a");
        let health = app.get("/healthz");
        assert!(!String::from_utf8_lossy(&health.body).contains("hunter2"));
        assert!(!app.log().contains("hunter2"), "{}", app.log());
    }
}

#[test]
fn a_secret_is_shown_nowhere_whatever_is_wrong_around_it() {
    let mistakes = [
        "[redis]\nurl = redis://:hunter2@host:99999/0\n",
        "[redis]\nurl = redis://user:hunter2@host/nonsense\n",
        "[redis]\nurl = redis:/:hunter2@host\n",
        "[redis]\nurl = hunter2\n",
        "[redis]\nulr = redis://:hunter2@host/0\n",
        "[redis]\nurl = redis://:hunter2@host/0\nurl = redis://:hunter2@host/1\n",
        "[redis]\nurl redis://:hunter2@host/0\n",
        "[source a]\nkind = http\nurl = http://user:hunter2@host/nothing\n",
        "[source a]\nkind = http\nurl = http://user:hunter2@host:99999/<key>\n",
    ];
    for text in mistakes {
        let output = check(text, &[]);
        assert_eq!(output.code, Some(78), "{text}");
        assert!(
            !output.err.contains("hunter2") && !output.out.contains("hunter2"),
            "{output:?}"
        );
    }
    let output = check("", &[("EVENKEEL_REDIS_URL", "redis://:hunter2@host:99999")]);
    assert_eq!(output.code, Some(78));
    assert!(!output.err.contains("hunter2"), "{output:?}");
    let output = check("", &[("EVENKEEL_REDIS_PASSWROD", "hunter2")]);
    assert_eq!(output.code, Some(78));
    assert!(output.err.contains("EVENKEEL_REDIS_PASSWORD") && !output.err.contains("hunter2"));
}

#[test]
fn the_log_goes_to_a_file_where_one_is_named() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let mut config = App::with(&redis, &origin);
    let folder = config.folder();
    let listen = crate::harness::free_address();
    let config = config
        .set("server", "listen", &listen.to_string())
        .set("log", "file", "app.log");
    std::fs::write(folder.join("config.ini"), config.text()).expect("a file of ours");
    let path = folder.join("config.ini").to_string_lossy().into_owned();
    let mut process = evenkeel(&["--config", &path])
        .spawn()
        .expect("the binary starts");
    let log = || std::fs::read_to_string(folder.join("app.log")).unwrap_or_default();
    wait_until(SOON, "it says where it listens", || {
        log().contains(&format!("listens on {listen}"))
    });
    process.kill().expect("a process of ours");
    process.wait().expect("a child of ours");
}
