//! What a head may be, by example and by property.

use proptest::prelude::*;

use super::*;

const MAX: usize = 1024;

fn whole(text: &str) -> Head<'_> {
    match inspect(text.as_bytes(), MAX) {
        Verdict::Whole(head) => head,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn refused(text: &str) -> Refusal {
    match inspect(text.as_bytes(), MAX) {
        Verdict::Refused(refusal) => refusal,
        other => panic!("{text:?}: {other:?}"),
    }
}

#[test]
fn a_sound_head_is_read_and_what_follows_is_left() {
    let text = "\r\nGET /a?b HTTP/1.1\r\nhOsT: h:1\r\nX-Request-Id:  id \r\n\r\nGET";
    let head = whole(text);
    assert_eq!((head.method, head.target), ("GET", "/a?b"));
    assert_eq!(head.fields[Field::Host as usize], Some("h:1"));
    assert_eq!(head.fields[Field::RequestId as usize], Some("id"));
    assert_eq!(head.bytes, text.len() - 3);
    assert!(head.keeps_alive && !head.has_body && !head.is_http_1_0);
}

#[test]
fn a_value_that_is_not_printable_names_nobody() {
    for host in ["a\tb", "caf\u{e9}", ""] {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(
            whole(&text).fields[Field::Host as usize],
            Some(""),
            "{host:?}"
        );
    }
}

#[test]
fn who_keeps_the_connection_alive() {
    assert!(!whole("GET / HTTP/1.0\r\n\r\n").keeps_alive);
    assert!(whole("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keeps_alive);
    assert!(!whole("GET / HTTP/1.1\r\nConnection: x, CLOSE\r\n\r\n").keeps_alive);
}

#[test]
fn every_prefix_of_a_sound_head_is_partial() {
    let text = "GET /a HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n";
    for end in 0..text.len() {
        let verdict = inspect(&text.as_bytes()[..end], MAX);
        assert_eq!(verdict, Verdict::Partial, "{:?}", &text[..end]);
    }
}

#[test]
fn bodies_are_announced_in_one_way_or_refused() {
    let with = |fields: &str| format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n");
    for fields in [
        "Content-Length: 7",
        "Content-Length: 100000000000000",
        "Transfer-Encoding: Chunked",
        "Transfer-Encoding: gzip, chunked",
    ] {
        assert!(whole(&with(fields)).has_body, "{fields}");
    }
    assert!(!whole(&with("Content-Length: 0")).has_body);
    for fields in [
        "Content-Length: -1",
        "Content-Length: +1",
        "Content-Length: 0x1",
        "Content-Length: ",
        "Content-Length: 1, 1",
        "Content-Length: 18446744073709551616",
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: 1\r\nContent-Length: 1",
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding : chunked",
        " Transfer-Encoding: chunked",
        "A: b\r\n Transfer-Encoding: chunked",
        "Host: a\r\nHost: b",
    ] {
        assert_eq!(refused(&with(fields)), Refusal::Malformed, "{fields:?}");
    }
    for fields in [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: ",
        "Transfer-Encoding: chunked;a=b",
    ] {
        assert_eq!(
            refused(&with(fields)),
            Refusal::NotImplemented,
            "{fields:?}"
        );
    }
    for fields in [
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, chunked",
    ] {
        assert_eq!(refused(&with(fields)), Refusal::Malformed, "{fields:?}");
    }
    assert_eq!(refused(&with("Expect: 200-ok")), Refusal::ExpectationFailed);
}

#[test]
fn what_is_not_http_is_refused_at_once() {
    for text in [
        "nonsense\r\n\r\n",
        "GET /a b HTTP/1.1\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\n\n",
        "GET / HTTP/1.1\r\nA: b\n\r\n",
        "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
        "GET /\u{e9} HTTP/1.1\r\n\r\n",
        "GET /\0 HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nA: \0\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\n: x\r\n\r\n",
        "\u{16}\u{3}\u{1}",
        "GET / http/1.1\r\n\r\n",
        "GET / HTTP/1.10\r\n\r\n",
        " GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "GET / HTTP/0.9\r\n\r\n",
    ] {
        assert_eq!(refused(text), Refusal::Malformed, "{text:?}");
    }
    whole("GET / HTTP/1.1\r\nUser-Agent: caf\u{e9}\r\n\r\n");
}

#[test]
fn limits_hold_for_the_line_the_fields_and_the_whole() {
    assert_eq!(refused(&"G".repeat(MAX)), Refusal::TargetTooLong);
    let long = format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(MAX));
    assert_eq!(refused(&long), Refusal::TooLarge);
    let many = format!("GET / HTTP/1.1\r\n{}", "A:b\r\n".repeat(FIELDS_MAX + 1));
    assert_eq!(refused(&many), Refusal::TooLarge);
    let exactly = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "b".repeat(MAX - 23));
    assert_eq!(whole(&exactly).bytes, MAX);
}

proptest! {
    #[test]
    fn no_bytes_upset_it(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = inspect(&bytes, 300);
    }

    #[test]
    fn a_verdict_never_depends_on_what_follows_the_head(
        fields in "([A-Za-z-]{1,8}: ?[ -~]{0,8}\r\n){0,4}", after in ".{0,20}",
    ) {
        let head = format!("GET /x HTTP/1.1\r\n{fields}\r\n");
        let alone = inspect(head.as_bytes(), MAX);
        let followed = format!("{head}{after}");
        prop_assert_eq!(&alone, &inspect(followed.as_bytes(), MAX));
        prop_assert!(alone != Verdict::Partial);
    }
}
