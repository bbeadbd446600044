//! What a real server is told by everybody, command by command, as it says itself (`MONITOR`).

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::{Redis, SOON, wait_until};

/// Looks on until it is dropped, or the server ends.
pub struct Monitor<'a> {
    redis: &'a Redis,
    stream: TcpStream,
    /// Guards the lines so far.
    lines: Arc<Mutex<Vec<String>>>,
    reading: Option<JoinHandle<()>>,
}

impl<'a> Monitor<'a> {
    /// From now on; the server must want no password.
    pub fn start(redis: &'a Redis) -> Self {
        let stream = TcpStream::connect(redis.address()).expect("redis accepts");
        let (lines, reader) = (Arc::default(), stream.try_clone().expect("a socket"));
        (&stream).write_all(b"MONITOR\r\n").expect("it is taken");
        let read: Arc<Mutex<Vec<String>>> = Arc::clone(&lines);
        let reading = std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                let mut lines = read.lock().unwrap_or_else(PoisonError::into_inner);
                lines.push(line);
            }
        });
        let monitor = Self {
            redis,
            stream,
            lines,
            reading: Some(reading),
        };
        monitor.catch_up();
        monitor
    }

    /// How often a value was asked for so far.
    pub fn reads(&self, key: &str) -> usize {
        let is_read = |line: &&String| ["\"GET\"", "\"MGET\""].iter().any(|c| line.contains(c));
        self.of(key).iter().filter(is_read).count()
    }

    /// The commands so far that wrote a value, or tried to.
    pub fn writes(&self, key: &str) -> Vec<String> {
        let is_write = |line: &String| {
            !["GET\"", "TTL\"", "EXISTS\""]
                .iter()
                .any(|c| line.contains(c))
        };
        self.of(key).into_iter().filter(is_write).collect()
    }

    /// Every command so far that names a key.
    fn of(&self, key: &str) -> Vec<String> {
        self.catch_up();
        let quoted = format!("\"{key}\"");
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let of_key = lines.iter().filter(|line| line.contains(&quoted));
        of_key.cloned().collect()
    }

    /// Until everything that the server has done so far is here.
    fn catch_up(&self) {
        static MARKS: AtomicU64 = AtomicU64::new(0);
        let mark = format!("mark-{}", MARKS.fetch_add(1, Ordering::Relaxed));
        wait_until(SOON, "the monitor has seen it all", || {
            self.redis.query::<()>(&["ECHO", &mark]);
            let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines.iter().any(|line| line.contains(&mark))
        });
    }
}

impl Drop for Monitor<'_> {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(reading) = self.reading.take() {
            let _ = reading.join();
        }
    }
}
