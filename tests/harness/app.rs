//! The real binary in a folder of its own, and what can be learned of its process from outside.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{Client, Config, Origin, Redis, SOON, turn, wait_until};

/// A file of this repository.
pub fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The binary under test; `TEST_BINARY` names another one, as of a release build.
pub fn binary() -> OsString {
    std::env::var_os("TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_evenkeel").into())
}

/// `promtool` of the system, or the one that tests/run has fetched.
pub fn promtool(arguments: &[&str]) -> Command {
    let fetched = file("target/tools/promtool");
    let mut command = match fetched.exists() {
        true => Command::new(fetched),
        false => Command::new("promtool"),
    };
    command.args(arguments).stdout(Stdio::piped());
    command
}

/// The binary with arguments, and nothing of this process's environment that it would read.
pub fn evenkeel(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("EVENKEEL_") || name == "CREDENTIALS_DIRECTORY" {
            command.env_remove(name);
        }
    }
    command
}

/// What a run of the binary that ends by itself comes to.
#[derive(Debug)]
pub struct Output {
    /// The exit code.
    pub code: Option<i32>,
    /// What it said.
    pub out: String,
    /// What it said of itself.
    pub err: String,
}

impl Output {
    /// Runs `command` to its end; one that does not end in time is killed, and the test fails.
    pub fn of(command: &mut Command) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (out, err) = (folder.path().join("out"), folder.path().join("err"));
        let create = |path| std::fs::File::create(path).expect("a file of ours");
        let process = command.stdout(create(&out)).stderr(create(&err)).spawn();
        let mut process = Process(process.expect("the binary starts"));
        let status = process.wait(SOON);
        let read = |path| std::fs::read_to_string(path).expect("text");
        Self {
            code: status.code(),
            out: read(&out),
            err: read(&err),
        }
    }
}

/// Connections to Redis that may be open at one time and not at another: those of two readers, of the
/// writer and of the upkeep.
pub const REDIS_CONNECTIONS_MAX: usize = 4;

/// Where operators look: every app of a test has a free port for them, unless the test says otherwise.
pub const ADMIN_LISTEN: &str = "EVENKEEL_ADMIN_LISTEN";

/// A running app. Killed when dropped.
pub struct App {
    process: Process,
    address: SocketAddr,
    folder: TempDir,
}

impl App {
    /// A configuration that listens on a free port of this machine; the rest is default.
    pub fn configured() -> Config {
        Config::default()
    }

    /// The same of this Redis and this origin.
    pub fn with(redis: &Redis, origin: &Origin) -> Config {
        Self::configured().redis(redis).origin(origin)
    }

    /// Runs `command` and waits until it says where it listens.
    pub fn run(
        command: &mut Command,
        environment: &[(String, String)],
        folder: Option<TempDir>,
    ) -> Self {
        turn::share();
        let folder = folder.unwrap_or_else(|| tempfile::tempdir().expect("a folder for the app"));
        let log = std::fs::File::create(folder.path().join("log")).expect("a file of ours");
        command
            .env(ADMIN_LISTEN, "127.0.0.1:0")
            .envs(environment.iter().cloned())
            .stdout(Stdio::null())
            .stderr(log);
        let process = Process(command.spawn().expect("the binary starts"));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut app = Self {
            process,
            address,
            folder,
        };
        wait_until(SOON, "the app listens", || {
            let log = app.log();
            assert!(
                app.process.0.try_wait().expect("a child").is_none(),
                "it ended: {log}"
            );
            // A line is written in pieces: it counts when it is whole.
            let said = log
                .split_once("listens on ")
                .and_then(|(_, after)| after.split_once('\n'));
            let port = said.and_then(|(address, _)| address.rsplit(':').next()?.parse().ok());
            port.map(|port| app.address.set_port(port)).is_some()
        });
        app
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new connection to it.
    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// One `GET` over a connection of its own.
    pub fn get(&self, path: &str) -> super::Response {
        self.client().get(path)
    }

    /// The value of a key, and where it came from.
    #[track_caller]
    pub fn value(&self, key: &str) -> (String, String) {
        self.get(&format!("/api/data/{key}")).value()
    }

    /// What it has said of itself so far.
    pub fn log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.folder.path().join(name));
        // A process that is killed may leave half a character.
        read("log").unwrap_or_default()
    }

    /// The lines of the log that hold `text`.
    pub fn log_lines(&self, text: &str) -> usize {
        self.log()
            .lines()
            .filter(|line| line.contains(text))
            .count()
    }

    /// Where the admin door is.
    pub fn admin_address(&self) -> SocketAddr {
        let log = self.log();
        let said = log.split_once("admin door on ").expect("it has one").1;
        let address = said.split_once(": ").expect("a whole line").0;
        address.parse().expect("an address")
    }

    /// One `GET` at the admin door.
    pub fn admin(&self, path: &str) -> super::Response {
        Client::connect(self.admin_address()).get(path)
    }

    /// The sum of the samples of `/metrics` whose name and labels hold all of `words`.
    pub fn metric(&self, name: &str, words: &[&str]) -> f64 {
        let page = self.admin("/metrics").text();
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| line.rsplit_once(' '));
        let of_these = samples.filter(|(series, _)| {
            series.split('{').next() == Some(name) && words.iter().all(|word| series.contains(word))
        });
        of_these
            .map(|(_, value)| value.parse::<f64>().expect("a number"))
            .sum()
    }

    /// `/healthz`.
    pub fn health(&self) -> Value {
        self.get("/healthz").json()
    }

    /// A number of `/healthz`, by its JSON pointer.
    pub fn figure(&self, pointer: &str) -> u64 {
        let health = self.health();
        let figure = health.pointer(pointer).and_then(Value::as_u64);
        figure.unwrap_or_else(|| panic!("no {pointer} in {health}"))
    }

    /// Whether Redis counts as up.
    pub fn redis_is_up(&self) -> bool {
        self.health()["redis"]["status"] == "up"
    }

    /// Waits until Redis counts as up.
    pub fn wait_for_redis(&self) {
        wait_until(SOON, "redis is up for the app", || self.redis_is_up());
    }

    /// Waits until Redis counts as down.
    pub fn wait_for_outage(&self) {
        wait_until(SOON, "redis is down for the app", || !self.redis_is_up());
    }

    /// Threads of the process.
    pub fn threads(&self) -> usize {
        self.entries("task")
    }

    /// Open file descriptors of the process.
    pub fn descriptors(&self) -> usize {
        self.entries("fd")
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most memory that was resident at once, in bytes.
    pub fn most_resident_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.expect("a figure in kB") * 1024
    }

    /// Asks it to end, as systemd does.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Asks it to end, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Waits for its end, and how long that took.
    pub fn wait_for_end(&mut self, limit: Duration) -> (ExitStatus, Duration) {
        let began = Instant::now();
        let status = self.process.wait(limit);
        (status, began.elapsed())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process.0), signal).expect("a process of ours");
    }

    fn entries(&self, folder: &str) -> usize {
        std::fs::read_dir(self.proc(folder))
            .expect("it runs")
            .count()
    }

    /// One of its files in `/proc`.
    pub fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.process.0.id()))
    }
}

/// A child that does not outlive its owner.
struct Process(Child);

impl Process {
    fn wait(&mut self, limit: Duration) -> ExitStatus {
        let mut status = None;
        wait_until(limit, "the process ends", || {
            status = self.0.try_wait().expect("a child of ours");
            status.is_some()
        });
        status.expect("it has ended")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
