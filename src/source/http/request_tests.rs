//! What the http source puts on the wire: where it asks for a key, and what it says of itself.

use percent_encoding::percent_decode_str;
use proptest::prelude::*;

use super::*;
use crate::source::http::origin::{Answer, Origin};
use crate::source::http::tests::{TIMEOUT, far, source, source_of, value};

#[test]
fn requests_say_who_asks_and_carry_the_credentials_of_the_url() {
    let origin = Origin::with([Answer::Value(b"1".to_vec())]);
    let source = source(&format!("http://ann:p%40ss@{}/a/", origin.address), TIMEOUT);
    assert_eq!(source.fetch("k", far()), value("1"));
    let head = origin.heads().remove(0).to_lowercase();
    assert!(head.starts_with("get /a/k/v?w=1 http/1.1\r\n"), "{head}");
    assert!(
        head.contains(&format!("\r\nhost: {}\r\n", origin.address)),
        "{head}"
    );
    assert!(head.contains(concat!(
        "\r\nuser-agent: evenkeel/",
        env!("CARGO_PKG_VERSION"),
        "\r\n"
    )));
    assert!(
        head.contains("\r\nauthorization: basic yw5uonbac3m=\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\naccept-encoding: identity\r\n"), "{head}");
    assert!(!head.contains("cookie"), "{head}");
}

#[test]
fn nasty_keys_reach_the_wire_as_one_segment() {
    let origin = Origin::with([Answer::Value(b"1".to_vec())]);
    let source = source_of(&origin, TIMEOUT);
    let keys = [
        ("a/b", "a%2Fb"),
        ("a?b", "a%3Fb"),
        ("a#b", "a%23b"),
        ("%2F", "%252F"),
        ("a b", "a%20b"),
        ("é", "%C3%A9"),
        ("\u{0}", "%00"),
        ("\r\nX: y", "%0D%0AX%3A%20y"),
        (";", "%3B"),
        ("\\", "%5C"),
        ("..;", "..%3B"),
        ("../x", "..%2Fx"),
        ("...", "..."),
    ];
    for (key, segment) in keys {
        assert_eq!(source.fetch(key, far()), value("1"), "{key:?}");
        assert_eq!(origin.last_target(), format!("/a/{segment}/v?w=1"));
    }
    assert!(origin.heads().iter().all(|head| !head.contains("\r\nX:")));
}

#[test]
fn keys_that_can_not_be_a_segment_are_no_such_thing_without_asking() {
    let origin = Origin::with([Answer::Value(b"1".to_vec())]);
    let source = source_of(&origin, TIMEOUT);
    for key in ["", ".", ".."] {
        assert_eq!(
            source.fetch(key, far()),
            Ok(Fetched::NoSuchThing),
            "{key:?}"
        );
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn long_keys_are_asked_for_up_to_the_longest_url() {
    let origin = Origin::with([Answer::Value(b"1".to_vec())]);
    let source = source_of(&origin, TIMEOUT);
    let fixed = source.address.url("x").unwrap().len() - 1;
    let longest = "x".repeat(MAX_URL - fixed);
    assert_eq!(source.fetch(&longest, far()), value("1"));
    let outcome = source.fetch(&(longest + "x"), far());
    assert!(
        matches!(outcome, Err(SourceError::NotAskable(_))),
        "{outcome:?}"
    );
}

#[test]
fn names_are_resolved_by_the_system() {
    let origin = Origin::with([Answer::Value(b"1".to_vec())]);
    let source = source(
        &format!("http://localhost:{}/a/", origin.address.port()),
        TIMEOUT,
    );
    assert_eq!(source.fetch("k", far()), value("1"));
}

#[test]
fn every_key_arrives_as_exactly_one_segment() {
    let origin = Origin::with([Answer::Value(b"1".to_vec())]);
    let source = source_of(&origin, TIMEOUT);
    proptest!(|(key in any::<String>())| {
        prop_assume!(!matches!(key.as_str(), "" | "." | ".."));
        prop_assert_eq!(source.fetch(&key, far()), value("1"));
        let target = origin.last_target();
        let segment = target.strip_prefix("/a/").unwrap().strip_suffix("/v?w=1").unwrap();
        prop_assert!(!segment.contains(['/', '?', '#']), "{}", segment);
        prop_assert_eq!(percent_decode_str(segment).decode_utf8().unwrap(), key);
    });
}
