//! A real `redis-server` of a test's own, and what can happen to one.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{FromRedisValue, IntoConnectionInfo};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{SOON, free_address, wait_until};

/// How long a server that loads takes for each key, and how rarely it answers meanwhile.
const SLOW_LOADING: [&str; 4] = [
    "--key-load-delay",
    "100",
    "--loading-process-events-interval-bytes",
    "1024",
];

/// A server on a port of its own, which it keeps over restarts. Killed when dropped.
pub struct Redis {
    address: SocketAddr,
    folder: TempDir,
    process: Option<Child>,
    /// A file that it begins with, if there is one.
    settings: Option<PathBuf>,
    /// What it is told beyond the usual, at every start.
    arguments: Vec<String>,
    /// Guards what [`Self::set_password`] has set; empty: none.
    password: Mutex<String>,
}

impl Redis {
    /// One that runs, empty.
    pub fn start() -> Self {
        let mut redis = Self::not_started();
        redis.start_again();
        redis
    }

    /// One that keeps its files in memory: a node of a cluster syncs one to disk whenever the cluster
    /// changes, and hangs for as long as a busy disk takes for that.
    pub fn start_in_memory(arguments: &[&str]) -> Self {
        let mut redis = Self::not_started();
        if let Ok(folder) = tempfile::tempdir_in("/dev/shm") {
            redis.folder = folder;
        }
        redis.set_arguments(arguments);
        redis.start_again();
        redis
    }

    /// A port on which nobody listens, until [`Self::start_again`].
    pub fn not_started() -> Self {
        Self {
            address: free_address(),
            folder: tempfile::tempdir().expect("a folder for redis"),
            process: None,
            settings: None,
            arguments: Vec::new(),
            password: Mutex::default(),
        }
    }

    /// One that runs, empty, and is told this too, whenever it starts.
    pub fn start_with(arguments: &[&str]) -> Self {
        let mut redis = Self::not_started();
        redis.set_arguments(arguments);
        redis.start_again();
        redis
    }

