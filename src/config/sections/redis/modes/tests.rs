//! Which keys of `[redis]` go together, and what is said of those that do not.

use std::path::Path;

use super::*;
use crate::config::{HostPort, Protocol, Redis, parse};

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
    let folder = tempfile::tempdir().unwrap();
    let (ca_file, _) = made(folder.path(), "ca");
    let tls = format!("tls = true\nca_file = {ca_file}\nserver_name = r.example\n");
    let keys = format!("{SENTINEL}db = 3\nusername = me\nprotocol = resp3\n{tls}");
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
    let tls = Tls {
        ca_file: Some(ca_file.into()),
        identity: None,
        server_name: Some("r.example".to_owned()),
    };
    assert_eq!(redis.tls, Some(tls));
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
    let folder = tempfile::tempdir().unwrap();
    let (ca_file, _) = made(folder.path(), "ca");
    let secure = format!("url = rediss://h\ntls = true\nca_file = {ca_file}");
    assert!(redis(&secure, &[]).is_ok());
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

/// A certificate and its key, in files of `folder`.
fn made(folder: &Path, name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    (
        file(folder, &format!("{name}.crt"), &made.cert.pem()),
        file(
            folder,
            &format!("{name}.key"),
            &made.signing_key.serialize_pem(),
        ),
    )
}

fn file(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_string_lossy().into_owned()
}

#[test]
fn files_for_tls_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = made(folder.path(), "a");
    let keys = format!("url = rediss://h\nca_file = {cert}\ncert_file = {cert}\nkey_file = {key}");
    let tls = redis(&keys, &[]).unwrap().tls.unwrap();
    let identity = Identity {
        cert_file: cert.clone().into(),
        key_file: key.into(),
    };
    assert_eq!(tls.ca_file, Some(cert.into()));
    assert_eq!(tls.identity, Some(identity));
}

#[test]
fn files_that_are_of_no_use_for_tls_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ((cert, key), (_, other)) = (made(folder.path(), "a"), made(folder.path(), "b"));
    let block = |what: &str| format!("-----BEGIN {what}-----\nAAAA\n-----END {what}-----\n");
    let broken = file(folder.path(), "broken", &block("CERTIFICATE"));
    let locked = file(folder.path(), "locked", &block("ENCRYPTED PRIVATE KEY"));
    let tls = |keys: &str| format!("url = rediss://h\nca_file = {cert}\n{keys}");
    let pair = |cert: &str, key: &str| tls(&format!("cert_file = {cert}\nkey_file = {key}"));
    refused(&[
        (
            "url = rediss://h\nca_file = x",
            "3: [redis] ca_file = \"absent/x\": ",
            "can not be read",
        ),
        (
            &format!("url = rediss://h\nca_file = {key}"),
            "3: [redis] ca_file = ",
            "holds no certificate in PEM",
        ),
        (
            &format!("url = rediss://h\nca_file = {broken}"),
            "3: [redis] ca_file = ",
            "has a bad certificate, number 1",
        ),
        (
            &tls(&format!("cert_file = {cert}")),
            "4: [redis] cert_file: ",
            "needs key_file",
        ),
        (
            &tls(&format!("key_file = {key}")),
            "4: [redis] key_file: ",
            "needs cert_file",
        ),
        (
            &pair(&cert, &other),
            "5: [redis] key_file = ",
            "is not the key of cert_file",
        ),
        (
            &pair(&cert, &cert),
            "5: [redis] key_file = ",
            "holds no private key",
        ),
        (
            &pair(&cert, &locked),
            "5: [redis] key_file = ",
            "has a passphrase",
        ),
        (
            &pair(&key, &key),
            "4: [redis] cert_file = ",
            "holds no certificate",
        ),
    ]);
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
