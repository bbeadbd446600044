//! Nothing from a request reaches a response header or a log line unescaped.

use super::{Target, short_limits};
use crate::harness::{SOON, wait_until};

#[test]
fn nothing_from_a_request_reaches_a_header_or_a_log_line_unescaped() {
    for contract in ["flask", "fastapi"] {
        let settings = short_limits()
            .set("source demo", "fail_prefix", "bad")
            .set("server", "contract", contract);
        let target = Target::start_with(settings, "");
        let nasty = "%0d%0aSet-Cookie:%20evil=1%0d%0a%0d%0a%1b%5b31m%00%7f%c2%9b%e2%80%a8%22";
        for request in [
            format!("GET /api/data/bad{nasty} HTTP/1.1\r\nHost: h\r\n"),
            format!("GET /api/data/{nasty} HTTP/1.1\r\nHost: h\r\n"),
            format!("GET //api//data//{nasty} HTTP/1.1\r\nHost: evil%0d%0a\r\n"),
            format!("GET /api/data/{nasty}/ HTTP/1.1\r\nHost: a,b;c\r\n"),
            format!("GET /{nasty}?{nasty} HTTP/1.1\r\nHost: h\r\n"),
            format!("GET //api//data/x?{nasty} HTTP/1.1\r\nHost: h\r\n"),
            "GET //api//data/x?a\"b<c>\\d`{|} HTTP/1.1\r\nHost: h\r\n".to_owned(),
            "GET /api/data/a HTTP/1.1\r\nHost: h\r\nX-Request-Id: evil\tid\r\n".to_owned(),
            "GET /api/data/a HTTP/1.1\r\nHost: h\r\nX-Request-Id: evil; id=\"1\"\r\n".to_owned(),
            format!(
                "GET /api/data/a HTTP/1.1\r\nHost: h\r\nX-Request-Id: {}\r\n",
                "evil".repeat(40)
            ),
            "GET //api//data/a HTTP/1.1\r\nHost: evil:80:80\r\nX-Forwarded-Proto: evil\r\n"
                .to_owned(),
        ] {
            let mut client = target.client();
            client.send(format!("{request}Connection: close\r\n\r\n"));
            let bytes = client.rest().expect("the server ends it");
            let end = bytes
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
                .expect("a head");
            let head = std::str::from_utf8(&bytes[..end]).expect("ASCII");
            for line in head.split("\r\n") {
                assert!(
                    line.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
                    "{request:?}: {line:?}"
                );
                assert!(
                    !line.to_ascii_lowercase().starts_with("set-cookie"),
                    "{request:?}: {line:?}"
                );
                assert!(
                    !line.starts_with("X-Request-Id: evil"),
                    "{request:?}: {line:?}"
                );
            }
            assert_eq!(
                bytes.windows(9).filter(|w| w == b"HTTP/1.1 ").count(),
                1,
                "{request:?}"
            );
        }
        let mut kept = target.client();
        let response = kept.ask("GET", "/api/data/a", "X-Request-Id: good_id-1.2\r\n");
        assert_eq!(response.field("x-request-id"), Some("good_id-1.2"));
        wait_until(SOON, "the failure is logged", || {
            target.log_lines("source demo") > 0
        });
        let log = target.log();
        let is_plain =
            |c: char| c == '\n' || !(c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c));
        assert!(log.chars().all(is_plain), "{log:?}");
        assert!(
            log.lines().all(|line| !line.starts_with("Set-Cookie")),
            "{log}"
        );
    }
}