    /// From its next start on.
    pub fn set_arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|&word| word.to_owned()).collect();
    }

    /// From its next start on it begins with this file, which it may write to.
    pub fn set_settings(&mut self, settings: &str) {
        let file = self.folder.path().join("redis.conf");
        std::fs::write(&file, settings).expect("a file of ours");
        self.settings = Some(file);
    }

    /// One on the same port of another address of this machine.
    pub fn start_beside(other: &Self, address: IpAddr) -> Self {
        let mut redis = Self::not_started();
        redis.address = SocketAddr::new(address, other.address.port());
        redis.start_again();
        redis
    }

    /// Starts it on its port, with an empty data set and without a password.
    pub fn start_again(&mut self) {
        let _ = std::fs::remove_file(self.dump());
        self.start_with_data();
    }

    /// Starts it on its port, with what was saved.
    pub fn start_with_data(&mut self) {
        self.spawn(&[]);
        self.wait_until_it_answers();
    }

    /// Starts it on its port; it is loading what was saved, 100 us for each key.
    pub fn start_loading(&mut self) {
        self.spawn(&SLOW_LOADING);
    }

    /// Until it answers, with its data set loaded.
    pub fn wait_until_it_answers(&self) {
        wait_until(SOON, "redis-server answers", || {
            // A Sentinel has no DBSIZE, and some servers here have no PING.
            let answers = |word| self.try_query::<redis::Value>(&[word]).is_ok();
            answers("DBSIZE") || answers("PING")
        });
    }

    /// Writes its data set to disk.
    pub fn save(&self) {
        self.query::<()>(&["SAVE"]);
    }

    fn spawn(&mut self, more: &[&str]) {
        assert!(self.process.is_none(), "it runs");
        self.password().clear();
        let port = self.address.port().to_string();
        let process = Command::new("redis-server")
            .args(&self.settings)
            .args(["--port", &port, "--bind", &self.address.ip().to_string()])
            .args(["--save", "", "--appendonly", "no"])
            .args(["--dir".as_ref(), self.folder.path().as_os_str()])
            .args(["--unixsocket".as_ref(), self.socket().as_os_str()])
            .args(more)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed (tests/run does that)");
        self.process = Some(process);
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("a process of ours");
            process.wait().expect("a child of ours");
        }
    }

    /// It hangs, as after `kill -STOP`: connections are still accepted by the kernel.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on where it was frozen.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// A folder stands where it would save its data set.
    pub fn block_saving(&self) {
        let _ = std::fs::remove_file(self.dump());
        std::fs::create_dir_all(self.dump().join("full")).expect("a folder of ours");
    }

    /// Takes that away.
    pub fn allow_saving(&self) {
        std::fs::remove_dir_all(self.dump()).expect("a folder of ours");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For `[redis] url`.
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// The same over its Unix socket.
    pub fn socket_url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// One command over a connection of its own.
    #[track_caller]
    pub fn query<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_query(words)
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// A value as it is there, if there is one; what is not UTF-8 in it is replaced.
    #[track_caller]
    pub fn value(&self, key: &str) -> Option<String> {
        let bytes: Option<Vec<u8>> = self.query(&["GET", key]);
        bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Puts a value there.
    pub fn set(&self, key: &str, value: &str) {
        self.query::<()>(&["SET", key, value]);
    }

    /// From now on it wants this password; an empty one: none.
    pub fn set_password(&self, password: &str) {
        self.query::<()>(&["CONFIG", "SET", "requirepass", password]);
        *self.password() = password.to_owned();
    }

    /// Calls that it has counted of a command, as in `"get"`, since its start.
    pub fn calls(&self, command: &str) -> u64 {
        let info: String = self.query(&["INFO", "commandstats"]);
        let begin = format!("cmdstat_{command}:calls=");
        let line = info.lines().find_map(|line| line.strip_prefix(&begin));
        line.and_then(|rest| rest.split(',').next()?.parse().ok())
            .unwrap_or(0)
    }

    /// Keys that it was asked for, hit or missed, since its start: lookups of the app.
    pub fn lookups(&self) -> u64 {
        let info: String = self.query(&["INFO", "stats"]);
        let lines = info.lines().filter(|line| line.starts_with("keyspace_"));
        lines
            .filter_map(|line| line.split_once(':')?.1.parse::<u64>().ok())
            .sum()
    }

    /// A connection that is kept.
    pub fn connection(&self) -> redis::Connection {
        self.connect().expect("redis accepts")
    }

    /// A field of a section of INFO, if the server answers.
    pub fn info(&self, section: &str, field: &str) -> Option<String> {
        let info: String = self.try_query(&["INFO", section]).ok()?;
        let fields = info.lines().filter_map(|line| line.split_once(':'));
        let mut found = fields.filter(|(name, _)| *name == field);
        found.next().map(|(_, value)| value.trim().to_owned())
    }

    /// The same as [`Self::query`], where it may fail.
    pub fn try_query<T: FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        command(words).query(&mut self.connect()?)
    }

    fn connect(&self) -> redis::RedisResult<redis::Connection> {
        let mut server = self.url().into_connection_info()?;
        let password = self.password().clone();
        if !password.is_empty() {
            let settings = server.redis_settings().clone().set_password(password);
            server = server.set_redis_settings(settings);
        }
        let limit = Duration::from_secs(5);
        let connection = redis::Client::open(server)?.get_connection_with_timeout(limit)?;
        connection.set_read_timeout(Some(limit))?;
        Ok(connection)
    }

    fn dump(&self) -> PathBuf {
        self.folder.path().join("dump.rdb")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("it runs");
        kill_process(Pid::from_child(process), signal).expect("a process of ours");
    }

    fn password(&self) -> MutexGuard<'_, String> {
        self.password.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A command of these words.
pub fn command(words: &[&str]) -> redis::Cmd {
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(word);
    }
    command
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
