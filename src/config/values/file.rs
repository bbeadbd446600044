//! Paths of files, and their contents within bounds.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::setting::Rule;

/// A path in the file system, or none. A relative one is taken from the folder of the file.
pub(crate) struct FilePath;

impl Rule for FilePath {
    type Value = Option<PathBuf>;

    fn parse(&self, text: &str) -> Result<Option<PathBuf>, String> {
        if text.chars().any(char::is_control) {
            return Err("holds a control character".to_owned());
        }
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }

    fn allowed(&self) -> String {
        "a path, relative to the folder of this file, or empty".to_owned()
    }
}

/// What the file holds; none where it is longer than `max` bytes. No more than one byte above that is
/// read, so that not even `/dev/zero` fills the memory.
pub(crate) fn read_at_most(max: u64, file: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(max + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_path_is_none() {
        assert_eq!(FilePath.parse(""), Ok(None));
        let why = "holds a control character".to_owned();
        assert_eq!(FilePath.parse("a\u{7}"), Err(why));
    }
}
