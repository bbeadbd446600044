//! How mistakes are worded: values from outside are quoted escaped, short and without secrets, and
//! a misspelt name is answered with the one that was meant.

use std::borrow::Borrow;

/// Characters of a value that a mistake shows at most.
const SHOWN_CHARS: usize = 80;

/// Longer names than this are not compared with the known ones.
const COMPARED_BYTES: usize = 100;

/// The value in quotes: control characters escaped, cut at 80 characters, userinfo of URLs hidden.
pub(crate) fn quoted(value: &str) -> String {
    let value = redacted(value);
    let mut shown: String = value
        .chars()
        .take(SHOWN_CHARS)
        .flat_map(char::escape_debug)
        .collect();
    if value.chars().nth(SHOWN_CHARS).is_some() {
        shown.push_str("...");
    }
    format!("\"{shown}\"")
}

/// The value with everything from `//` (or from its beginning, where there is none) to the last `@`
/// hidden: whatever stands there may be a password, also when the whole is no URL.
fn redacted(value: &str) -> String {
    let Some(at) = value.rfind('@') else {
        return value.to_owned();
    };
    let from = value[..at].find("//").map_or(0, |slashes| slashes + 2);
    format!("{}***{}", &value[..from], &value[at..])
}

/// The known name that `given` was most likely meant to be: one letter in four may be wrong, or one
/// is the beginning of the other. Case and the choice of `-` or `_` do not count.
pub(crate) fn nearest<'a>(
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    if given.len() > COMPARED_BYTES {
        return None;
    }
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    let given = plain(given);
    let allowed = (given.chars().count() / 4).max(1);
    known
        .into_iter()
        .filter_map(|name| {
            let candidate = plain(name);
            let distance = strsim::damerau_levenshtein(&given, &candidate);
            let shortest = given.len().min(candidate.len());
            let begins = candidate.starts_with(&given) || given.starts_with(&candidate);
            let near = distance <= allowed && distance < given.chars().count();
            (near || (begins && shortest >= 3)).then_some((distance, name))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `; did you mean X?`, or the list of what is known when nothing is near.
pub(crate) fn suggestion(given: &str, known: &[&str]) -> String {
    match nearest(given, known.iter().copied()) {
        Some(name) => format!("; did you mean {name}?"),
        None => format!("; known here: {}", known.join(", ")),
    }
}

/// `a`, `a or b`, `a, b or c`.
pub(crate) fn either<S: Borrow<str>>(names: &[S]) -> String {
    match names {
        [] => String::new(),
        [only] => only.borrow().to_owned(),
        [first @ .., last] => format!("{} or {}", first.join(", "), last.borrow()),
    }
}

/// What a value that was refused, or is odd enough for a note, may suffer from: a comment behind
/// it, or quotes round it. Both belong to the value in this format.
pub(crate) fn oddity(value: &str) -> Option<&'static str> {
    let commented = [" #", " ;", "\t#", "\t;"]
        .iter()
        .any(|mark| value.contains(mark));
    let in_quotes = value.len() >= 2
        && ["\"", "'"]
            .iter()
            .any(|quote| value.starts_with(quote) && value.ends_with(quote));
    if commented {
        Some("a comment needs a line of its own: behind a value it is part of the value")
    } else if in_quotes {
        Some("quotes are part of the value: leave them out")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_long_values_cut() {
        assert_eq!(quoted("a\n\u{1b}[31m\"b"), r#""a\n\u{1b}[31m\"b""#);
        let long = quoted(&"x".repeat(81));
        assert_eq!(long, format!("\"{}...\"", "x".repeat(80)));
        assert_eq!(quoted(&"x".repeat(80)), format!("\"{}\"", "x".repeat(80)));
    }

    #[test]
    fn userinfo_is_hidden_up_to_the_last_at_sign() {
        assert_eq!(
            quoted("redis://u:p@ss/w@host:1/0"),
            "\"redis://***@host:1/0\""
        );
        assert_eq!(quoted("u:secret@host"), "\"***@host\"");
        assert_eq!(quoted("no secret"), "\"no secret\"");
    }

    #[test]
    fn a_misspelt_name_finds_the_nearest_known_one() {
        let known = ["timeout", "url", "max_connections", "ttl"];
        assert_eq!(nearest("timeot", known), Some("timeout"));
        assert_eq!(nearest("TimeOut", known), Some("timeout"));
        assert_eq!(nearest("max-connections", known), Some("max_connections"));
        assert_eq!(nearest("max_conn", known), Some("max_connections"));
        assert_eq!(nearest("tll", known), Some("ttl"));
        assert_eq!(nearest("x", known), None);
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest(&"t".repeat(5000), known), None);
    }

    #[test]
    fn names_are_listed_as_in_a_sentence() {
        assert_eq!(either(&["a"]), "a");
        assert_eq!(either(&["a", "b", "c"]), "a, b or c");
    }
}
