//! The examples of docs/TOPOLOGIES.md, each taken from there and run.

use std::path::Path;

use crate::harness::{
    Admits, App, Authority, Cluster, Config, Guarded, MASTER, Origin, Redis, SOON, TlsRedis, file,
    wait_until,
};

/// The password of the examples' user, and of those without one.
const PASSWORD: &str = "of the examples";

/// The headings that have an example, each with the test that runs it.
const EXAMPLES: [&str; 9] = [
    "One server",
    "One server with a password",
    "One server with an ACL user",
    "One server behind a Unix socket",
    "One server with TLS",
    "One server with TLS and client certificates",
    "Sentinel",
    "Sentinel with logins",
    "Cluster",
];

/// What an example names, and what stands for it here.
type Ours = (&'static str, String);

/// Heading and `[redis]` section of every example on the page.
fn examples() -> Vec<(String, String)> {
    let page = std::fs::read_to_string(file("docs/TOPOLOGIES.md")).expect("the page");
    let mut heading = "";
    let mut found: Vec<(String, String)> = Vec::new();
    let mut is_inside = false;
    for line in page.lines() {
        match line {
            "```ini" => found.push((heading.to_owned(), String::new())),
            _ if is_inside && line != "```" => {
                let (_, text) = found.last_mut().expect("it has begun");
                text.push_str(&format!("{line}\n"));
            }
            _ => heading = line.strip_prefix("## ").unwrap_or(heading),
        }
        is_inside = line == "```ini" || (is_inside && line != "```");
    }
    found
}

/// The configuration of an example, with `ours` in place of what it names.
#[track_caller]
fn example(heading: &str, ours: &[Ours]) -> Config {
    let all = examples();
    let text = all.iter().find(|(title, _)| title == heading);
    let (_, text) = text.unwrap_or_else(|| panic!("no example under {heading}"));
    let mut text = text.clone();
    for (from, to) in ours {
        assert!(text.contains(from), "{heading} has no {from}: {text}");
        text = text.replace(from, to);
    }
    let keys = text.strip_prefix("[redis]\n").expect("a section");
    let keys = keys
        .lines()
        .map(|line| line.split_once(" = ").expect("key = value"));
    keys.fold(App::configured(), |config, (key, value)| {
        config.set("redis", key, value)
    })
}

/// Values are read from and written to `redis` by the app with `config`.
#[track_caller]
fn works(redis: &Redis, config: Config) {
    let origin = Origin::start();
    redis.set("a", "from redis");
    let app = config.origin(&origin).connect();
    assert_eq!(app.value("a"), ("from redis".into(), "cache".into()));
    assert_eq!(app.value("b").1, "primary");
    wait_until(SOON, "it is written", || redis.value("b").is_some());
}

fn at(redis: &Redis) -> Ours {
    ("redis.example:6379", redis.address().to_string())
}

fn at_tls(server: &TlsRedis) -> Ours {
    let address = format!("localhost:{}", server.address().port());
    ("redis.example:6380", address)
}

fn password_file(folder: &Path) -> Ours {
    let file = folder.join("redis_password");
    std::fs::write(&file, format!("{PASSWORD}\n")).expect("a file of ours");
    ("/etc/evenkeel/redis_password", text(&file))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// What the page says that a user needs, and nobody else is let in.
fn admit_user(redis: &Redis) {
    let secret = format!(">{PASSWORD}");
    redis.query::<()>(&[
        "ACL", "SETUSER", "shop", "on", &secret, "~*", "+get", "+set",
    ]);
    redis.set_password("of the tests");
}

#[test]
fn every_example_is_run() {
    let headings: Vec<String> = examples().into_iter().map(|(heading, _)| heading).collect();
    assert_eq!(headings, EXAMPLES);
}

#[test]
fn one_server_works_as_written() {
    let redis = Redis::start();
    works(&redis, example("One server", &[at(&redis)]));
}

#[test]
fn one_server_with_a_password_works_as_written() {
    let (redis, folder) = (Redis::start(), tempfile::tempdir().expect("a folder"));
    redis.set_password(PASSWORD);
    let ours = [at(&redis), password_file(folder.path())];
    works(&redis, example("One server with a password", &ours));
}

#[test]
fn one_server_with_an_acl_user_works_as_written() {
    let (redis, folder) = (Redis::start(), tempfile::tempdir().expect("a folder"));
    admit_user(&redis);
    let ours = [at(&redis), password_file(folder.path())];
    works(&redis, example("One server with an ACL user", &ours));
}

#[test]
fn one_server_behind_a_unix_socket_works_as_written() {
    let (redis, folder) = (Redis::start(), tempfile::tempdir().expect("a folder"));
    admit_user(&redis);
    let socket = ("unix:///run/redis/redis.sock", redis.socket_url());
    let ours = [socket, password_file(folder.path())];
    works(&redis, example("One server behind a Unix socket", &ours));
}

#[test]
fn one_server_with_tls_works_as_written() {
    let authority = Authority::new();
    let certificate = authority.issue(&["localhost"]);
    let server = TlsRedis::start(&certificate, &authority, Admits::Everybody);
    let ours = [
        at_tls(&server),
        ("/etc/evenkeel/redis-ca.crt", text(&authority.file())),
    ];
    works(&server.redis, example("One server with TLS", &ours));
}

#[test]
fn one_server_with_tls_and_client_certificates_works_as_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new();
    let certificate = authority.issue(&["localhost"]);
    let server = TlsRedis::start(&certificate, &authority, Admits::Certificates);
    admit_user(&server.redis);
    let certificate = authority.issue(&["evenkeel"]);
    let ours = [
        at_tls(&server),
        ("/etc/evenkeel/redis-ca.crt", text(&authority.file())),
        ("/etc/evenkeel/evenkeel.crt", text(&certificate.cert_file)),
        ("/etc/evenkeel/evenkeel.key", text(&certificate.key_file)),
        password_file(folder.path()),
    ];
    let config = example("One server with TLS and client certificates", &ours);
    works(&server.redis, config);
}

/// The example's Sentinels and master.
fn watched_by(guarded: &Guarded) -> [Ours; 2] {
    let all = "sentinel-1.example:26379, sentinel-2.example:26379, sentinel-3.example:26379";
    [
        (all, guarded.nodes()),
        ("= shop\n", format!("= {MASTER}\n")),
    ]
}

#[test]
fn sentinel_works_as_written() {
    let guarded = Guarded::start();
    works(
        &guarded.servers[0],
        example("Sentinel", &watched_by(&guarded)),
    );
}

#[test]
fn sentinel_with_logins_works_as_written() {
    let (guarded, folder) = (Guarded::start(), tempfile::tempdir().expect("a folder"));
    let rights = ["+sentinel|get-master-addr-by-name", "+sentinel|master"];
    for sentinel in &guarded.sentinels {
        let user = ["ACL", "SETUSER", "watcher", "on", ">of a watcher"];
        sentinel.query::<()>(&[&user[..], &rights].concat());
        let default = ["ACL", "SETUSER", "default", "resetpass", ">of the tests"];
        sentinel.query::<()>(&default);
    }
    admit_user(&guarded.servers[0]);
    let watcher = folder.path().join("sentinel_password");
    std::fs::write(&watcher, "of a watcher").expect("a file of ours");
    let [nodes, _] = watched_by(&guarded);
    let ours = [
        nodes,
        ("master = shop", format!("master = {MASTER}")),
        password_file(folder.path()),
        ("/etc/evenkeel/sentinel_password", text(&watcher)),
    ];
    works(&guarded.servers[0], example("Sentinel with logins", &ours));
}

#[test]
fn cluster_works_as_written() {
    let cluster = Cluster::start();
    let nodes = "node-1.example:6379, node-2.example:6379, node-3.example:6379";
    let config = example("Cluster", &[(nodes, cluster.seeds())]);
    // Where the two keys of the test are: slot 15495 and slot 3300.
    let (a, b) = (&cluster.masters[2], &cluster.masters[0]);
    let origin = Origin::start();
    a.set("a", "from redis");
    let app = config.origin(&origin).connect();
    assert_eq!(app.value("a"), ("from redis".into(), "cache".into()));
    assert_eq!(app.value("b").1, "primary");
    wait_until(SOON, "it is written", || b.value("b").is_some());
}
