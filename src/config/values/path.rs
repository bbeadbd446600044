//! The path of a route: literal segments and one `<key>`, in the spelling of Flask. Also tells
//! whether two paths can match the same request.

use std::fmt;

use crate::config::setting::{Parsed, ensure};

/// A path with its key taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// Before the key, beginning and ending with `/`.
    pub(crate) prefix: String,
    /// After the key: empty, or beginning with `/`.
    pub(crate) suffix: String,
}

impl Pattern {
    /// A path that this pattern and `other` both match.
    pub(crate) fn clash(&self, other: &Self) -> Option<String> {
        let (mine, theirs) = (self.segments(), other.segments());
        clash(&mine, &theirs)
    }

    /// A path that this pattern and the fixed path `other` both match, which is `other` itself.
    pub(crate) fn shadows(&self, other: &str) -> bool {
        let theirs: Vec<Option<&str>> = other.split('/').skip(1).map(Some).collect();
        clash(&self.segments(), &theirs).is_some()
    }

    /// Literal segments, and none for the key.
    fn segments(&self) -> Vec<Option<&str>> {
        let segments = |part| str::split(part, '/').filter(|part| !part.is_empty());
        let (before, after) = (segments(&self.prefix), segments(&self.suffix));
        let key = [None];
        before.map(Some).chain(key).chain(after.map(Some)).collect()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}<key>{}", self.prefix, self.suffix)
    }
}

/// A path that both match; a key matches any one segment.
fn clash(mine: &[Option<&str>], theirs: &[Option<&str>]) -> Option<String> {
    if mine.len() != theirs.len() {
        return None;
    }
    let mut path = String::new();
    for pair in mine.iter().zip(theirs) {
        let segment = match pair {
            (Some(a), Some(b)) if a != b => return None,
            (Some(literal), _) | (None, Some(literal)) => literal,
            (None, None) => "x",
        };
        path = format!("{path}/{segment}");
    }
    Some(path)
}

/// A [`Pattern`] of at most 1024 bytes.
pub(crate) const PATH: Parsed<Pattern> = Parsed::by(
    pattern,
    "a path with <key> as one whole segment, as in /api/data/<key>",
);

/// Bytes; heads are bounded too, so nobody needs more.
const MAX_PATH: usize = 1024;

fn pattern(text: &str) -> Result<Pattern, String> {
    ensure(!text.is_empty(), "is empty")?;
    ensure(text.len() <= MAX_PATH, "is too long")?;
    let rest = text.strip_prefix('/').ok_or("must begin with /")?;
    refuse_other_spellings(text)?;
    let mut literals = rest.split('/').filter(|part| *part != "<key>");
    literals.try_for_each(literal)?;
    let (prefix, suffix) = text.split_once("<key>").ok_or("has no <key>")?;
    ensure(!suffix.contains("<key>"), "has more than one <key>")?;
    Ok(Pattern {
        prefix: prefix.to_owned(),
        suffix: suffix.to_owned(),
    })
}

/// Says what to write instead of Flask's other spellings, of FastAPI's, or of another name.
fn refuse_other_spellings(text: &str) -> Result<(), String> {
    let is_between = |part: &str, begin, end| part.starts_with(begin) && part.ends_with(end);
    let is_variable = |part: &str| {
        let bracketed = is_between(part, '<', '>') || is_between(part, '{', '}');
        part.len() > 2 && bracketed && part != "<key>"
    };
    if !text.split('/').any(is_variable) {
        return Ok(());
    }
    let usual = |part| if is_variable(part) { "<key>" } else { part };
    let parts: Vec<&str> = text.split('/').map(usual).collect();
    let keys = parts.iter().filter(|part| **part == "<key>").count();
    let why = "has more than one variable; only one is possible, written <key>";
    ensure(keys == 1, why)?;
    let one = match text.contains("<path:") || text.contains(":path}") {
        true => " (a key is one segment: it holds no /)",
        false => "",
    };
    let path = parts.join("/");
    Err(format!("the key is written <key>: write {path}{one}"))
}

