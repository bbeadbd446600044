//! The http source: what is a value, what is not, and what travels over the wire.

use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::harness::{App, Origin, Redis, SOON, SourceFault, file, wait_until};

#[test]
fn not_found_is_the_contracts_404_and_is_stored_nowhere() {
    let (redis, origin) = (Redis::start(), Origin::start());
    for (contract, body) in [
        (
            "flask",
            "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n",
        ),
        ("fastapi", "{\"detail\":\"Not Found\"}"),
    ] {
        let app = App::with(&redis, &origin)
            .set("server", "contract", contract)
            .set("route data", "negative_ttl", "0")
            .connect();
        for status in [404, 410] {
            origin.set_fault(SourceFault::Status(status));
            for _ in 0..3 {
                let calls = origin.calls();
                let answer = app.get("/api/data/gone");
                assert_eq!(answer.status, 404);
                assert!(answer.body.starts_with(body.as_bytes()), "{answer:?}");
                assert_eq!(origin.calls(), calls + 1, "it is asked each time");
            }
        }
        assert_eq!(app.figure("/memory/entries"), 0);
        assert_eq!(
            app.log_lines("source origin"),
            0,
            "not found is an answer, not a failure"
        );
    }
    assert_eq!(redis.query::<u64>(&["DBSIZE"]), 0);
}

#[test]
fn not_found_ends_an_older_copy() {
    let (mut redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .set("route data", "ttl", "1s")
        .set("route data", "negative_ttl", "0")
        .connect();
    app.value("a");
    redis.kill();
    origin.set_fault(SourceFault::Status(404));
    wait_until(SOON, "the source is asked again", || {
        app.get("/api/data/a").status == 404
    });
    origin.set_fault(SourceFault::Status(500));
    assert_eq!(
        app.get("/api/data/a").status,
        503,
        "what does not exist is not served stale"
    );
}

#[test]
fn what_is_no_value_is_a_503_and_one_log_line_for_each_kind() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .set("source origin", "max_body", "1KiB")
        .set("source origin", "timeout", "200ms")
        .set("source origin", "fail_max", "0")
        .connect();
    for (fault, said) in [
        (SourceFault::Status(500), "source origin: status 500"),
        (
            SourceFault::Large(1025),
            "source origin: body larger than 1024 bytes",
        ),
        (
            SourceFault::NotUtf8,
            "source origin: body is not plain UTF-8",
        ),
        (SourceFault::Hangs, "source origin: timed out"),
        (SourceFault::BreaksOff, "source origin: answer broken off"),
    ] {
        origin.set_fault(fault);
        for n in 0..5 {
            let answer = app.get(&format!("/api/data/k{n}"));
            assert_eq!(answer.status, 503, "{fault:?}");
            assert_eq!(answer.field("retry-after"), Some("5"));
            let status = "evenkeel; fwd=miss; detail=source-failed";
            assert_eq!(answer.field("cache-status"), Some(status));
        }
        assert_eq!(app.log_lines(said), 1, "{fault:?}: {}", app.log());
    }
    for fault in [204, 206, 301, 302, 400, 403, 429, 502, 503].map(SourceFault::Status) {
        origin.set_fault(fault);
        assert_eq!(app.get("/api/data/k").status, 503, "{fault:?}");
    }
    origin.set_fault(SourceFault::Closes);
    assert_eq!(app.get("/api/data/k").status, 503);
    assert_eq!(app.log_lines("source origin"), 5, "{}", app.log());
    assert_eq!(
        redis.query::<u64>(&["DBSIZE"]),
        0,
        "nothing of it is stored"
    );
    assert_eq!(app.figure("/memory/entries"), 0);
    origin.set_fault(SourceFault::Large(1024));
    assert_eq!(app.value("k").0.len(), 1024, "exactly the limit is a value");
}

#[test]
fn a_source_that_cannot_be_reached_is_a_503() {
    let redis = Redis::start();
    let gone = Origin::start();
    let config = App::with(&redis, &gone);
    drop(gone);
    let app = config.connect();
    redis.set("hit", "well");
    for _ in 0..5 {
        assert_eq!(app.get("/api/data/a").status, 503);
        assert_eq!(app.value("hit").0, "well");
    }
    assert_eq!(
        app.log_lines("source origin: unreachable"),
        1,
        "{}",
        app.log()
    );
}

#[test]
fn no_key_can_reach_another_path_of_the_source() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin).connect();
    let keys = [
        "..%2f",
        "..;",
        "...",
        "..\\..",
        "%2e%2e",
        "%2E%2E%2Fadmin",
        "%2F",
        "%252F",
        "?a=b",
        "a?b#c",
        "#",
        "#/x",
        "a b",
        "a+b",
        "a\r\nX-Evil: 1",
        "\n",
        "\0",
        "\u{7f}",
        "caf\u{e9}",
        "\u{1f600}",
        "a;b=c",
        "a:b@c",
        "http:",
        "\u{fffd}",
        "%",
        "%%",
        "%zz",
        "a%00b",
        "~",
        "\"<>'",
        "{}|^`[]",
    ];
    for key in keys.iter().filter(|key| !key.contains('/')) {
        let calls = origin.calls();
        let path = format!("/api/data/{}", utf8_percent_encode(key, NON_ALPHANUMERIC));
        assert_eq!(
            app.get(&path).value(),
            (Origin::value_of(key), "primary".into()),
            "{key:?}"
        );
        let targets = origin.targets();
        assert_eq!(targets.len(), calls + 1, "{key:?}");
        let segment = targets[calls]
            .strip_prefix("/items/")
            .expect("its own path");
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"/?#\\".contains(&byte);
        assert!(
            segment.bytes().all(is_plain),
            "{key:?} was sent as {segment:?}"
        );
        assert_eq!(
            percent_decode_str(segment).decode_utf8().expect("UTF-8"),
            *key
        );
    }
    // No encoding keeps these from being taken for a folder: they are never sent.
    let calls = origin.calls();
    for key in ["%2e", "%2E%2e", "..", "."] {
        assert_eq!(app.get(&format!("/api/data/{key}")).status, 404, "{key}");
    }
    assert_eq!(origin.calls(), calls);
}

