//! The measured figures of the matrix, and the table that they become in `docs/FAILURES.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{ROWS, Row};

/// Of one row.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Requests in all.
    pub requests: usize,
    /// Answers that took longer than the source and 150 ms.
    pub slow: usize,
    /// The slowest answer to a request of the first 1.5 s.
    pub slowest_at_onset: Duration,
    /// And of those sent later.
    pub slowest_later: Duration,
    /// How long after its end Redis was used again.
    pub back_after: Duration,
    /// What the log said, in lines.
    pub lines: usize,
    /// The first of them.
    pub said: String,
}

/// What this process has measured, by the row's place in the matrix.
static MEASURED: Mutex<BTreeMap<usize, String>> = Mutex::new(BTreeMap::new());

/// Where the environment asks for it (`FAILURES_TABLE=path`), the table of all rows measured so far.
pub fn write(row: &Row, figures: &Figures) {
    let Some(path) = std::env::var_os("FAILURES_TABLE") else {
        return;
    };
    let place = ROWS.iter().position(|known| known.name == row.name);
    let line = format!(
        "| `{}` | {:?} | {} | {} | {} | {} | {} | {} | {} |\n",
        row.name,
        row.is,
        figures.requests,
        figures.slow,
        figures.slowest_at_onset.as_millis(),
        figures.slowest_later.as_millis(),
        figures.back_after.as_millis(),
        figures.lines,
        words(&figures.said),
    );
    let mut measured = MEASURED.lock().unwrap_or_else(PoisonError::into_inner);
    measured.insert(place.unwrap_or(ROWS.len()), line);
    let mut table = String::from(
        "| row | is | requests | slow | slowest in the first 1.5 s, ms | slowest later, ms \
         | used again after, ms | log lines | the first of them |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for line in measured.values() {
        let _ = write!(table, "{line}");
    }
    std::fs::write(path, table).expect("FAILURES_TABLE names a file that can be written");
}

/// A log line without its time, and without what differs from run to run.
fn words(line: &str) -> String {
    let words = line.split_once("Z [").map_or(line, |(_, rest)| rest);
    words
        .split(" (")
        .next()
        .unwrap_or(words)
        .replace('|', "\\|")
}
