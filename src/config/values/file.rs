//! Paths of files, and their contents within bounds.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::setting::{Parsed, ensure};

/// A path in the file system, or none. A relative one is taken from the folder of the file.
pub(crate) const FILE_PATH: Parsed<Option<PathBuf>> = Parsed::by(
    file_path,
    "a path, relative to the folder of this file, or empty",
);

fn file_path(text: &str) -> Result<Option<PathBuf>, String> {
    let is_plain = !text.chars().any(char::is_control);
    ensure(is_plain, "holds a control character")?;
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
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
    use crate::config::setting::Rule;

    #[test]
    fn an_empty_path_is_none() {
        assert_eq!(FILE_PATH.parse(""), Ok(None));
        let why = "holds a control character".to_owned();
        assert_eq!(FILE_PATH.parse("a\u{7}"), Err(why));
    }
}