#[test]
fn connections_to_the_source_are_kept() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin).connect();
    let mut client = app.client();
    for n in 0..30 {
        assert_eq!(client.get(&format!("/api/data/k{n}")).value().1, "primary");
    }
    assert_eq!((origin.calls(), origin.connections()), (30, 1));
}

#[test]
fn no_more_fetches_run_at_once_than_allowed() {
    let (redis, origin) = (Redis::start(), Origin::slow(Duration::from_millis(50)));
    let app = App::with(&redis, &origin)
        .set("source origin", "max_concurrent", "4")
        .connect();
    let mut clients: Vec<_> = (0..32).map(|_| app.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /api/data/k{n} HTTP/1.1\r\nHost: h\r\n\r\n"));
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let answer = client.response(false).expect("an answer");
        assert_eq!(answer.value().0, format!("value of k{n}"));
    }
    assert_eq!(origin.most_at_once(), 4);
}

#[test]
fn a_source_that_hangs_does_not_take_the_threads_of_another() {
    let redis = Redis::start();
    let (hanging, well) = (Origin::start(), Origin::start());
    let app = App::with(&redis, &hanging)
        .set("server", "workers", "8")
        .set("route other", "path", "/other/<key>")
        .set("route other", "source", "other")
        .set("source other", "kind", "http")
        .set("source other", "url", &well.url())
        .connect();
    hanging.set_fault(SourceFault::Hangs);
    let mut clients: Vec<_> = (0..40).map(|_| app.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /api/data/k{n} HTTP/1.1\r\nHost: h\r\n\r\n"));
    }
    wait_until(SOON, "it hangs", || hanging.calls() >= 7);
    let began = Instant::now();
    for n in 0..50 {
        let answer = app.get(&format!("/other/k{n}"));
        assert_eq!(answer.value(), (format!("value of k{n}"), "primary".into()));
    }
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
}

/// The main job on real input: files of this repository, byte for byte, with Redis up, down and back.
#[test]
fn real_files_come_through_byte_for_byte_with_redis_up_down_and_back() {
    let (mut redis, origin) = (Redis::start(), Origin::start());
    let files = real_files();
    assert!(files.len() > 10, "{} files", files.len());
    for (name, bytes) in &files {
        origin.put(name, bytes.clone());
    }
    let app = App::with(&redis, &origin).connect();
    let compare = |phase: &str, source: Option<&str>| {
        for (name, bytes) in &files {
            let (value, from) = app.value(name);
            assert!(value.as_bytes() == bytes, "{phase}: {name} differs");
            assert!(
                source.is_none_or(|source| source == from),
                "{phase}: {name} from {from}"
            );
        }
    };
    compare("up, a miss", Some("primary"));
    wait_until(SOON, "all are written", || {
        redis.query::<usize>(&["DBSIZE"]) == files.len()
    });
    compare("up, a hit", Some("cache"));
    redis.kill();
    compare("down", Some("cache"));
    let unremembered = App::with(&redis, &origin).without_memory().start();
    for (name, bytes) in &files {
        assert!(
            unremembered.value(name).0.as_bytes() == bytes,
            "down, no copy: {name} differs"
        );
    }
    redis.start_again();
    app.wait_for_redis();
    compare("back and empty", Some("cache"));
    wait_until(SOON, "all are written again", || {
        redis.query::<usize>(&["DBSIZE"]) == files.len()
    });
    compare("back", Some("cache"));
    for (name, bytes) in &files {
        let kept = redis.value(name).expect("written again");
        assert!(kept.as_bytes() == bytes, "back in redis: {name} differs");
    }
}

/// Files of the repository, by name; and what a file can be at its worst.
fn real_files() -> Vec<(String, Vec<u8>)> {
    let folders = ["", "tests", "tests/contract", "tests/harness", "packaging"];
    let entries = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(file(folder)).expect("a folder"));
    let paths = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file());
    let named = paths.filter_map(|path| {
        let name = path
            .strip_prefix(file(""))
            .ok()?
            .to_str()?
            .replace('/', ":");
        Some((name, std::fs::read(path).expect("a file")))
    });
    let all_of_unicode: String = (1..=0x10_ffff)
        .step_by(7)
        .filter_map(char::from_u32)
        .collect();
    let made = [
        ("empty", String::new()),
        ("line-break", "\n".into()),
        ("unicode", all_of_unicode),
    ];
    let made = made.map(|(name, text)| (name.to_owned(), text.into_bytes()));
    named.chain(made).collect()
}
