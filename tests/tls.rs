//! Redis behind TLS: who is trusted and who is not, what is said of it, and that no client notices.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{
    Admits, App, Authority, Certificate, Config, Control, Load, NetworkFault, Origin, Proxy, Redis,
    SOON, TlsRedis, alone, let_pass, wait_until,
};

/// Latency of the source in outages.
const SOURCE: Duration = Duration::from_millis(50);
/// What a request may take once an outage is known.
const SLOW: Duration = Duration::from_millis(200);
/// How long a new outage may cost anybody time.
const ONSET: Duration = Duration::from_millis(1500);
/// By when Redis is used again.
const RECOVERY: Duration = Duration::from_millis(2500);

/// A server that everybody may ask, with a certificate for the address that it is asked at.
fn ordinary() -> (Authority, TlsRedis) {
    let authority = Authority::new();
    let certificate = authority.issue(&["127.0.0.1"]);
    let redis = TlsRedis::start(&certificate, &authority, Admits::Everybody);
    (authority, redis)
}

/// Values are read from and written to Redis by the app with `config`.
#[track_caller]
fn is_served(redis: &Redis, config: Config) {
    let origin = Origin::start();
    redis.set("a", "over TLS");
    let app = config.origin(&origin).connect();
    assert_eq!(app.value("a"), ("over TLS".into(), "cache".into()));
    assert_eq!(app.value("b").1, "primary");
    wait_until(SOON, "it is written", || redis.value("b").is_some());
    assert_eq!(
        app.log_lines("WARN") + app.log_lines("ERROR"),
        0,
        "{}",
        app.log()
    );
}

/// No client of the app with `config` notices that it does not come together with Redis; the log says
/// `reason` loudly, and once.
#[track_caller]
fn is_refused(config: Config, reason: &str) {
    let origin = Origin::start();
    let app = config
        .set("breaker", "probe_interval", "20ms")
        .origin(&origin)
        .start_in_outage();
    wait_until(SOON, "it is said", || {
        app.log().contains(" ERROR ") || app.log().contains("[ERROR]")
    });
    for key in (0..20).map(|n| format!("k{n}")) {
        assert_eq!(app.value(&key).0, Origin::value_of(&key));
    }
    let_pass(Duration::from_millis(300));
    let log = app.log();
    let loud: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(loud.len(), 1, "{log}");
    assert!(loud[0].contains(reason), "{reason}: {log}");
    assert!(log.lines().count() < 10, "{log}");
}

#[test]
fn values_are_read_and_written_over_tls() {
    let (authority, redis) = ordinary();
    is_served(
        &redis.redis,
        App::configured().tls(&redis.url(), &authority),
    );
}

#[test]
fn values_larger_than_a_tls_record_are_read_and_written() {
    let (authority, redis) = ordinary();
    let origin = Origin::start();
    let large = |letter: &str| letter.repeat(3 << 20);
    redis.redis.set("a", &large("a"));
    origin.put("b", large("b"));
    let app = App::configured()
        .tls(&redis.url(), &authority)
        .set("redis", "timeout", "5s")
        .origin(&origin)
        .connect();
    assert_eq!(app.value("a"), (large("a"), "cache".into()));
    assert_eq!(app.value("b"), (large("b"), "primary".into()));
    wait_until(SOON, "it is written", || {
        redis.redis.value("b") == Some(large("b"))
    });
}

#[test]
fn a_server_is_known_by_its_name_or_by_the_one_that_it_is_said_to_have() {
    let authority = Authority::new();
    let certificate = authority.issue(&["localhost", "redis.example"]);
    let redis = TlsRedis::start(&certificate, &authority, Admits::Everybody);
    let by_name = App::configured().tls(&redis.url_at("localhost"), &authority);
    is_served(&redis.redis, by_name);
    redis.redis.query::<()>(&["FLUSHALL"]);
    let by_address = App::configured().tls(&redis.url(), &authority);
    is_served(
        &redis.redis,
        by_address.set("redis", "server_name", "redis.example"),
    );
    let by_address = App::configured().tls(&redis.url(), &authority);
    is_refused(by_address, "is not for 127.0.0.1 but for");
}

#[test]
fn a_certificate_without_names_is_refused_and_the_reason_told() {
    let authority = Authority::new();
    let certificate = authority.issue(&[]);
    let redis = TlsRedis::start(&certificate, &authority, Admits::Everybody);
    let config = App::configured().tls(&redis.url(), &authority);
    is_refused(config, "its common name does not count");
}

