//! Which keys of `[redis]` go together, and what is said of those that do not.

use super::super::{Protocol, Redis, parse};
use super::*;

const SENTINEL: &str = "mode = sentinel\nnodes = a:26379, [::1]:26379\nmaster = mymaster\n";
const CLUSTER: &str = "mode = cluster\nnodes = a:7000, b:7000\n";

/// `[redis]` with `keys`, or the mistakes. Relative paths are taken from a folder that is not there.
fn redis(keys: &str, environment: &[(&str, &str)]) -> Result<Redis, String> {
    let text = format!("[redis]\n{keys}");
    parse(&text, "absent/c.ini", environment.iter().copied())
        .map(|loaded| loaded.config.redis)
        .map_err(|mistakes| mistakes.to_string())
}

fn node(host: &str, port: u16) -> HostPort {
    let host = host.to_owned();
    HostPort { host, port }
}

/// Each text is refused with one mistake that begins and goes on like this.
#[track_caller]
fn refused(cases: &[(&str, &str, &str)]) {
    for (keys, begin, reason) in cases {
        let why = redis(keys, &[]).expect_err(keys);
        let begins = why.starts_with(&format!("absent/c.ini:{begin}"));
        assert!(begins && why.contains(reason), "{keys}: {why}");
        assert_eq!(why.lines().count(), 1, "{keys}: {why}");
    }
}

#[test]
fn sentinels_and_what_they_know_are_read() {
    let passwords = [
        ("EVENKEEL_REDIS_PASSWORD", "one"),
        ("EVENKEEL_REDIS_SENTINEL_PASSWORD", "two"),
    ];
    let keys = format!("{SENTINEL}db = 3\nusername = me\nprotocol = resp3\ntls = true\n");
    let redis = redis(&keys, &passwords).unwrap();
    let expected = Servers::Sentinel {
        nodes: vec![node("a", 26379), node("::1", 26379)],
        master: "mymaster".to_owned(),
        db: 3,
        login: Login::Password("two".to_owned()),
    };
    assert_eq!(redis.servers, expected);
    let (name, password) = ("me".to_owned(), "one".to_owned());
    assert_eq!(redis.login, Login::User { name, password });
    assert_eq!(redis.protocol, Protocol::Resp3);
    let system = Tls {
        ca_file: None,
        identity: None,
        server_name: None,
    };
    assert_eq!(redis.tls, Some(system));
}

#[test]
fn a_cluster_is_some_of_its_nodes() {
    let redis = redis(CLUSTER, &[]).unwrap();
    let nodes = vec![node("a", 7000), node("b", 7000)];
    assert_eq!(redis.servers, Servers::Cluster { nodes });
    assert_eq!((redis.login, redis.tls), (Login::Nobody, None));
}

#[test]
fn sentinels_have_a_login_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("redis_sentinel_password"), "s\n").unwrap();
    let path = folder.path().to_string_lossy();
    let systemd = [("CREDENTIALS_DIRECTORY", &*path)];
    let keys = format!("{SENTINEL}sentinel_username = watcher\n");
    let redis = redis(&keys, &systemd).unwrap();
    assert_eq!(redis.login, Login::Nobody);
    let Servers::Sentinel { login, .. } = redis.servers else {
        panic!("not the Sentinels");
    };
    let (name, password) = ("watcher".to_owned(), "s".to_owned());
    assert_eq!(login, Login::User { name, password });
}

