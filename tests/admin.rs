//! The admin door: what Prometheus reads there, what is said of an outage, and that clients and
//! operators do not get in each other's way.

use std::io::Write;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::harness::{
    ADMIN_LISTEN, App, Client, Origin, Output, Redis, SOON, SourceFault, evenkeel, let_pass,
    promtool, wait_until,
};

#[test]
fn what_prometheus_reads_is_sound_and_complete() {
    let (mut redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin).connect();
    // Something of everything: fetched, from Redis, from memory, stale, not found, failed, refused.
    app.value("a");
    wait_until(SOON, "it is written", || redis.value("a").is_some());
    app.value("a");
    app.get("/no/such/path");
    redis.kill();
    wait_until(SOON, "the outage is known", || {
        app.value("a");
        !app.redis_is_up()
    });
    let probes = || app.metric("evenkeel_redis_op_seconds_count", &["probe", "unreachable"]);
    wait_until(SOON, "a probe has failed", || probes() > 0.0);
    origin.set_fault(SourceFault::Status(500));
    app.get("/api/data/new");
    // A filler is done a moment after its answer.
    let is_fetching = || app.metric("evenkeel_source_in_flight", &[]) > 0.0;
    wait_until(SOON, "the fetch is over", || !is_fetching());
    let response = app.admin("/metrics");
    let media_type = response.field("content-type");
    assert_eq!(media_type, Some("text/plain; version=0.0.4; charset=utf-8"));
    let page = response.text();
    let mut check = promtool(&["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is there (tests/run fetches it)");
    let mut stdin = check.stdin.take().expect("piped");
    stdin.write_all(page.as_bytes()).expect("it reads");
    drop(stdin);
    let checked = check.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(
        checked.status.success() && said.is_empty(),
        "{said}\n{page}"
    );
    for series in [
        "evenkeel_build_info{version=",
        "evenkeel_requests_total{outcome=\"memory_stale\",route=\"data\"} 0",
        "evenkeel_requests_total{outcome=\"unavailable\",route=\"data\"} 1",
        "evenkeel_request_seconds_count{outcome=\"redis\",route=\"data\"}",
        "evenkeel_other_responses_total{code=\"404\"} 1",
        "evenkeel_redis_op_seconds_count{op=\"read\",result=\"ok\"}",
        "evenkeel_redis_op_seconds_count{op=\"probe\",result=\"unreachable\"}",
        "evenkeel_redis_keys_total{result=\"hit\"}",
        "evenkeel_redis_writes_total{result=\"written\"} 1",
        "evenkeel_redis_bypassed_total",
        "evenkeel_redis_connections{state=\"idle\"}",
        "evenkeel_breaker_state{breaker=\"redis\",state=\"open\"} 1",
        "evenkeel_breaker_state{breaker=\"redis\",state=\"closed\"} 0",
        "evenkeel_breaker_state{breaker=\"source:origin\",state=\"closed\"} 1",
        "evenkeel_breaker_transitions_total{breaker=\"redis\",to=\"open\"} 1",
        "evenkeel_queue_length{queue=\"source\"}",
        "evenkeel_connections ",
        "evenkeel_memory_bytes ",
        "evenkeel_memory_evictions_total 0",
        "evenkeel_source_calls_total{result=\"status\",source=\"origin\"} 1",
        "evenkeel_source_seconds_count{source=\"origin\"} 2",
        "evenkeel_source_in_flight{source=\"origin\"} ",
        "evenkeel_flights_joined_total{route=\"data\"}",
        "evenkeel_recovery_entries ",
        "evenkeel_redis_takes_writes 1",
        "evenkeel_worker_busy_seconds ",
        "evenkeel_panics_total 0",
    ] {
        let is_there = page.lines().any(|line| line.starts_with(series));
        assert!(is_there, "no {series} in {page}");
    }
}

#[test]
fn the_process_shows_what_every_process_shows() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin).start();
    assert_eq!(app.metric("process_threads", &[]), app.threads() as f64);
    let memory = app.metric("process_resident_memory_bytes", &[]) / app.resident_bytes() as f64;
    assert!((0.8..1.25).contains(&memory), "{memory}");
    // The connection of whoever looks is one more.
    let open = app.metric("process_open_fds", &[]) - app.descriptors() as f64;
    assert!((-2.0..=2.0).contains(&open), "{open}");
    assert!(app.metric("process_max_fds", &[]) > 100.0);
    assert!(app.metric("process_cpu_seconds_total", &[]) < 60.0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("later");
    let age = now.as_secs_f64() - app.metric("process_start_time_seconds", &[]);
    assert!((0.0..60.0).contains(&age), "{age}");
}

