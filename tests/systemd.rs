//! Under systemd: what it is told, what feeds its watchdog and what does not, and a restart on a
//! socket that it holds.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;

use crate::harness::{
    ADMIN_LISTEN, App, Client, Config, Origin, Output, Redis, SOON, SourceFault, evenkeel,
    let_pass, wait_until,
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

#[test]
fn is_started_by_the_first_connection_to_a_socket_of_systemd() {
    let address = crate::harness::free_address();
    let (_folder, path) = written(App::configured().set("server", "listen", "127.0.0.1:1"));
    let log = tempfile::NamedTempFile::new().expect("a file of ours");
    let mut systemd = Command::new("systemd-socket-activate")
        .args([
            "-l",
            &address.to_string(),
            env!("CARGO_BIN_EXE_evenkeel"),
            "--config",
            &path,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.reopen().expect("a file of ours"))
        .spawn()
        .expect("systemd is installed (tests/run does that)");
    wait_until(SOON, "the socket is there", || {
        Client::try_connect(address).is_ok()
    });
    let status = Client::connect(address).get("/readyz").status;
    // It has become evenkeel: systemd-socket-activate does not fork.
    kill_process(Pid::from_child(&systemd), Signal::TERM).expect("a process of ours");
    wait_until(SOON, "the end", || {
        systemd.try_wait().expect("a child of ours").is_some()
    });
    let log = std::fs::read_to_string(log.path()).expect("text");
    assert_eq!(status, 200, "{log}");
    assert!(
        log.contains("the socket that systemd passed is used"),
        "{log}"
    );
}

/// Rule 17: whoever connects to a socket that nobody serves would wait for ever.
#[test]
fn every_stream_socket_that_systemd_passes_is_served() {
    let (one, other) = (
        crate::harness::free_address(),
        crate::harness::free_address(),
    );
    let (folder, path) = written(App::configured().set("server", "listen", "127.0.0.1:1"));
    let unix = folder.path().join("socket");
    let log = tempfile::NamedTempFile::new().expect("a file of ours");
    let listen = [
        one.to_string(),
        unix.to_string_lossy().into_owned(),
        other.to_string(),
    ];
    let mut systemd = Command::new("systemd-socket-activate")
        .args(listen.iter().flat_map(|address| ["-l", address]))
        .args([env!("CARGO_BIN_EXE_evenkeel"), "--config", &path])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.reopen().expect("a file of ours"))
        .spawn()
        .expect("systemd is installed (tests/run does that)");
    wait_until(SOON, "the sockets are there", || {
        Client::try_connect(other).is_ok()
    });
    for _ in 0..5 {
        for address in [one, other] {
            assert_eq!(Client::connect(address).get("/readyz").status, 200);
        }
        let mut client = UnixStream::connect(&unix).expect("it listens");
        let request = b"GET /readyz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        client.write_all(request).expect("it reads");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    kill_process(Pid::from_child(&systemd), Signal::TERM).expect("a process of ours");
    wait_until(SOON, "the end", || {
        systemd.try_wait().expect("a child of ours").is_some()
    });
    let log = std::fs::read_to_string(log.path()).expect("text");
    let said = format!("listens on {one}, unix:{}, {other}\n", unix.display());
    assert!(log.contains(&said), "{log}");
    assert!(
        log.contains("the 3 sockets that systemd passed are used"),
        "{log}"
    );
}

/// Through a Unix socket as through a port: systemd-socket-activate has no watchdog, but it is the first
/// socket that is asked.
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

#[test]
fn refuses_to_start_on_what_is_passed_and_is_no_listening_stream_socket() {
    let (_folder, path) = written(App::configured());
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let connected = TcpStream::connect(listener.local_addr().expect("ours")).expect("it listens");
    let file = tempfile::tempfile().expect("a file of ours");
    let (unix, _other) = UnixDatagram::pair().expect("two sockets");
    for (passed, what) in [
        (
            OwnedFd::from(datagrams),
            "a socket for datagrams or packets",
        ),
        (unix.into(), "a socket for datagrams or packets"),
        (connected.into(), "a socket that does not listen"),
        (file.into(), "no socket"),
    ] {
        let output = Output::of(&mut passing(passed, &path));
        assert_eq!(output.code, Some(69), "{output:?}");
        let reason =
            format!("cannot listen: descriptor 3, passed by systemd, is {what} and no listening");
        assert!(output.err.contains(&reason), "{output:?}");
    }
}

#[test]
fn a_socket_that_was_passed_to_another_process_is_not_taken() {
    let (_folder, path) = written(App::configured().set("server", "listen", "127.0.0.1:0"));
    let mut command = evenkeel(&["--config", &path]);
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    let app = App::run(&mut command, &[], None);
    assert_eq!(app.log_lines("the socket that systemd passed"), 0);
    assert_eq!(app.get("/livez").status, 200);
}

#[test]
fn a_restart_on_a_socket_of_systemd_refuses_no_connection_and_loses_no_request() {
    let systemd = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = systemd.local_addr().expect("a socket of ours");
    let config = App::configured().set("source demo", "latency", "1ms");
    let (_folder, path) = written(config);
    let start = || {
        let listener = systemd.try_clone().expect("a descriptor");
        App::run(&mut passing(listener, &path), &[], None)
    };
    let mut app = start();
    let stop = Arc::new(AtomicBool::new(false));
    let clients = (0..12).map(|number| {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || keep_asking(address, number, number % 2 == 0, &stop))
    });
    let clients: Vec<_> = clients.collect();
    for _ in 0..4 {
        let_pass(Duration::from_millis(300));
        app.terminate();
        let (status, took) = app.wait_for_end(SOON);
        assert!(
            status.success() && took < Duration::from_secs(2),
            "{status} {took:?}"
        );
        // Nobody serves: who connects now waits for the next process.
        let_pass(Duration::from_millis(200));
        app = start();
    }
    let_pass(Duration::from_millis(300));
    stop.store(true, Ordering::Relaxed);
    let mut answers = Vec::new();
    for client in clients {
        answers.extend(client.join().expect("no request is lost"));
    }
    let slowest = answers.iter().max().expect("answers");
    println!(
        "{} answers over 4 restarts, the slowest after {slowest:?}",
        answers.len()
    );
    assert!(answers.len() > 400, "{} answers: no load", answers.len());
    // The drain of idle connections, the gap of this test, the start, and a busy machine.
    assert!(*slowest < Duration::from_secs(3), "{slowest:?}");
}

/// Asks until told to stop, over one connection as long as it is kept or over a new one each time, and
/// panics at anything but a right answer; how long each took, with the connecting.
fn keep_asking(
    address: SocketAddr,
    number: usize,
    keeps: bool,
    stop: &AtomicBool,
) -> Vec<Duration> {
    let mut answers = Vec::new();
    let mut kept = None;
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let mut client = kept.take().unwrap_or_else(|| Client::connect(address));
        let path = format!("/api/data/{number}-{}", answers.len());
        let response = match keeps {
            true => client.get(&path),
            false => client.ask("GET", &path, "Connection: close\r\n"),
        };
        answers.push(began.elapsed());
        let (value, _) = response.value();
        assert!(
            value.starts_with(&format!("Data for {}", &path["/api/data/".len()..])),
            "{value}"
        );
        kept = (response.field("connection") != Some("close")).then_some(client);
    }
    answers
}

/// A client whose request is on its way.
fn asking(app: &App, path: &str) -> Client {
    let mut client = app.client();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
    client
}

/// A configuration as a file.
fn written(config: Config) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.ini");
    std::fs::write(&path, config.text()).expect("a file of ours");
    let path = path.to_string_lossy().into_owned();
    (folder, path)
}

/// The binary with a socket as descriptor 3, as systemd starts it. The number of the process is known
/// only there.
fn passing(socket: impl Into<OwnedFd>, config: &str) -> Command {
    let script = "exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args([
        "-c",
        script,
        "sh",
        env!("CARGO_BIN_EXE_evenkeel"),
        "--config",
        config,
    ]);
    command.stdin(Stdio::from(socket.into()));
    command
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
