//! The INI format: text to sections and entries with their lines, knowing nothing of what they
//! mean. No crate does this job as needed: rust-ini keeps no lines, ini_core (of 2022) has one
//! comment character, checks no duplicates and finds its lines with `unsafe` vector code.
//!
//! A line is `[section]`, `key = value`, a comment that begins with `#` or `;`, or blank. Space
//! round every part is dropped; nothing in a value is special, not even `=`, `#` and `;`.

use crate::config::report::{Place, Report, Subject};
use crate::config::setting::ensure;
use crate::config::wording::quoted;

/// A `[title]` and what follows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// As written between the brackets, every run of space as one.
    pub(crate) title: String,
    /// Line of the heading, counted from 1.
    pub(crate) line: usize,
    pub(crate) entries: Vec<Entry>,
}

/// One `key = value`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) line: usize,
}

/// Decodes a file: UTF-8, with or without a byte order mark.
///
/// # Errors
/// The line, counted from 1, and what is wrong with it.
pub(crate) fn decode(bytes: &[u8]) -> Result<&str, (usize, String)> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let (sound, rest) = bytes.split_at(error.valid_up_to());
        let line = 1 + sound.iter().filter(|byte| **byte == b'\n').count();
        let byte = rest.first().copied().unwrap_or_default();
        let why = format!("is not UTF-8 (byte 0x{byte:02X}): save the file as UTF-8");
        (line, why)
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Reads the whole text. What can not be read is reported and left out, so that one bad line hides
/// no mistake further down. A line that is refused is not shown: it may hold a password.
pub(crate) fn read(text: &str, report: &mut Report) -> Vec<Block> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut blocks: Vec<Block> = Vec::new();
    // What follows a refused heading is dropped: it belongs to no known section.
    let mut headless = false;
    for (index, line) in text.split('\n').enumerate() {
        let (number, line) = (index + 1, line.trim());
        let here = || Subject::place(Place::Line(number));
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(heading) = line.strip_prefix('[') {
            let block = title(heading).and_then(|title| new_block(&blocks, title, number));
            headless = block.is_err();
            match block {
                Ok(block) => blocks.push(block),
                Err(why) => report.mistake(here(), why),
            }
        } else {
            match (entry(line, number), blocks.last_mut()) {
                (Err(why), _) => report.mistake(here(), why),
                (Ok(_), _) if headless => {}
                (Ok(_), None) => report.mistake(here(), "stands before the first [section]"),
                (Ok(entry), Some(block)) => add(block, entry, report),
            }
        }
    }
    blocks
}

/// The title in what follows a `[`.
fn title(heading: &str) -> Result<String, String> {
    let split = heading.split_once(']');
    let (title, rest) = split.ok_or("section heading has no closing ]")?;
    let more = "nothing may follow the ] of a section heading, not even a comment";
    ensure(rest.trim().is_empty(), more)?;
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    ensure(!title.is_empty(), "section heading is empty")?;
    Ok(title)
}

/// The entry in a line that is neither blank, nor a comment, nor a heading.
fn entry(line: &str, number: usize) -> Result<Entry, String> {
    let shape = "is neither [section], nor key = value, nor a # comment";
    let Some((key, value)) = line.split_once('=') else {
        let with_colon = line.split_once(':');
        let has_key = with_colon.is_some_and(|(key, _)| is_word(key.trim()));
        let hint = if has_key { ": use = instead of :" } else { "" };
        return Err(format!("{shape}{hint}"));
    };
    let (key, value) = (key.trim(), value.trim());
    let why = format!("{shape}: a key is made of letters, digits and _");
    ensure(is_word(key), why)?;
    Ok(Entry {
        key: key.to_owned(),
        value: value.to_owned(),
        line: number,
    })
}

/// Also takes `-` and capitals, which no key has: the misspelt key is then told its right name.
fn is_word(key: &str) -> bool {
    let is_sound = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    !key.is_empty() && key.bytes().all(is_sound)
}