#[test]
fn keys_never_become_labels_and_the_page_does_not_grow_with_them() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin).connect();
    app.value("first");
    let lines = || app.admin("/metrics").text().lines().count();
    wait_until(SOON, "all kinds of calls were made", || {
        app.value("first");
        app.metric("evenkeel_redis_op_seconds_count", &["write"]) > 0.0
    });
    let before = lines();
    for n in 0..200 {
        app.value(&format!("secret-{n}"));
    }
    let page = app.admin("/metrics").text();
    assert!(
        !page.contains("secret") && !page.contains("first"),
        "{page}"
    );
    // Series of results that were not met before may come, one of each kind.
    assert!(lines() <= before + 40, "{} after {before}", lines());
    assert_eq!(app.metric("evenkeel_requests_total", &["source"]), 201.0);
}

#[test]
fn an_outage_is_reported_when_it_ends() {
    let (mut redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin).connect();
    assert_eq!(app.value("known").1, "primary");
    wait_until(SOON, "it is in redis", || redis.value("known").is_some());
    assert_eq!(
        app.admin("/outages").json()["outages"],
        Value::Array(vec![])
    );
    redis.kill();
    wait_until(SOON, "the outage is known", || {
        app.value("known");
        !app.redis_is_up()
    });
    for n in 0..20 {
        assert_eq!(app.value(&format!("new-{n}")).1, "primary");
    }
    let lasting = app.admin("/outages").json()["outages"][0].clone();
    assert_eq!(lasting["ended"], Value::Null, "{lasting}");
    assert_eq!(lasting["answers"]["source"], 20, "{lasting}");
    redis.start_again();
    wait_until(SOON, "it is reported", || {
        app.log_lines("outage of redis is over") == 1
    });
    let outages = app.admin("/outages").json();
    let outage = &outages["outages"][0];
    assert_eq!(outages["outages"].as_array().map(Vec::len), Some(1));
    assert_eq!(outage["of"], "redis");
    assert!(
        outage["cause"]
            .as_str()
            .is_some_and(|cause| !cause.is_empty())
    );
    assert!(
        outage["began"].as_str() < outage["ended"].as_str(),
        "{outage}"
    );
    assert!(outage["seconds"].as_f64() > Some(0.0), "{outage}");
    assert!(
        outage["answers"]["memory_fresh"].as_u64() >= Some(1),
        "{outage}"
    );
    assert_eq!(outage["answers"]["source"], 20, "{outage}");
    assert_eq!(outage["answers"]["unavailable"], 0, "{outage}");
    assert_eq!(outage["source_calls"], 20, "{outage}");
    assert_eq!(outage["extra_source_calls"], 20, "{outage}");
    assert_eq!(outage["keys_written_back"], 20, "{outage}");
    let slowest = outage["slowest_answer_seconds"].as_f64();
    assert!((Some(0.0)..Some(2.0)).contains(&slowest), "{outage}");
}

