//! Under systemd: what it is told, what feeds its watchdog and what does not.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;

use crate::activation::{passing, written};
use crate::harness::{
    ADMIN_LISTEN, App, Client, Config, Origin, Redis, SOON, SourceFault, let_pass, wait_until,
};

/// What the tests set for `WatchdogSec=`.
const LIMIT: Duration = Duration::from_secs(1);

#[test]
fn tells_systemd_that_it_is_ready_well_and_stopping() {
    let mut systemd = Systemd::on_a_path();
    let mut app = systemd.start(App::configured());
    systemd.wait_for("READY=1");
    let serving = format!("STATUS=serving on {}", app.address());
    assert!(
        systemd.heard[0].starts_with("READY=1\n"),
        "{:?}",
        systemd.heard
    );
    assert!(systemd.heard[0].contains(&serving), "{:?}", systemd.heard);
    systemd.wait_for_feeds(6);
    app.terminate();
    systemd.wait_for("STOPPING=1");
    assert!(app.wait_for_end(SOON).0.success());
}

#[test]
fn tells_systemd_when_redis_goes_and_when_it_comes_back() {
    let mut redis = Redis::start();
    let mut systemd = Systemd::on_an_abstract_name();
    let app = systemd.start(
        App::configured()
            .redis(&redis)
            .set("source demo", "latency", "0"),
    );
    app.wait_for_redis();
    redis.kill();
    (0..5).for_each(|n| drop(app.value(&n.to_string())));
    systemd.wait_for("without redis (breaker open)");
    redis.start_again();
    systemd.heard.clear();
    systemd.wait_for("redis up");
}

#[test]
fn feeds_the_watchdog_while_every_filler_hangs_on_a_dead_source() {
    let origin = Origin::start();
    origin.set_fault(SourceFault::Hangs);
    let mut systemd = Systemd::on_a_path();
    let config = App::configured()
        .origin(&origin)
        .set("server", "workers", "2");
    let app = systemd.start(config.set("source origin", "timeout", "8s"));
    let clients: Vec<_> = (0..6)
        .map(|n| asking(&app, &format!("/api/data/{n}")))
        .collect();
    wait_until(SOON, "both fillers hang", || {
        app.figure("/queue/fetching") == 2
    });
    systemd.heard.clear();
    systemd.wait_for_feeds(8);
    assert_eq!(app.figure("/queue/fetching"), 2, "they hung all the time");
    drop(clients);
}

#[test]
fn feeds_the_watchdog_while_idle_clients_hold_every_connection() {
    let mut systemd = Systemd::on_a_path();
    let app = systemd.start(App::configured().set("server", "max_connections", "8"));
    systemd.wait_for("READY=1");
    let mut clients = Vec::new();
    for _ in 0..4 {
        systemd.heard.clear();
        clients.extend((0..8).map(|_| app.client()));
        systemd.wait_for_feeds(2);
    }
}

#[test]
fn does_not_feed_the_watchdog_while_it_hangs() {
    let mut systemd = Systemd::on_a_path();
    let app = systemd.start(App::configured());
    systemd.wait_for_feeds(1);
    let signal = |signal| kill_process(app.pid(), signal).expect("a process of ours");
    signal(Signal::STOP);
    systemd.assert_starves();
    signal(Signal::CONT);
    systemd.heard.clear();
    systemd.wait_for_feeds(3);
}

#[test]
fn does_not_feed_the_watchdog_while_nobody_gets_in_and_nobody_is_served() {
    let mut systemd = Systemd::on_a_path();
    let app = systemd.start(App::configured().set("source demo", "latency", "0"));
    let mut client = app.client();
    client.get("/api/data/a");
    systemd.wait_for_feeds(1);
    // No descriptor is to be had, neither for a client nor for the self-request.
    let before = limit_descriptors(&app, Some(3));
    systemd.assert_starves();
    // The same, but others are served, who would be cut off by a restart.
    systemd.heard.clear();
    wait_until(SOON, "fed again", || {
        client.get("/api/data/b");
        systemd.listen();
        systemd.feeds() >= 4
    });
    systemd.assert_starves();
    limit_descriptors(&app, before);
    systemd.heard.clear();
    systemd.wait_for_feeds(3);
}

