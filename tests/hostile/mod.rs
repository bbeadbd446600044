//! The front door under attack (issue 3): every test hurts the server in one way while a second client,
//! the [`Witness`], asks on and has to be answered within a second.

mod bodies;
mod heads;
mod connections;
mod pipelines;
mod slow_readers;
mod running_out;
mod overload;
mod header_safety;
mod drain;
mod races;

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::harness::{App, Client, Config, Redis, binary, let_pass};

/// What the issue asks for: how long a well-behaved client may have to wait meanwhile.
const PROMISED: Duration = Duration::from_secs(1);

/// Short limits, so that what ends by time ends soon.
fn short_limits() -> Config {
    App::configured()
        .set("server", "head_timeout", "1s")
        .set("server", "idle_timeout", "3s")
        .set("server", "write_timeout", "1s")
        .set("source demo", "latency", "0")
}

/// The app and the id of its process.
struct Target {
    app: App,
    id: u32,
    /// Ends after the app.
    redis: Redis,
}

impl std::ops::Deref for Target {
    type Target = App;

    fn deref(&self) -> &App {
        &self.app
    }
}

impl Target {
    /// With short limits, a Redis, and `known` in it.
    fn start() -> Self {
        Self::start_with(short_limits(), "")
    }

    /// With these settings, after these shell commands.
    fn start_with(config: Config, before: &str) -> Self {
        let redis = Redis::start();
        redis.set("known", "the value");
        Self::start_on(redis, config, before)
    }

    fn start_on(redis: Redis, config: Config, before: &str) -> Self {
        let mut config = config.redis(&redis).set("server", "listen", "127.0.0.1:0");
        let folder = config.folder();
        std::fs::write(folder.join("config.ini"), config.text()).expect("a file of ours");
        let script = format!(
            "cd '{}'; echo $$ > id; {before} exec \"$@\"",
            folder.display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]).arg(binary());
        command.args(["--config".as_ref(), folder.join("config.ini").as_os_str()]);
        let app = App::run(&mut command, &[], None);
        let id = std::fs::read_to_string(folder.join("id")).expect("the shell wrote it");
        let target = Self {
            app,
            id: id.trim().parse().expect("a number"),
            redis,
        };
        target.wait_for_redis();
        target
    }

    /// CPU time used so far, in ticks of 10 ms.
    fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id)).expect("it runs");
        let after = stat.rsplit(')').next().expect("a name in brackets");
        let words: Vec<_> = after.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<u64>().expect("a number");
        number(11) + number(12)
    }

    /// The most memory that was resident at once.
    fn most_resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id)).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.expect("a figure in kB") * 1024
    }

    /// Changes a limit of the running process, as in `--nofile=64:64`.
    fn limit(&self, limit: &str) {
        // As its own user: the limits of others are not even ours to set as root in a container.
        let user = std::fs::metadata(format!("/proc/{}", self.id))
            .expect("it runs")
            .uid()
            .to_string();
        let run = Command::new("setpriv")
            .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
            .args(["prlimit", "--pid", &self.id.to_string(), limit])
            .status();
        assert!(
            run.expect("util-linux is installed").success(),
            "prlimit {limit}"
        );
    }

    fn witness(&self) -> Witness {
        Witness::start(self.address())
    }
}

/// A well-behaved client: a hit over a kept connection, a health check over a new one, and again.
struct Witness {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Witness {
    fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || watch(address, &stopped));
        Self { stop, thread }
    }

    /// Fails unless every request was answered in time; how many there were, and the slowest.
    #[track_caller]
    fn assert_served(self) -> (usize, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let answers = self.thread.join().expect("the witness was answered");
        let slowest = answers.iter().max().copied().expect("it asked");
        assert!(slowest < PROMISED, "the witness waited {slowest:?}");
        (answers.len(), slowest)
    }
}

fn watch(address: SocketAddr, stop: &AtomicBool) -> Vec<Duration> {
    let mut answers = Vec::new();
    let mut kept = Client::connect(address);
    while !stop.load(Ordering::Relaxed) || answers.is_empty() {
        let began = Instant::now();
        let sent = kept.try_send("GET /api/data/known HTTP/1.1\r\nHost: w\r\n\r\n");
        let answer = sent.ok().and_then(|()| kept.response(false).ok());
        let answer = answer.unwrap_or_else(|| {
            // A kept connection may be closed between two requests: a client tries once more.
            kept = Client::connect(address);
            kept.get("/api/data/known")
        });
        assert_eq!(answer.value().0, "the value", "the witness");
        answers.push(began.elapsed());
        let began = Instant::now();
        assert_eq!(
            Client::connect(address).get("/livez").status,
            200,
            "the witness"
        );
        answers.push(began.elapsed());
        let_pass(Duration::from_millis(10));
    }
    answers
}

/// A raw connection.
fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_nodelay(true).expect("a socket of ours");
    stream
}

/// Ends a connection with a reset.
fn reset(stream: TcpStream) {
    let socket = socket2::Socket::from(stream);
    socket
        .set_linger(Some(Duration::ZERO))
        .expect("a socket of ours");
}

/// Responses in `bytes`; none of the test values looks like one.
fn count_responses(bytes: &[u8]) -> usize {
    bytes
        .windows(9)
        .filter(|window| window == b"HTTP/1.1 ")
        .count()
}