#[test]
fn only_fetches_that_were_made_count_as_extra() {
    let (mut redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin).connect();
    redis.kill();
    wait_until(SOON, "the outage is known", || {
        app.value("known");
        !app.redis_is_up()
    });
    let counts = || {
        let outage = app.admin("/outages").json()["outages"][0].clone();
        ["source_calls", "extra_source_calls"].map(|name| outage[name].as_u64().expect("a number"))
    };
    let before = counts();
    origin.set_fault(SourceFault::Hangs);
    let mut clients: Vec<_> = (0..3).map(|_| app.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /api/data/n{n} HTTP/1.1\r\nHost: l\r\n\r\n"));
    }
    wait_until(SOON, "they are under way", || {
        app.metric("evenkeel_source_in_flight", &[]) == 3.0
    });
    let made = before.map(|count| count + 3);
    assert_eq!(counts(), made, "from their beginning");
    origin.set_fault(None);
    for client in &mut clients {
        assert_eq!(client.response(false).expect("an answer").status, 200);
    }
    assert_eq!(counts(), made);
}

#[test]
fn an_outage_of_the_source_is_reported_too() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .set("source origin", "reset_timeout", "50ms")
        .connect();
    origin.set_fault(SourceFault::Status(500));
    for n in 0..8 {
        assert_eq!(app.get(&format!("/api/data/k{n}")).status, 503);
    }
    origin.set_fault(None);
    wait_until(SOON, "it is used again", || {
        app.get("/api/data/k").status == 200
    });
    wait_until(SOON, "it is reported", || {
        app.log_lines("outage of source origin is over") == 1
    });
    let outage = app.admin("/outages").json()["outages"][0].clone();
    assert_eq!(outage["of"], "source origin", "{outage}");
    assert!(
        outage["answers"]["unavailable"].as_u64() > Some(0),
        "{outage}"
    );
}

#[test]
fn the_door_of_operators_has_their_pages_and_nothing_of_the_api() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin).start();
    app.value("a");
    for path in ["/livez", "/readyz", "/healthz", "/metrics", "/outages"] {
        assert_eq!(app.admin(path).status, 200, "{path}");
    }
    assert_eq!(app.admin("/api/data/a").status, 404);
    for path in ["/metrics", "/outages"] {
        assert_eq!(app.get(path).status, 404, "{path} is not for clients");
        let mut client = Client::connect(app.admin_address());
        let refused = client.ask("POST", path, "Content-Length: 0\r\n");
        assert_eq!(refused.status, 405, "{path}");
        assert_eq!(refused.field("allow"), Some("GET, HEAD, OPTIONS"));
    }
}

#[test]
fn operators_are_served_while_clients_take_every_place() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .set("server", "max_connections", "4")
        .start();
    origin.set_fault(SourceFault::Hangs);
    let mut clients: Vec<_> = (0..8).map(|_| app.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(format!(
            "GET /api/data/hangs-{n} HTTP/1.1\r\nHost: l\r\n\r\n"
        ));
    }
    let_pass(Duration::from_millis(200));
    assert_eq!(app.metric("evenkeel_connections", &[]), 4.0);
    assert_eq!(app.metric("evenkeel_source_in_flight", &["origin"]), 4.0);
}

#[test]
fn without_an_address_there_is_no_admin_door() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin)
        .environment(ADMIN_LISTEN, "")
        .start();
    app.value("a");
    assert_eq!(app.log_lines("admin door"), 0, "{}", app.log());
}

#[test]
fn an_admin_address_that_is_taken_is_said_and_nothing_is_served() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a socket of ours").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = evenkeel(&[]);
    let output = Output::of(
        command
            .current_dir(&folder)
            .env("EVENKEEL_SERVER_LISTEN", "127.0.0.1:0")
            .env(ADMIN_LISTEN, &address),
    );
    assert_eq!(output.code, Some(69), "{}", output.err);
    let said = format!("cannot listen on {address} ([admin] listen)");
    assert!(output.err.contains(&said), "{}", output.err);
    assert!(!output.err.contains("listens on"), "{}", output.err);
}
