//! A real `redis-server` of a test's own, and what can happen to one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{FromRedisValue, IntoConnectionInfo};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{SOON, free_address, wait_until};

/// A server on a port of its own, which it keeps over restarts. Killed when dropped.
pub struct Redis {
    address: SocketAddr,
    folder: TempDir,
    process: Option<Child>,
    /// What it is told beyond the usual.
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

    /// One that runs, empty, and is told this too, whenever it starts.
    pub fn start_with(arguments: &[&str]) -> Self {
        let mut redis = Self::not_started();
        redis.arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        redis.start_again();
        redis
    }

    /// A port on which nobody listens, until [`Self::start_again`].
    pub fn not_started() -> Self {
        Self {
            address: free_address(),
            folder: tempfile::tempdir().expect("a folder for redis"),
            process: None,
            arguments: Vec::new(),
            password: Mutex::default(),
        }
    }

    /// Starts it on its port, with an empty data set and without a password.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        self.password().clear();
        let port = self.address.port().to_string();
        let process = Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .args(["--dir".as_ref(), self.folder.path().as_os_str()])
            .args(["--unixsocket".as_ref(), self.socket().as_os_str()])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed (tests/run does that)");
        self.process = Some(process);
        wait_until(SOON, "redis-server answers", || {
            self.try_query::<u64>(&["DBSIZE"]).is_ok()
        });
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

    fn try_query<T: FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let mut server = self.url().into_connection_info()?;
        let password = self.password().clone();
        if !password.is_empty() {
            let settings = server.redis_settings().clone().set_password(password);
            server = server.set_redis_settings(settings);
        }
        let limit = Duration::from_secs(5);
        let mut connection = redis::Client::open(server)?.get_connection_with_timeout(limit)?;
        connection.set_read_timeout(Some(limit))?;
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        command.query(&mut connection)
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

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