/// Checks a segment that is not the key.
fn literal(part: &str) -> Result<(), String> {
    let empty = "has an empty segment: leave out the // or the / at the end";
    ensure(!part.is_empty(), empty)?;
    ensure(part != "." && part != "..", "has a . or .. segment")?;
    let not_whole = "has a <key> that is not a whole segment";
    ensure(!part.contains("<key>"), not_whole)?;
    let plain = |b: u8| b.is_ascii_graphic() && !b"%?#<>\\\"{}^`|".contains(&b);
    let not_plain =
        "has a segment with space, a letter outside ASCII, or one of % ? # < > \\ \" { } ^ ` |";
    ensure(part.bytes().all(plain), not_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::setting::Rule;

    fn parsed(text: &str) -> Pattern {
        PATH.parse(text).unwrap()
    }

    #[test]
    fn the_key_stands_anywhere_as_a_whole_segment() {
        for (text, prefix, suffix) in [
            ("/api/data/<key>", "/api/data/", ""),
            ("/api/<key>/detail", "/api/", "/detail"),
            ("/<key>", "/", ""),
        ] {
            let expected = Pattern {
                prefix: prefix.into(),
                suffix: suffix.into(),
            };
            assert_eq!(parsed(text), expected);
        }
    }

    #[test]
    fn other_spellings_are_told_what_to_write() {
        for (text, advice) in [
            ("/api/<string:key>", "write /api/<key>"),
            ("/api/<path:key>", "it holds no /"),
            ("/api/<id>/x", "write /api/<key>/x"),
            ("/api/{key}", "write /api/<key>"),
            ("/api/{key:path}", "it holds no /"),
            ("/<a>/<b>", "only one is possible"),
        ] {
            let why = PATH.parse(text).unwrap_err();
            assert!(why.contains(advice), "{text}: {why}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "is empty"),
            ("api/<key>", "must begin with /"),
            ("/api", "has no <key>"),
            ("/<key>/<key>", "more than one <key>"),
            ("/x<key>", "not a whole segment"),
            ("//<key>", "empty segment"),
            ("/<key>/", "empty segment"),
            ("/../<key>", ".. segment"),
            ("/a%20b/<key>", "one of % ?"),
            ("/\u{e9}/<key>", "outside ASCII"),
            ("/a b/<key>", "space"),
            ("/<>/<key>", "one of % ?"),
        ] {
            let why = PATH.parse(text).unwrap_err();
            assert!(why.contains(reason), "{text}: {why}");
        }
        assert!(PATH.parse(&format!("/{}/<key>", "x".repeat(1024))).is_err());
    }

    #[test]
    fn two_patterns_clash_where_one_request_fits_both() {
        let clash = |a: &str, b: &str| parsed(a).clash(&parsed(b));
        assert_eq!(clash("/a/<key>", "/<key>/b"), Some("/a/b".to_owned()));
        assert_eq!(clash("/a/<key>", "/a/<key>"), Some("/a/x".to_owned()));
        assert_eq!(clash("/a/<key>", "/b/<key>"), None);
        assert_eq!(clash("/a/<key>", "/a/<key>/b"), None);
        assert!(parsed("/<key>").shadows("/livez"));
        assert!(!parsed("/a/<key>").shadows("/livez"));
    }

    proptest::proptest! {
        #[test]
        fn what_is_accepted_has_the_key_in_one_place(text in "/(<key>|[a-z./<>%]|\\PC){0,12}") {
            if let Ok(pattern) = PATH.parse(&text) {
                let Pattern { prefix, suffix } = pattern;
                proptest::prop_assert!(prefix.ends_with('/'));
                proptest::prop_assert!(suffix.is_empty() || suffix.starts_with('/'));
                proptest::prop_assert_eq!(format!("{prefix}<key>{suffix}"), text);
            }
        }
    }
}