#[test]
fn a_key_of_another_mode_is_refused_with_what_to_do() {
    let sentinel = |key: &str| format!("{SENTINEL}{key}");
    let cluster = |key: &str| format!("{CLUSTER}{key}");
    refused(&[
        (
            &sentinel("url = redis://h"),
            "5: [redis] url: ",
            "its servers are given in nodes",
        ),
        (
            &cluster("url = redis://h"),
            "4: [redis] url: ",
            "this is mode = cluster",
        ),
        (
            "nodes = a:1",
            "2: [redis] nodes: ",
            "mode = sentinel or cluster; this is mode = single",
        ),
        (
            "master = m",
            "2: [redis] master: ",
            "belongs to mode = sentinel",
        ),
        (
            &cluster("master = m"),
            "4: [redis] master: ",
            "it has no Sentinels",
        ),
        ("db = 3", "2: [redis] db: ", "as in redis://host:6379/3"),
        (
            &cluster("db = 3"),
            "4: [redis] db: ",
            "a cluster has database 0 only",
        ),
        (
            "sentinel_username = x",
            "2: [redis] sentinel_username: ",
            "it has no Sentinels",
        ),
        (
            &cluster("sentinel_password_file = x"),
            "4: [redis] sentinel_password_file: ",
            "it has no Sentinels",
        ),
        ("tls = true", "2: [redis] tls: ", "write rediss:// in url"),
        (
            "url = unix:///s\ntls = true",
            "3: [redis] tls: ",
            "a Unix socket has no TLS",
        ),
    ]);
    let why = redis("", &[("EVENKEEL_REDIS_SENTINEL_PASSWORD", "x")]).unwrap_err();
    let expected = "EVENKEEL_REDIS_SENTINEL_PASSWORD: belongs to [redis] mode = sentinel; this \
                    is mode = single";
    assert_eq!(why, expected);
}

#[test]
fn a_key_that_says_its_default_says_nothing() {
    let defaults = "url = redis://127.0.0.1:6379/0\ndb = 0\nsentinel_username =\nca_file =\n";
    assert!(redis(&format!("{CLUSTER}{defaults}master =\n"), &[]).is_ok());
    assert!(redis("url = rediss://h\ntls = true", &[]).is_ok());
}

#[test]
fn what_a_mode_cannot_do_without_is_asked_for() {
    refused(&[
        (
            "mode = cluster",
            "1: [redis] nodes: ",
            "must be given with mode = cluster",
        ),
        (
            "mode = sentinel\nmaster = m",
            "1: [redis] nodes: ",
            "the Sentinels, as in 10.0.0.1:26379",
        ),
        (
            "mode = sentinel\nnodes = a:1\nmaster =",
            "4: [redis] master: ",
            "NAME of sentinel monitor NAME",
        ),
    ]);
}

#[test]
fn keys_about_tls_are_refused_without_it() {
    let sentinel = format!("{SENTINEL}server_name = h");
    refused(&[
        (
            "ca_file = x",
            "2: [redis] ca_file: ",
            "TLS only: write rediss:// in url",
        ),
        (
            "url = unix:///s\nkey_file = x",
            "3: [redis] key_file: ",
            "a Unix socket has none",
        ),
        (&sentinel, "5: [redis] server_name: ", "write tls = true"),
    ]);
}

#[test]
fn files_for_tls_are_read_and_belong_together() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_string_lossy().into_owned()
    };
    let cert = file("c", "-----BEGIN CERTIFICATE-----\n");
    let key = file("k", "-----BEGIN RSA PRIVATE KEY-----\n");
    let tls = |keys: &str| format!("url = rediss://h\n{keys}");
    refused(&[
        (
            &tls("ca_file = x"),
            "3: [redis] ca_file = \"absent/x\": ",
            "can not be read",
        ),
        (
            &tls(&format!("ca_file = {key}")),
            "3: [redis] ca_file = ",
            "holds no CERTIFICATE",
        ),
        (
            &tls(&format!("cert_file = {cert}")),
            "3: [redis] cert_file: ",
            "needs key_file",
        ),
        (
            &tls(&format!("key_file = {key}")),
            "3: [redis] key_file: ",
            "needs cert_file",
        ),
    ]);
    let keys = tls(&format!(
        "ca_file = {cert}\ncert_file = {cert}\nkey_file = {key}\n"
    ));
    let tls = redis(&keys, &[]).unwrap().tls.unwrap();
    let identity = Identity {
        cert_file: cert.clone().into(),
        key_file: key.into(),
    };
    assert_eq!(
        (tls.ca_file, tls.identity),
        (Some(cert.into()), Some(identity))
    );
}

#[test]
fn nothing_is_concluded_from_a_bad_value() {
    for keys in [
        "mode = sentinl\nnodes = a:1\nmaster = m",
        "mode = cluster\nnodes = a",
        "url = redis:/h\nca_file = x",
        "mode = cluster\nnodes = a:1\ntls = yes\nca_file = x",
    ] {
        let why = redis(keys, &[]).unwrap_err();
        assert_eq!(why.lines().count(), 1, "{keys}: {why}");
    }
}