#[test]
fn a_server_of_an_unknown_authority_is_not_trusted() {
    let (_authority, redis) = ordinary();
    for name in ["the usual one", "another one"] {
        let unknown = Authority::called(name);
        let config = App::configured().tls(&redis.url(), &unknown);
        is_refused(config, "is signed by no authority that we trust");
    }
}

#[test]
fn a_certificate_that_has_expired_is_not_trusted_and_its_end_told() {
    let authority = Authority::new();
    let certificate = authority.issue_expired(&["127.0.0.1"]);
    let redis = TlsRedis::start(&certificate, &authority, Admits::Everybody);
    let config = App::configured().tls(&redis.url(), &authority);
    is_refused(config, "has expired at 2020-01-01T00:00:00Z");
}

#[test]
fn a_certificate_that_is_its_own_authority_is_trusted_where_it_is_listed() {
    let authority = Authority::new();
    let certificate = authority.make_self_signed(&["127.0.0.1"]);
    let redis = TlsRedis::start(&certificate, &authority, Admits::Everybody);
    let listing = |file: &Path, url: &str| {
        App::configured()
            .set("redis", "url", url)
            .set("redis", "ca_file", &file.to_string_lossy())
    };
    is_served(&redis.redis, listing(&certificate.cert_file, &redis.url()));
    let elsewhere = redis.url_at("localhost");
    is_refused(
        listing(&certificate.cert_file, &elsewhere),
        "is not for localhost but for",
    );
    let another = authority.make_self_signed(&["127.0.0.1"]);
    is_refused(
        listing(&another.cert_file, &redis.url()),
        "is its own authority and is not listed",
    );
}

#[test]
fn a_client_certificate_is_shown_to_a_server_that_asks_for_one() {
    let authority = Authority::new();
    let certificate = authority.issue(&["127.0.0.1"]);
    let redis = TlsRedis::start(&certificate, &authority, Admits::Certificates);
    let config = || App::configured().tls(&redis.url(), &authority);
    is_served(
        &redis.redis,
        config().certificate(&authority.issue(&["us"])),
    );
    is_refused(config(), "wants a certificate from us");
    let foreign = Authority::new();
    is_refused(
        config().certificate(&foreign.issue(&["us"])),
        "does not accept our certificate",
    );
}

#[test]
fn tls_1_2_is_spoken_with_who_knows_no_newer_one() {
    let authority = Authority::new();
    let certificate = authority.issue(&["127.0.0.1"]);
    let old = ["--tls-protocols", "TLSv1.2"];
    let redis = TlsRedis::start_with(&certificate, &authority, Admits::Certificates, &old);
    let config = || App::configured().tls(&redis.url(), &authority);
    is_served(
        &redis.redis,
        config().certificate(&authority.issue(&["us"])),
    );
    // It does not say more than that before TLS 1.3.
    is_refused(config(), "it wants a certificate from us, or");
}

#[test]
fn a_server_of_an_authority_of_the_system_is_trusted() {
    let (authority, redis) = ordinary();
    let config = |of_the_system: &Authority| {
        App::configured()
            .set("redis", "url", &redis.url())
            .environment("SSL_CERT_FILE", &of_the_system.file().to_string_lossy())
    };
    is_served(&redis.redis, config(&authority));
    is_refused(
        config(&Authority::new()),
        "is signed by no authority that we trust",
    );
}

#[test]
fn a_server_without_tls_costs_no_client_an_error() {
    let redis = Redis::start();
    let authority = Authority::new();
    let origin = Origin::start();
    let url = redis.url().replace("redis://", "rediss://");
    let app = App::configured()
        .tls(&url, &authority)
        .origin(&origin)
        .start_in_outage();
    assert_eq!(app.value("a").0, "value of a");
    // It takes our hello for the beginning of a command, and waits for the rest.
    let log = app.log();
    assert!(log.contains("TLS"), "{log}");
}

