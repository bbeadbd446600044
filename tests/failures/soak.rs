//! A soak: one fault of the matrix after the other, at random, for as long as it is asked to. No answer
//! may be wrong or other than 200, and the app's memory stays what it was.
//!
//! `FAULT_SOAK_SECONDS` says how long (a few without it), `FAULT_SOAK_SEED` repeats one, and with
//! `TEST_BINARY` it is the release binary that goes through it:
//! `FAULT_SOAK_SECONDS=1800 tests/run a_soak -- --nocapture`.

use std::time::{Duration, Instant};

use crate::harness::{App, Load, SOON, let_pass, wait_until};

use super::drill::{RECOVERY, SLOW};
use super::scene::{Scene, Via};
use super::{Is, ROWS, Row};

/// How long a soak is when nobody asks for more.
const SHORT_SECONDS: u64 = 12;
/// What the memory may grow by from one half to the other.
const GROWTH_MAX: u64 = 4 * 1024 * 1024;
/// The fault that needs memory of its own while it lasts.
const LARGE: &str = "values_of_10_mb";

#[test]
#[ignore = "long: a soak"]
fn a_soak_of_random_faults_costs_no_client_an_error_and_no_memory() {
    let seconds = number("FAULT_SOAK_SECONDS").unwrap_or(SHORT_SECONDS);
    let seed = number("FAULT_SOAK_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("FAULT_SOAK_SEED={seed} FAULT_SOAK_SECONDS={seconds}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut scene = Scene::configured(Via::Network, small());
    let load = Load::half_new(scene.app.address());
    let began = Instant::now();
    let lasts = Duration::from_secs(seconds);
    // From one fault to the next: 10 to 30 s, and less where the whole is short.
    let period = |random: &mut fastrand::Rng| {
        (lasts / 10)
            .min(Duration::from_secs(20))
            .mul_f64(0.5 + random.f64())
    };
    wait_until(SOON * 3, "its memory is full", || {
        fullness(&scene.app) > 0.9
    });
    let rows = playable();
    let mut sizes = Vec::new();
    let mut faults = 0;
    while began.elapsed() < lasts {
        let next = Instant::now() + period(&mut random);
        let row = random.choice(&rows).expect("there are rows");
        println!("{:>6.1} s: {}", began.elapsed().as_secs_f64(), row.name);
        faults += 1;
        (row.begins)(&mut scene);
        let until = Instant::now() + next.saturating_duration_since(Instant::now()).mul_f64(0.6);
        let mut meanwhile = Vec::new();
        watch(&scene.app, until, &mut meanwhile);
        if row.name != LARGE {
            sizes.append(&mut meanwhile);
        }
        (row.ends)(&mut scene);
        watch(&scene.app, next, &mut sizes);
    }
    let used = scene.redis.lookups();
    wait_until(RECOVERY, "redis is used at the end", || {
        scene.redis.lookups() > used + 100
    });
    let report = load.stop();
    report.assert_sound();
    let (early, late) = halves(&sizes);
    println!(
        "{faults} faults in {:.0} s; {} answers of 200, {} others, {} wrong, {} slower than {SLOW:?} \
         (the machine's delays included); {} fetches; memory at most {} KiB in the first half, {} KiB \
         in the second, {} KiB ever; {} threads, {} descriptors; {} log lines",
        began.elapsed().as_secs_f64(),
        report.answers.len(),
        report.failures.len(),
        report.wrong.len(),
        report.slower_than(SLOW),
        scene.origin.calls(),
        early / 1024,
        late / 1024,
        scene.app.most_resident_bytes() / 1024,
        scene.app.threads(),
        scene.app.descriptors(),
        scene.app.log().lines().count(),
    );
    assert_eq!(scene.app.figure("/panics"), 0);
    assert!(
        late < early + GROWTH_MAX,
        "memory grows from {early} to {late} bytes"
    );
}

/// With little memory, so that it is full soon.
fn small() -> crate::harness::Config {
    App::configured().set("memory", "max_bytes", "512KiB").set(
        "redis",
        "recovery_max_bytes",
        "512KiB",
    )
}

fn fullness(app: &App) -> f64 {
    app.figure("/memory/bytes") as f64 / app.figure("/memory/max_bytes") as f64
}

/// What can be played on one scene again and again.
fn playable() -> Vec<&'static Row> {
    let rows = ROWS.iter();
    rows.filter(|row| row.via != Via::Name && row.is != Is::Flapping)
        .collect()
}

/// Until then, how large the process is.
fn watch(app: &App, until: Instant, sizes: &mut Vec<u64>) {
    while Instant::now() < until {
        sizes.push(app.resident_bytes());
        let left = until.saturating_duration_since(Instant::now());
        let_pass(left.min(Duration::from_millis(200)));
    }
}

/// The largest of the first half and of the second.
fn halves(sizes: &[u64]) -> (u64, u64) {
    let (first, second) = sizes.split_at(sizes.len() / 2);
    let largest = |half: &[u64]| half.iter().max().copied().unwrap_or_default();
    (largest(first), largest(second))
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is not a number")),
    )
}
