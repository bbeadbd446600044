//! What `FakeRedis` holds, and what a Redis answers, as it goes over the wire.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Values by key, some of which end.
#[derive(Default)]
pub struct Values {
    all: HashMap<String, (String, Option<Instant>)>,
}

impl Values {
    /// A value, unless its life is over.
    pub fn value(&self, key: &str) -> Option<&str> {
        let (value, end) = self.all.get(key)?;
        let lives = end.is_none_or(|end| Instant::now() < end);
        lives.then_some(value)
    }

    /// What Redis answers, as it goes over the wire.
    pub fn usual(&mut self, words: &[&str]) -> String {
        let ok = || "+OK\r\n".to_owned();
        match words {
            ["PING"] => "+PONG\r\n".to_owned(),
            ["GET", key] => bulk(self.value(key)),
            ["MGET", keys @ ..] => {
                let elements = keys.iter().map(|key| bulk(self.value(key)));
                format!("*{}\r\n{}", keys.len(), elements.collect::<String>())
            }
            ["EXISTS", keys @ ..] => {
                let there = keys.iter().filter(|key| self.value(key).is_some());
                format!(":{}\r\n", there.count())
            }
            ["SET", key, value, options @ ..] => self.put(key, value, options),
            ["DEL", keys @ ..] => {
                let gone = keys.iter().filter_map(|key| self.all.remove(*key));
                format!(":{}\r\n", gone.count())
            }
            ["PTTL", key] => match self.all.get(*key) {
                None => ":-2\r\n".to_owned(),
                Some((_, None)) => ":-1\r\n".to_owned(),
                Some((_, Some(end))) => {
                    let left = end.saturating_duration_since(Instant::now());
                    format!(":{}\r\n", left.as_millis())
                }
            },
            ["AUTH" | "SELECT" | "CLIENT", ..] => ok(),
            ["ROLE"] => "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n".to_owned(),
            ["INFO", ..] => bulk(Some(
                "# Server\r\nredis_version:7.0.15\r\nrun_id:0123456789abcdef\r\nrole:master\r\n",
            )),
            [command, ..] => format!("-ERR unknown command '{command}'\r\n"),
            [] => "-ERR Protocol error\r\n".to_owned(),
        }
    }

    fn put(&mut self, key: &str, value: &str, options: &[&str]) -> String {
        let is_told = |word: &str| options.iter().any(|told| told.eq_ignore_ascii_case(word));
        if is_told("NX") && self.value(key).is_some() {
            return bulk(None);
        }
        let mut pairs = options.windows(2);
        let life = pairs.find_map(|pair| match (pair[0], pair[1].parse()) {
            ("EX", Ok(count)) => Some(Duration::from_secs(count)),
            ("PX", Ok(count)) => Some(Duration::from_millis(count)),
            _ => None,
        });
        let end = life.map(|life| Instant::now() + life);
        self.all.insert(key.to_owned(), (value.to_owned(), end));
        "+OK\r\n".to_owned()
    }
}

/// A string as it goes over the wire, or none.
pub fn bulk(value: Option<&str>) -> String {
    match value {
        Some(value) => format!("${}\r\n{value}\r\n", value.len()),
        None => "$-1\r\n".to_owned(),
    }
}
