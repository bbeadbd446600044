//! Content codings of an answer (RFC 9110 section 8.4). None is asked for, but sources name all kinds of
//! things there: what changes no byte is taken as it is, gzip is decoded, the rest is refused by its name.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use ureq::http::HeaderValue;

use crate::source::SourceError;

/// Those that certainly change the body, and are not decoded.
const NOT_DECODED: [&str; 7] = [
    "br",
    "compress",
    "dcb",
    "dcz",
    "deflate",
    "x-compress",
    "zstd",
];
/// gzip within gzip within gzip is nobody's honest answer.
const GZIPS_MAX: usize = 2;
/// Bytes of a coding's name that are repeated in the log.
const NAME_MAX: usize = 32;

/// What the body went through.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Codings {
    /// How often it was compressed with gzip.
    gzips: usize,
    /// A coding that cannot be undone.
    pub refused: Option<String>,
    /// A name that stands for no coding known here: it may have changed nothing.
    pub unknown: Option<String>,
}

impl Codings {
    /// From the `Content-Encoding` fields.
    pub(super) fn of<'a>(fields: impl IntoIterator<Item = &'a HeaderValue>) -> Self {
        let mut codings = Self::default();
        for field in fields {
            let list = String::from_utf8_lossy(field.as_bytes()).to_ascii_lowercase();
            for name in list.split(',').map(str::trim) {
                match name {
                    "" | "identity" | "none" | "utf-8" | "utf8" | "aws-chunked" => {}
                    "gzip" | "x-gzip" => codings.gzips += 1,
                    _ if NOT_DECODED.contains(&name) => codings.refused = Some(printable(name)),
                    _ => codings.unknown = Some(printable(name)),
                }
            }
        }
        if codings.gzips > GZIPS_MAX {
            codings.refused = Some(format!("{} times gzip", codings.gzips));
        }
        codings
    }

    /// `bytes` as they were before; more than `limit` of them at any stage are refused. Bytes that do not
    /// begin as gzip does are plain already: some proxies decode and leave the field.
    ///
    /// # Errors
    /// [`SourceError::TooLarge`], or [`SourceError::ContentCoding`] where they are damaged.
    pub(super) fn decode(&self, mut bytes: Vec<u8>, limit: u64) -> Result<Vec<u8>, SourceError> {
        for _ in 0..self.gzips {
            if !bytes.starts_with(&[0x1f, 0x8b]) {
                break;
            }
            let mut decoded = Vec::new();
            let decoder = MultiGzDecoder::new(bytes.as_slice());
            let read = decoder
                .take(limit.saturating_add(1))
                .read_to_end(&mut decoded);
            if read.is_err() {
                return Err(SourceError::ContentCoding("damaged gzip".to_owned()));
            }
            if decoded.len() as u64 > limit {
                return Err(SourceError::TooLarge { limit });
            }
            bytes = decoded;
        }
        Ok(bytes)
    }
}

fn printable(name: &str) -> String {
    name.escape_default().take(NAME_MAX).collect()
}
