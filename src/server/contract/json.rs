//! JSON strings as the originals write them: Flask's `jsonify` in ASCII alone, FastAPI as UTF-8.

use std::io;

use serde::Serialize as _;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// Appends `text` as a JSON string in ASCII: everything that is not printable ASCII is `\uxxxx`, DEL
/// among it, and beyond the basic plane a pair of surrogates.
pub(super) fn push_ascii(json: &mut Vec<u8>, text: &str) {
    push(json, text, AsciiFormatter);
}

/// Appends `text` as a JSON string in UTF-8: only what JSON must escape is escaped.
pub(super) fn push_utf8(json: &mut Vec<u8>, text: &str) {
    push(json, text, CompactFormatter);
}

fn push(json: &mut Vec<u8>, text: &str, formatter: impl Formatter) {
    if !push_plain(json, text) {
        // Writing a string to a Vec cannot fail.
        let _ = text.serialize(&mut Serializer::with_formatter(json, formatter));
    }
}

/// Appends a text in which nothing is to be escaped, as most are; whether it was one. The loop has no
/// branches, so that the compiler makes it look at many bytes at once: a fifth of the time of a 10 KiB
/// hit went into looking at one after the other.
fn push_plain(json: &mut Vec<u8>, text: &str) -> bool {
    let is_plain = |byte: u8| (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\\');
    let bytes = text.bytes();
    let plain = bytes.fold(true, |plain, byte| plain & is_plain(byte));
    if plain {
        json.push(b'"');
        json.extend_from_slice(text.as_bytes());
        json.push(b'"');
    }
    plain
}

struct AsciiFormatter;

impl Formatter for AsciiFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while !rest.is_empty() {
            let is_plain = |byte: &u8| matches!(byte, b' '..=b'~');
            let plain = rest.bytes().take_while(is_plain).count();
            writer.write_all(&rest.as_bytes()[..plain])?;
            rest = &rest[plain..];
            let mut chars = rest.chars();
            if let Some(c) = chars.next() {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            rest = chars.as_str();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ascii(text: &str) -> String {
        let mut json = Vec::new();
        push_ascii(&mut json, text);
        String::from_utf8(json).expect("ASCII")
    }

    #[test]
    fn jsonify_escapes_everything_but_printable_ascii() {
        assert_eq!(
            ascii("a\"\\/\u{8}\u{c}\n\r\t\u{1}\u{1f}"),
            r#""a\"\\/\b\f\n\r\t\u0001\u001f""#
        );
        assert_eq!(
            ascii("\u{7f}\u{e9}\u{2028}\u{1f600}<&>"),
            r#""\u007f\u00e9\u2028\ud83d\ude00<&>""#
        );
    }

    proptest! {
        #[test]
        fn any_text_comes_back_from_both(text in "\\PC*|.*") {
            let mut json = Vec::new();
            push_utf8(&mut json, &text);
            prop_assert_eq!(&serde_json::from_slice::<String>(&json).expect("JSON"), &text);
            let json = ascii(&text);
            prop_assert!(json.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), text);
        }
    }
}