#[test]
fn livez_of_a_stranger_reaches_no_worker() {
    let app = App::configured().start();
    for path in [
        "/livez?worker=",
        "/livez?worker=00000000000000000000000000000000",
    ] {
        let response = app.get(path);
        assert_eq!(response.status, 200);
        assert!(response.json().get("worker").is_none(), "{response:?}");
    }
}

/// It is the first socket that is asked, whatever its kind.
#[test]
fn feeds_the_watchdog_through_a_unix_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = UnixListener::bind(folder.path().join("socket")).expect("a path");
    let (_folder, path) = written(App::configured());
    let mut systemd = Systemd::on_a_path();
    let mut command = passing(listener, &path);
    command
        .env("NOTIFY_SOCKET", &systemd.name)
        .env("WATCHDOG_USEC", LIMIT.as_micros().to_string())
        .env(ADMIN_LISTEN, "")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut process = command.spawn().expect("it starts");
    systemd.wait_for("READY=1\nSTATUS=serving on unix:");
    systemd.wait_for_feeds(6);
    process.kill().expect("a process of ours");
    process.wait().expect("a child of ours");
}

/// A client whose request is on its way.
fn asking(app: &App, path: &str) -> Client {
    let mut client = app.client();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
    client
}

/// Sets the soft limit of its descriptors; what it was.
fn limit_descriptors(app: &App, current: Option<u64>) -> Option<u64> {
    let pid = Some(app.pid());
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current, maximum };
    prlimit(pid, Resource::Nofile, limit)
        .expect("a process of ours")
        .current
}

/// What listens to the service in systemd's place.
struct Systemd {
    socket: UnixDatagram,
    name: String,
    /// What it was told, in its order.
    heard: Vec<String>,
    _folder: TempDir,
}

impl Systemd {
    fn on_a_path() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket of ours");
        Self::on(socket, path.to_string_lossy().into_owned(), folder)
    }

    fn on_an_abstract_name() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let name = folder.path().to_string_lossy().into_owned();
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a free name");
        Self::on(socket, format!("@{name}"), folder)
    }

    fn on(socket: UnixDatagram, name: String, folder: TempDir) -> Self {
        socket.set_nonblocking(true).expect("a socket of ours");
        Self {
            socket,
            name,
            heard: Vec::new(),
            _folder: folder,
        }
    }

    fn start(&self, config: Config) -> App {
        let limit = LIMIT.as_micros().to_string();
        config
            .environment("NOTIFY_SOCKET", &self.name)
            .environment("WATCHDOG_USEC", &limit)
            .start()
    }

    fn listen(&mut self) {
        let mut bytes = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut bytes) {
            self.heard
                .push(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
    }

    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        wait_until(SOON, text, || {
            self.listen();
            self.heard.iter().any(|heard| heard.contains(text))
        });
    }

    fn feeds(&self) -> usize {
        self.heard
            .iter()
            .filter(|heard| *heard == "WATCHDOG=1")
            .count()
    }

    /// Waits for so many, none of which comes too late.
    #[track_caller]
    fn wait_for_feeds(&mut self, count: usize) {
        let before = self.feeds();
        for more in 1..=count {
            wait_until(LIMIT, "the watchdog is fed in time", || {
                self.listen();
                self.feeds() >= before + more
            });
        }
    }

    /// Fails if the watchdog is fed from some moment soon to one when systemd would have acted.
    #[track_caller]
    fn assert_starves(&mut self) {
        let_pass(LIMIT / 2);
        self.listen();
        let fed = self.feeds();
        let_pass(LIMIT + LIMIT / 2);
        self.listen();
        assert_eq!(self.feeds(), fed, "it was fed");
    }
}