/// The handshake is part of the budget, and the deadline is one for all of it.
#[test]
fn a_server_that_hangs_in_the_tls_handshake_costs_no_client_its_time() {
    alone();
    let (authority, redis) = ordinary();
    let origin = Origin::start();
    let mut proxy = Proxy::start(redis.address());
    let url = proxy.url().replace("redis://", "rediss://");
    proxy.set_fault(NetworkFault::Hangs);
    let app = App::configured()
        .tls(&url, &authority)
        .set("breaker", "mode", "disabled")
        .origin(&origin)
        .start();
    for key in (0..5).map(|n| format!("k{n}")) {
        let began = std::time::Instant::now();
        assert_eq!(app.value(&key).1, "primary");
        let took = began.elapsed();
        assert!(
            took < Duration::from_millis(900),
            "{took:?}, of 500 ms for redis"
        );
    }
    wait_until(SOON, "it is said", || {
        app.log().contains("timed out in TLS handshake")
    });
    proxy.set_fault(NetworkFault::None);
    wait_until(SOON, "redis is used", || {
        redis.redis.set("a", "back");
        app.value("a") == ("back".into(), "cache".into())
    });
}

#[test]
#[ignore = "long: an outage under load"]
fn a_killed_redis_behind_tls_costs_no_client_an_error() {
    outage_over_tls(Redis::kill, Redis::start_again);
}

#[test]
#[ignore = "long: an outage under load"]
fn a_frozen_redis_behind_tls_costs_no_client_an_error() {
    outage_over_tls(|redis| redis.freeze(), |redis| redis.thaw());
}

fn outage_over_tls(begin: impl Fn(&mut Redis), end: impl Fn(&mut Redis)) {
    alone();
    let (authority, redis) = ordinary();
    let config = App::configured().tls(&redis.url(), &authority);
    outage_of(redis.redis, config, begin, end);
}

/// 32 clients of the app with `config`, half of whose keys are new, before, during and after an outage
/// of `redis`, which is used throughout. Whoever calls it runs alone.
fn outage_of(
    mut redis: Redis,
    config: Config,
    begin: impl Fn(&mut Redis),
    end: impl Fn(&mut Redis),
) {
    let origin = Origin::slow(SOURCE);
    let app = config.origin(&origin).connect();
    let control = Control::start(&app);
    let load = Load::half_new(app.address());
    wait_until(SOON, "keys come from redis", || {
        app.figure("/answers/redis") > 200
    });
    let began = Instant::now();
    begin(&mut redis);
    let_pass(ONSET * 2);
    assert!(!app.redis_is_up(), "it noticed: {}", app.log());
    end(&mut redis);
    let before = redis.lookups();
    wait_until(RECOVERY, "redis is used again", || {
        redis.lookups() > before + 100
    });
    let_pass(Duration::from_millis(500));
    let report = load.stop().beside(&control.stop());
    report.assert_sound();
    let slow = report.slower_than(SLOW);
    assert!(slow <= 64, "{slow} slow answers");
    let (slowest, at) = report.slowest_between(began + ONSET, Instant::now());
    assert!(slowest <= SLOW, "{slowest:?} at {at:?}: {}", app.log());
}

#[test]
fn files_that_are_renewed_are_used_without_a_restart() {
    let (old, new) = (Authority::new(), Authority::new());
    let redis = TlsRedis::start(&new.issue(&["127.0.0.1"]), &new, Admits::Certificates);
    let origin = Origin::start();
    let mut config = App::configured();
    let folder = config.folder();
    let put = |authority: &Authority, certificate: &Certificate| {
        std::fs::copy(authority.file(), folder.join("ca.crt")).expect("a copy");
        std::fs::copy(&certificate.cert_file, folder.join("own.crt")).expect("a copy");
        std::fs::copy(&certificate.key_file, folder.join("own.key")).expect("a copy");
    };
    put(&old, &old.issue(&["us"]));
    let app = config
        .set("redis", "url", &redis.url())
        .set("redis", "ca_file", "ca.crt")
        .set("redis", "cert_file", "own.crt")
        .set("redis", "key_file", "own.key")
        .set("breaker", "probe_interval", "50ms")
        .origin(&origin)
        .start_in_outage();
    // Half of it is of no use.
    std::fs::write(folder.join("own.key"), "half a ke").expect("a file of ours");
    wait_until(SOON, "it is said", || {
        app.log().contains("are of no use: key_file")
    });
    put(&new, &new.issue(&["us"]));
    app.wait_for_redis();
    redis.redis.set("a", "renewed");
    assert_eq!(app.value("a"), ("renewed".into(), "cache".into()));
}
