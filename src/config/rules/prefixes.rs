//! What each route puts before its keys in Redis. An answer of one route must never be taken for
//! one of another, so routes with different sources may not have the same prefix.

use crate::config::report::Report;
use crate::config::sections::route::Draft;
use crate::config::wording::quoted;

/// The prefix of each route, in the order of the drafts. A route that gives none has that of
/// `[redis]`, called `default` here; where an earlier route with another source has that already,
/// its own name and `:` are added. `sources` holds the source of each route, where it is known.
pub(crate) fn settle(
    drafts: &[Draft],
    sources: &[Option<usize>],
    default: &str,
    report: &mut Report,
) -> Vec<String> {
    let mut settled: Vec<Settled> = Vec::new();
    for (draft, source) in drafts.iter().zip(sources) {
        let given = draft.route.key_prefix.clone();
        let mut this = Settled {
            title: draft.title(),
            source: *source,
            is_given: !given.is_empty(),
            prefix: if given.is_empty() {
                default.to_owned()
            } else {
                given
            },
        };
        let other = settled.iter().find(|other| other.collides(&this));
        if let (Some(other), false) = (other, this.is_given) {
            this.prefix = format!("{default}{}:", draft.route.name);
            let text = format!(
                "key_prefix is {}, because [{}] has another source and the prefix of [redis]",
                quoted(&this.prefix),
                other.title,
            );
            report.note(report.section(&this.title), text);
        }
        for other in &settled {
            compare(other, &this, report);
        }
        settled.push(this);
    }
    settled.into_iter().map(|route| route.prefix).collect()
}

/// A route with its prefix.
struct Settled {
    title: String,
    source: Option<usize>,
    /// Whether the file gives the prefix.
    is_given: bool,
    prefix: String,
}

impl Settled {
    /// Whether their sources are known and different.
    fn differs(&self, other: &Self) -> bool {
        self.source.is_some() && other.source.is_some() && self.source != other.source
    }

    /// Whether values of different sources would have the same keys.
    fn collides(&self, other: &Self) -> bool {
        self.prefix == other.prefix && self.differs(other)
    }
}

/// Reports two routes that would mix up their values.
fn compare(earlier: &Settled, later: &Settled, report: &mut Report) {
    if earlier.collides(later) {
        // The mistake is with a prefix that is given; two that are not never collide.
        let (wrong, right) = match later.is_given {
            true => (later, earlier),
            false => (earlier, later),
        };
        let text = format!(
            "[{}] has the same key_prefix and another source: each would answer with the values \
             of the other; give each its own",
            right.title,
        );
        let subject = report
            .key(&wrong.title, "key_prefix")
            .showing(&wrong.prefix);
        report.mistake(subject, text);
        return;
    }
    let (short, long) = match earlier.prefix.len() < later.prefix.len() {
        true => (earlier, later),
        false => (later, earlier),
    };
    // A key of the one that begins with the rest is a key of the other.
    let rest = long.prefix.strip_prefix(&short.prefix);
    if let Some(rest) = rest.filter(|_| short.differs(long)) {
        let text = format!(
            "its keys that begin with {} are keys of [{}] in Redis, which has another source; \
             give both a key_prefix, neither the beginning of the other",
            quoted(rest),
            long.title,
        );
        report.note(report.section(&short.title), text);
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