/// An empty section, unless there is one of this title already.
fn new_block(blocks: &[Block], title: String, line: usize) -> Result<Block, String> {
    if let Some(first) = blocks.iter().find(|block| block.title == title) {
        let (title, first) = (quoted(&title), first.line);
        return Err(format!("section {title} is already in line {first}"));
    }
    let entries = Vec::new();
    Ok(Block {
        title,
        line,
        entries,
    })
}

/// Adds an entry to its section. A key given twice is a mistake.
fn add(block: &mut Block, entry: Entry, report: &mut Report) {
    let mut entries = block.entries.iter();
    if let Some(earlier) = entries.find(|earlier| earlier.key == entry.key) {
        let subject = Subject::key(Place::Line(entry.line), &block.title, &entry.key);
        report.mistake(subject, format!("is already in line {}", earlier.line));
    } else {
        block.entries.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &str) -> (Vec<Block>, String) {
        let mut report = Report::new("c.ini");
        let blocks = read(text, &mut report);
        (blocks, report.into_mistakes().to_string())
    }

    #[test]
    fn comments_space_crlf_and_a_byte_order_mark_are_no_part_of_it() {
        let (blocks, mistakes) =
            read_all("\u{feff}# one\r\n; two\r\n\r\n [ route   data ] \r\n  ttl =  5s \r\n");
        assert_eq!(mistakes, "");
        assert_eq!(blocks[0].title, "route data");
        assert_eq!(blocks[0].line, 4);
        let entry = Entry {
            key: "ttl".into(),
            value: "5s".into(),
            line: 5,
        };
        assert_eq!(blocks[0].entries, [entry]);
    }

    #[test]
    fn nothing_in_a_value_is_special() {
        let (blocks, mistakes) = read_all("[redis]\nurl = redis://:a=b#c;d [e]@h/0\nempty =");
        assert_eq!(mistakes, "");
        assert_eq!(blocks[0].entries[0].value, "redis://:a=b#c;d [e]@h/0");
        assert_eq!(blocks[0].entries[1].value, "");
    }

    #[test]
    fn duplicates_name_both_lines() {
        let (_, mistakes) = read_all("[a]\nk = 1\nk = 2\n[b]\n[a]\nk = 3");
        assert_eq!(
            mistakes,
            "c.ini:3: [a] k: is already in line 2\nc.ini:5: section \"a\" is already in line 1"
        );
    }

    #[test]
    fn a_line_that_is_nothing_is_refused_without_showing_it() {
        let (_, mistakes) = read_all("[a]\nredis://:hunter2@h\nurl: redis://:hunter2@h\n= 5");
        assert!(!mistakes.contains("hunter2"), "{mistakes}");
        assert!(
            mistakes.contains("c.ini:2: is neither [section], nor key = value"),
            "{mistakes}"
        );
        assert!(mistakes.contains("c.ini:3:"), "{mistakes}");
        assert!(mistakes.contains("use = instead of :"), "{mistakes}");
        assert!(mistakes.contains("c.ini:4:"), "{mistakes}");
    }

    #[test]
    fn headings_must_be_whole() {
        let (blocks, mistakes) = read_all("x = 1\n[a\ny = 1\n[]\n[b] # c\n[c]\nz = 1");
        assert_eq!(
            blocks.len(),
            1,
            "what follows a refused heading is dropped: {blocks:?}"
        );
        let lines: Vec<&str> = mistakes.lines().collect();
        assert_eq!(lines.len(), 4, "{mistakes}");
        assert!(
            lines[0].contains("c.ini:1: stands before the first [section]"),
            "{mistakes}"
        );
        assert!(lines[3].contains("not even a comment"), "{mistakes}");
    }

    #[test]
    fn a_file_that_is_not_utf_8_is_refused_with_the_line() {
        let (line, why) = decode(b"# a\nk = caf\xe9\n").unwrap_err();
        assert_eq!((line, why.contains("0xE9")), (2, true));
        assert_eq!(decode("\u{feff}x".as_bytes()), Ok("x"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(\\PC|[\\[\\]=#;\r\n\t ]){0,200}") {
            read_all(&text);
        }
    }
}
