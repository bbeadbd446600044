//! Sockets that systemd passes: all are served or there is no start, and a restart on one refuses nobody.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::harness::{
    App, Client, Config, Output, SOON, evenkeel, free_address, let_pass, wait_until,
};

#[test]
fn is_started_by_the_first_connection_to_a_socket_of_systemd() {
    let address = free_address();
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
    let (one, other) = (free_address(), free_address());
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

/// A configuration as a file.
pub fn written(config: Config) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.ini");
    std::fs::write(&path, config.text()).expect("a file of ours");
    let path = path.to_string_lossy().into_owned();
    (folder, path)
}

/// The binary with a socket as descriptor 3, as systemd starts it. The number of the process is known
/// only there.
pub fn passing(socket: impl Into<OwnedFd>, config: &str) -> Command {
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
