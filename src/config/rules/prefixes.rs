//! What each route puts before its keys in Redis. An answer of one route must never be taken for
//! one of another, so routes with different sources may not have the same prefix.

use crate::config::report::Report;
use crate::config::sections::route::Draft;
use crate::config::wording::quoted;

/// Settles the prefix of each route, in their order. A route that gives none has that of `[redis]`,
/// called `default` here; where an earlier route with another source has that already, its own name and
/// `:` are added.
pub(crate) fn settle(drafts: &mut [Draft], default: &str, report: &mut Report) {
    for index in 0..drafts.len() {
        let (earlier, rest) = drafts.split_at_mut(index);
        let Some(this) = rest.first_mut() else {
            return;
        };
        let is_given = !this.route.key_prefix.is_empty();
        if !is_given {
            default.clone_into(&mut this.route.key_prefix);
            if let Some(other) = earlier.iter().find(|other| collide(other, this)) {
                this.route.key_prefix = format!("{default}{}:", this.route.name);
                let (prefix, other) = (quoted(&this.route.key_prefix), other.title());
                let text = format!(
                    "key_prefix is {prefix}, because [{other}] has another source and the prefix of \
                     [redis]"
                );
                report.note(report.section(&this.title()), text);
            }
        }
        for other in earlier.iter() {
            // The mistake is with a prefix that is given; two that are not never collide.
            match is_given {
                true => compare(this, other, report),
                false => compare(other, this, report),
            }
        }
    }
}

/// Whether their sources are known and different.
fn differ(one: &Draft, other: &Draft) -> bool {
    one.source.is_some() && other.source.is_some() && one.source != other.source
}

/// Whether values of different sources would have the same keys.
fn collide(one: &Draft, other: &Draft) -> bool {
    one.route.key_prefix == other.route.key_prefix && differ(one, other)
}

/// Reports two routes that would mix up their values; one that gives its prefix comes first.
fn compare(given: &Draft, other: &Draft, report: &mut Report) {
    if collide(given, other) {
        let text = format!(
            "[{}] has the same key_prefix and another source: each would answer with the values \
             of the other; give each its own",
            other.title(),
        );
        let subject = report.key(&given.title(), "key_prefix");
        report.mistake(subject.showing(&given.route.key_prefix), text);
        return;
    }
    // A key of the one that begins with the rest is a key of the other.
    for (short, long) in [(given, other), (other, given)] {
        let rest = long.route.key_prefix.strip_prefix(&short.route.key_prefix);
        if let Some(rest) = rest.filter(|_| differ(short, long)) {
            let (rest, long) = (quoted(rest), long.title());
            let text = format!(
                "its keys that begin with {rest} are keys of [{long}] in Redis, which has another \
                 source; give both a key_prefix, neither the beginning of the other"
            );
            report.note(report.section(&short.title()), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Loaded, Mistakes, NO_ENVIRONMENT, parse};

    /// Routes a and b on sources one and two, with these prefixes; that of `[redis]` is `app:`.
    fn routes(a: &str, b: &str) -> Result<Loaded, Mistakes> {
        let text = format!(
            "[redis]\nkey_prefix = app:\n[source one]\n[source two]\n\
             [route a]\npath = /a/<key>\nsource = one\nkey_prefix = {a}\n\
             [route b]\npath = /b/<key>\nsource = two\nkey_prefix = {b}\n"
        );
        parse(&text, "c.ini", NO_ENVIRONMENT)
    }

    fn prefixes(loaded: &Loaded) -> Vec<&str> {
        loaded
            .config
            .routes
            .iter()
            .map(|route| route.key_prefix.as_str())
            .collect()
    }

    #[test]
    fn a_second_source_gets_keys_of_its_own_and_a_note_says_so() {
        let loaded = routes("", "").unwrap();
        assert_eq!(prefixes(&loaded), ["app:", "app:b:"]);
        let expected = "c.ini:9: [route b]: key_prefix is \"app:b:\", because [route a] has another \
                        source and the prefix of [redis]";
        assert_eq!(loaded.notes[0], expected);
        assert!(loaded.notes[1].contains("keys that begin with \"b:\" are keys of [route b]"));
    }

    #[test]
    fn routes_with_the_same_source_share_their_keys() {
        let text = "[route a]\npath = /a/<key>\n[route b]\npath = /b/<key>\n";
        let loaded = parse(text, "c.ini", NO_ENVIRONMENT).unwrap();
        assert_eq!(prefixes(&loaded), ["", ""]);
        assert!(loaded.notes.is_empty());
    }

    #[test]
    fn a_given_prefix_that_another_source_has_is_a_mistake() {
        let why = routes("", "app:").unwrap_err().to_string();
        assert!(
            why.starts_with("c.ini:12: [route b] key_prefix = \"app:\": [route a] has"),
            "{why}"
        );
        let why = routes("x:", "x:").unwrap_err().to_string();
        assert!(
            why.starts_with("c.ini:12: [route b] key_prefix = \"x:\": [route a] has"),
            "{why}"
        );
        let loaded = routes("a:", "b:").unwrap();
        assert_eq!(
            (prefixes(&loaded), loaded.notes.len()),
            (vec!["a:", "b:"], 0)
        );
    }
}
