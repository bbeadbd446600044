//! The path of a route: literal segments and one `<key>`, in the spelling of Flask. Also tells
//! whether two paths can match the same request.

use std::fmt;

use crate::config::setting::{Rule, refuse_empty};

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
pub(crate) struct PathRule;

/// Bytes; heads are bounded too, so nobody needs more.
const MAX_PATH: usize = 1024;

impl Rule for PathRule {
    type Value = Pattern;

    fn parse(&self, text: &str) -> Result<Pattern, String> {
        refuse_empty(text)?;
        if text.len() > MAX_PATH {
            return Err("is too long".to_owned());
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err("must begin with /".to_owned());
        };
        if let Some(why) = other_spelling(text) {
            return Err(why);
        }
        rest.split('/')
            .filter(|part| *part != "<key>")
            .try_for_each(literal)?;
        match text.split_once("<key>") {
            None => Err("has no <key>".to_owned()),
            Some((_, suffix)) if suffix.contains("<key>") => {
                Err("has more than one <key>".to_owned())
            }
            Some((prefix, suffix)) => Ok(Pattern {
                prefix: prefix.to_owned(),
                suffix: suffix.to_owned(),
            }),
        }
    }

    fn allowed(&self) -> String {
        "a path with <key> as one whole segment, as in /api/data/<key>".to_owned()
    }
}

/// What to write instead of Flask's other spellings, of FastAPI's, or of another name.
fn other_spelling(text: &str) -> Option<String> {
    let variable = |part: &str| {
        let bracketed = (part.starts_with('<') && part.ends_with('>'))
            || (part.starts_with('{') && part.ends_with('}'));
        part.len() > 2 && bracketed && part != "<key>"
    };
    if !text.split('/').any(variable) {
        return None;
    }
    let parts: Vec<&str> = text
        .split('/')
        .map(|part| if variable(part) { "<key>" } else { part })
        .collect();
    let keys = parts.iter().filter(|part| **part == "<key>").count();
    if keys > 1 {
        return Some("has more than one variable; only one is possible, written <key>".to_owned());
    }
    let one = if text.contains("<path:") || text.contains(":path}") {
        " (a key is one segment: it holds no /)"
    } else {
        ""
    };
    Some(format!(
        "the key is written <key>: write {}{one}",
        parts.join("/")
    ))
}

/// Checks a segment that is not the key.
fn literal(part: &str) -> Result<(), String> {
    if part.is_empty() {
        return Err("has an empty segment: leave out the // or the / at the end".to_owned());
    }
    if part == "." || part == ".." {
        return Err("has a . or .. segment".to_owned());
    }
    if part.contains("<key>") {
        return Err("has a <key> that is not a whole segment".to_owned());
    }
    let plain = |b: u8| b.is_ascii_graphic() && !b"%?#<>\\\"{}^`|".contains(&b);
    if !part.bytes().all(plain) {
        let why =
            "has a segment with space, a letter outside ASCII, or one of % ? # < > \\ \" { } ^ ` |";
        return Err(why.to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        PathRule.parse(text).unwrap()
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
            assert_eq!(pattern(text), expected);
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
            let why = PathRule.parse(text).unwrap_err();
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
            let why = PathRule.parse(text).unwrap_err();
            assert!(why.contains(reason), "{text}: {why}");
        }
        assert!(
            PathRule
                .parse(&format!("/{}/<key>", "x".repeat(1024)))
                .is_err()
        );
    }

    #[test]
    fn two_patterns_clash_where_one_request_fits_both() {
        let clash = |a: &str, b: &str| pattern(a).clash(&pattern(b));
        assert_eq!(clash("/a/<key>", "/<key>/b"), Some("/a/b".to_owned()));
        assert_eq!(clash("/a/<key>", "/a/<key>"), Some("/a/x".to_owned()));
        assert_eq!(clash("/a/<key>", "/b/<key>"), None);
        assert_eq!(clash("/a/<key>", "/a/<key>/b"), None);
        assert!(pattern("/<key>").shadows("/livez"));
        assert!(!pattern("/a/<key>").shadows("/livez"));
    }

    proptest::proptest! {
        #[test]
        fn what_is_accepted_has_the_key_in_one_place(text in "/(<key>|[a-z./<>%]|\\PC){0,12}") {
            if let Ok(pattern) = PathRule.parse(&text) {
                let Pattern { prefix, suffix } = pattern;
                proptest::prop_assert!(prefix.ends_with('/'));
                proptest::prop_assert!(suffix.is_empty() || suffix.starts_with('/'));
                proptest::prop_assert_eq!(format!("{prefix}<key>{suffix}"), text);
            }
        }
    }
}
