//! The measured figures of the matrix, and the table that they become in `docs/FAILURES.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::harness::file;

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
    /// The most memory that the process ever had.
    pub most_resident_bytes: u64,
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
        "| `{}` | {:?} | {} | {} | {} ms | {} ms | {} ms | {} MB | {} | {} |\n",
        row.name,
        row.is,
        figures.requests,
        figures.slow,
        figures.slowest_at_onset.as_millis(),
        figures.slowest_later.as_millis(),
        figures.back_after.as_millis(),
        figures.most_resident_bytes / 1_000_000,
        figures.lines,
        words(&figures.said),
    );
    let mut measured = MEASURED.lock().unwrap_or_else(PoisonError::into_inner);
    measured.insert(place.unwrap_or(ROWS.len()), line);
    let mut table = String::from(
        "| row | is | requests | slow | slowest, first 1.5 s | slowest later | used again after \
         | memory | log lines | the first of them |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for line in measured.values() {
        let _ = write!(table, "{line}");
    }
    std::fs::write(path, table).expect("FAILURES_TABLE names a file that can be written");
}

/// A log line without its time, and without what differs from run to run.
fn words(line: &str) -> String {
    let line = line.split_once("] ").map_or(line, |(_, text)| text);
    let line = line.split(" (").next().unwrap_or(line);
    let is_address = |word: &&str| word.starts_with("127.0.0.1:");
    let words = line.split(' ').map(|word| match is_address(&word) {
        true => "ADDRESS",
        false => word,
    });
    words.collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[test]
fn the_document_has_every_row_of_the_matrix_under_what_it_comes_to() {
    let document = std::fs::read_to_string(file("docs/FAILURES.md")).expect("the document");
    let measured = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.trim_end_matches('`').to_owned();
        Some((name, cells.next()?.to_owned()))
    };
    let rows: Vec<_> = ROWS
        .iter()
        .map(|row| (row.name.to_owned(), format!("{:?}", row.is)))
        .collect();
    let table: Vec<_> = document.lines().filter_map(measured).collect();
    assert_eq!(table, rows, "the table of figures");
    let mut described = Vec::new();
    let mut heading = "";
    for line in document.lines() {
        if let Some(text) = line.strip_prefix("### ") {
            heading = text;
        } else if let Some((name, _)) = line
            .strip_prefix("- `")
            .and_then(|item| item.split_once("`: "))
        {
            described.push((name.to_owned(), heading.to_owned()));
        }
    }
    let mut rows = rows;
    rows.sort();
    described.sort();
    assert_eq!(described, rows, "what each row is");
}
