//! The figures of docs/PERFORMANCE.md: hits through a real Redis beside `redis-benchmark`, in turn in the
//! same run, with the server's CPU per request; hits while every filler hangs; what running it costs.
//! `cargo bench --bench figures` prints them as tables. Needs `redis-server`, `redis-benchmark`, `wrk`.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program for a person to look at"
)]
#![allow(
    missing_docs,
    dead_code,
    unused_imports,
    reason = "shares the harness of the tests"
)]

#[path = "../tests/harness/mod.rs"]
mod harness;

use std::process::Command;
use std::time::{Duration, Instant};

use harness::{App, Client, Origin, Redis, SourceFault};

/// Rounds of each comparison; the median of the ratios counts.
const ROUNDS: usize = 3;
/// How long wrk asks in each of them.
const SECONDS: &str = "4";
/// The kernel's clock ticks, in which it counts CPU time.
const TICKS_PER_S: f64 = 100.0;

fn main() {
    hits();
    hits_while_fillers_hang();
    cost();
}

fn hits() {
    let redis = Redis::start();
    let app = App::configured().redis(&redis).connect();
    println!("hits through Redis, {ROUNDS} rounds of {SECONDS} s, medians\n");
    println!(
        "| clients | value | keys | redis-benchmark /s | evenkeel /s | ratio | CPU us/request |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (bytes, name) in [(100, "100 B"), (10_240, "10 KiB")] {
        for key in 0..10_000 {
            redis.set(&format!("key:{key:012}"), &"v".repeat(bytes));
        }
        for clients in [32, 256, 1000] {
            compare(&redis, &app, clients, name, "one", &["-t", "get"], None);
            let many = ["-r", "10000", "-t", "get"];
            compare(
                &redis,
                &app,
                clients,
                name,
                "10,000",
                &many,
                Some("benches/keys.lua"),
            );
        }
    }
}

fn compare(
    redis: &Redis,
    app: &App,
    clients: usize,
    value: &str,
    keys: &str,
    arguments: &[&str],
    script: Option<&str>,
) {
    let mut rounds = Vec::new();
    if script.is_none() {
        // What redis-benchmark asks for without -r.
        let same: String = redis.query(&["GET", "key:000000000000"]);
        redis.set("key:__rand_int__", &same);
    }
    for _ in 0..ROUNDS {
        let beside = redis_benchmark(redis, clients, arguments);
        let before = cpu_seconds(app);
        let (per_second, count) = wrk(app, clients, script);
        let cpu_us = (cpu_seconds(app) - before) * 1e6 / count;
        rounds.push((per_second / beside, beside, per_second, cpu_us));
    }
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, beside, per_second, cpu_us) = rounds[ROUNDS / 2];
    println!(
        "| {clients} | {value} | {keys} | {beside:.0} | {per_second:.0} | {ratio:.2} | {cpu_us:.1} |"
    );
}

/// The source hangs, all 32 fillers with it: hits must not notice.
fn hits_while_fillers_hang() {
    let redis = Redis::start();
    let origin = Origin::start();
    let app = App::with(&redis, &origin).connect();
    redis.set("key:000000000000", &"v".repeat(100));
    println!("\nhits, 32 clients, one key of 100 B, beside fillers that hang\n");
    println!("| fillers | evenkeel /s |\n|---|---|");
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        origin.set_fault(None);
        let free = wrk(&app, 32, None).0;
        origin.set_fault(SourceFault::Hangs);
        let mut held: Vec<_> = (0..64).map(|_| app.client()).collect();
        let mut number = 0;
        for client in &mut held {
            number += 1;
            client.send(format!(
                "GET /api/data/new-{free}-{number} HTTP/1.1\r\n\r\n"
            ));
        }
        rounds.push((free, wrk(&app, 32, None).0));
    }
    rounds.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
    let (free, hanging) = rounds[ROUNDS / 2];
    println!("| free | {free:.0} |\n| all hang | {hanging:.0} |");
}

fn cost() {
    let redis = Redis::start();
    let app = App::configured().redis(&redis).connect();
    let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
    let idle = mib(app.resident_bytes());
    redis.set("key:000000000000", &"v".repeat(100));
    wrk(&app, 256, None);
    let busy = mib(app.resident_bytes());
    let binary = std::fs::metadata(env!("CARGO_BIN_EXE_evenkeel")).expect("the binary");
    let mut starts: Vec<Duration> = (0..11).map(|_| start_to_first_answer(&redis)).collect();
    starts.sort();
    println!("\n| what | measured | wanted |\n|---|---|---|");
    println!("| resident, idle | {idle:.1} MiB | 8 MB |");
    println!("| resident, after 256 busy clients | {busy:.1} MiB | 16 MB |");
    println!(
        "| start to first answer, median of 11 | {:.1?} | 100 ms |",
        starts[5]
    );
    println!("| stripped binary | {:.1} MiB | 6 MB |", mib(binary.len()));
    println!("| threads | {} | fixed |", app.threads());
}

fn start_to_first_answer(redis: &Redis) -> Duration {
    let address = harness::free_address();
    let config = App::configured()
        .redis(redis)
        .set("server", "listen", &address.to_string());
    let began = Instant::now();
    let _app = config.start();
    let mut client = Client::connect(address);
    assert_eq!(client.get("/api/data/key:000000000000").status, 200);
    began.elapsed()
}

fn redis_benchmark(redis: &Redis, clients: usize, arguments: &[&str]) -> f64 {
    let port = redis.address().port().to_string();
    let mut command = Command::new("redis-benchmark");
    command.args([
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-c",
        &clients.to_string(),
        "-n",
        "400000",
    ]);
    let output = command
        .args(arguments)
        .args(["--csv"])
        .output()
        .expect("redis-benchmark runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text
        .lines()
        .find(|line| line.starts_with("\"GET\""))
        .expect("a line for GET");
    let figure = line.split(',').nth(1).expect("requests per second");
    figure.trim_matches('"').parse().expect("a number")
}

/// Requests per second, and how many there were.
fn wrk(app: &App, clients: usize, script: Option<&str>) -> (f64, f64) {
    let mut command = Command::new("wrk");
    command.args(["-t1", &format!("-c{clients}"), &format!("-d{SECONDS}")]);
    let url = format!("http://{}/api/data/key:000000000000", app.address());
    if let Some(script) = script {
        command.arg("-s").arg(harness::file(script));
    }
    let output = command.arg(url).output().expect("wrk runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("Non-2xx"), "{text}");
    let figure = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.contains(name))
            .expect("wrk says it");
        let words = line.replace(name, " ");
        words
            .split_whitespace()
            .next()
            .and_then(|word| word.parse().ok())
            .expect("a number")
    };
    (figure("Requests/sec:"), figure(" requests in"))
}

fn cpu_seconds(app: &App) -> f64 {
    let stat = std::fs::read_to_string(app.proc("stat")).expect("it runs");
    let after_name = stat.rsplit(')').next().expect("fields");
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |place: usize| fields[place].parse::<f64>().expect("ticks");
    (ticks(11) + ticks(12)) / TICKS_PER_S
}
