//! Whether a file that TLS needs is there and is PEM (RFC 7468). What it holds is not shown.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes of a file; a longer one is some other file. A bundle of all public authorities has 250 KiB.
const MAX_BYTES: u64 = 4 << 20;

/// Looks for a block of this kind in `file`, as in `CERTIFICATE` or `PRIVATE KEY`.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn check(file: &Path, block: &str) -> Result<(), String> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("can not be read: {error}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err("is longer than 4MiB: is it the right file?".to_owned());
    }
    let text = String::from_utf8_lossy(&bytes);
    let has_block = text.lines().any(|line| {
        let label = line.trim_end().strip_prefix("-----BEGIN ");
        label.is_some_and(|label| label.ends_with(&format!("{block}-----")))
    });
    match has_block {
        true => Ok(()),
        false => Err(format!("holds no {block} in PEM")),
    }
}
