//! The http source against a real server that does everything wrong there is to do.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::*;
use crate::source::http::origin::{Answer, Origin};

pub const TIMEOUT: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(150);
const MAX_BODY: u64 = 1000;

/// A source with this URL before the key; after it comes `/v?w=1`.
pub fn source(prefix: &str, timeout: Duration) -> HttpSource {
    HttpSource::new(&config::HttpSource {
        url: format!("{prefix}<key>/v?w=1").parse().unwrap(),
        timeout,
        max_body: MAX_BODY,
        max_concurrent: 4,
    })
}

/// A source that asks `origin` for `/a/<key>/v?w=1`.
pub fn source_of(origin: &Origin, timeout: Duration) -> HttpSource {
    source(&format!("http://{}/a/", origin.address), timeout)
}

/// A deadline that no test reaches.
pub fn far() -> Deadline {
    Deadline::after(clock::now(), Duration::from_secs(60))
}

fn fetch(answer: Answer) -> Result<Fetched, SourceError> {
    let origin = Origin::with([answer]);
    source_of(&origin, TIMEOUT).fetch("k", far())
}

/// The outcome of a fetch that gave `text`.
pub fn value(text: &str) -> Result<Fetched, SourceError> {
    Ok(Fetched::Value(text.to_owned()))
}

/// Asserts that a step that was given `SHORT` ended soon after it.
fn assert_ended_in_time(begun: Instant) {
    let took = clock::now() - begun;
    // ureq hands whole milliseconds to a connect.
    assert!(
        took > SHORT - Duration::from_millis(5) && took < SHORT * 6,
        "took {took:?}"
    );
}

#[test]
fn the_body_of_a_200_is_the_value_byte_for_byte() {
    let body = "\u{feff}{\"a\": \"é\"}\r\n\0";
    assert_eq!(fetch(Answer::Value(body.into())), value(body));
    assert_eq!(fetch(Answer::Value(Vec::new())), value(""));
    assert_eq!(
        fetch(Answer::Chunked(vec![b"one ", b"two"])),
        value("one two")
    );
    assert_eq!(
        fetch(Answer::UntilClose(b"all of it".to_vec())),
        value("all of it")
    );
}

#[test]
fn not_found_and_gone_are_no_such_thing() {
    for status in [404, 410] {
        assert_eq!(fetch(Answer::Status(status)), Ok(Fetched::NoSuchThing));
    }
}

#[test]
fn any_other_status_is_a_failure() {
    for status in [201, 203, 204, 206, 300, 400, 401, 403, 429, 500, 502, 503] {
        assert_eq!(
            fetch(Answer::Status(status)),
            Err(SourceError::Status(status))
        );
    }
}

#[test]
fn a_redirect_is_a_failure_and_is_not_followed() {
    let origin = Origin::with([Answer::Redirect]);
    let outcome = source_of(&origin, TIMEOUT).fetch("k", far());
    assert_eq!(outcome, Err(SourceError::Status(302)));
    assert_eq!(origin.heads().len(), 1);
}

#[test]
fn a_body_over_the_limit_is_a_failure_and_one_at_the_limit_is_not() {
    let limit = usize::try_from(MAX_BODY).unwrap();
    let too_large = Err(SourceError::TooLarge { limit: MAX_BODY });
    let full = "x".repeat(limit);
    let over = vec![b'x'; limit + 1];
    assert_eq!(fetch(Answer::Value(full.clone().into())), value(&full));
    assert_eq!(fetch(Answer::UntilClose(full.clone().into())), value(&full));
    assert_eq!(fetch(Answer::Value(over.clone())), too_large);
    assert_eq!(fetch(Answer::UntilClose(over)), too_large);
    assert_eq!(
        fetch(Answer::Chunked(vec![&[b'x'; 600], &[b'x'; 401]])),
        too_large
    );
}

#[test]
fn an_announced_length_over_the_limit_is_not_waited_for() {
    let begun = clock::now();
    let outcome = fetch(Answer::Announce(u64::MAX / 2));
    assert_eq!(outcome, Err(SourceError::TooLarge { limit: MAX_BODY }));
    assert!(clock::now() - begun < TIMEOUT / 2);
}

#[test]
fn a_body_that_is_not_plain_utf8_is_a_failure() {
    assert_eq!(
        fetch(Answer::Value(b"caf\xe9".to_vec())),
        Err(SourceError::NotUtf8)
    );
    let coded = fetch(Answer::With("Content-Encoding: br", b"text".to_vec()));
    assert_eq!(coded, Err(SourceError::NotUtf8));
    let plain = fetch(Answer::With("Content-Encoding: identity", b"text".to_vec()));
    assert_eq!(plain, value("text"));
}

#[test]
fn half_a_value_is_never_a_value() {
    for answer in [Answer::CutShort, Answer::ResetInBody(b"half".to_vec())] {
        let outcome = fetch(answer.clone());
        assert!(
            matches!(outcome, Err(SourceError::BrokenOff(_))),
            "{answer:?}: {outcome:?}"
        );
    }
}

#[test]
fn an_answer_that_is_none_is_a_failure() {
    for answer in [Answer::Close, Answer::Reset, Answer::Garbage] {
        let outcome = fetch(answer.clone());
        assert!(
            matches!(outcome, Err(SourceError::BrokenOff(_))),
            "{answer:?}: {outcome:?}"
        );
    }
}

#[test]
fn the_time_out_covers_the_whole_exchange() {
    let late = Answer::Latency(Duration::from_secs(30));
    for answer in [
        Answer::Hang,
        late,
        Answer::Drip,
        Answer::DripBody,
        Answer::Announce(9),
    ] {
        let origin = Origin::with([answer.clone()]);
        let begun = clock::now();
        let outcome = source_of(&origin, SHORT).fetch("k", far());
        assert_eq!(outcome, Err(SourceError::TimedOut), "{answer:?}");
        assert_ended_in_time(begun);
    }
}

#[test]
fn the_deadline_is_kept_when_it_is_before_the_time_out() {
    let origin = Origin::with([Answer::DripBody]);
    let source = source_of(&origin, TIMEOUT);
    let begun = clock::now();
    let outcome = source.fetch("k", Deadline::after(begun, SHORT));
    assert_eq!(outcome, Err(SourceError::TimedOut));
    assert_ended_in_time(begun);
    let seen = origin.heads().len();
    assert_eq!(
        source.fetch("k", Deadline::after(begun, SHORT)),
        Err(SourceError::TimedOut)
    );
    assert_eq!(
        origin.heads().len(),
        seen,
        "nothing is asked after the deadline"
    );
}

#[test]
fn slow_is_not_failed() {
    let slow = Answer::Latency(Duration::from_millis(50));
    assert_eq!(fetch(slow), value("late"));
    assert_eq!(fetch(Answer::Drip), value("slow"));
}

#[test]
fn nobody_listening_is_unreachable() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let outcome = source(&format!("http://u:secret@{address}/"), TIMEOUT).fetch("k", far());
    let Err(SourceError::Unreachable(cause)) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(cause.to_lowercase().contains("refused"), "{cause}");
    assert!(!cause.contains("secret"), "{cause}");
}

#[test]
fn a_full_backlog_costs_the_time_out_and_no_more() {
    // Nobody accepts: once the backlog is full, the kernel drops what comes.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(
            &"127.0.0.1:0"
                .parse::<std::net::SocketAddr>()
                .unwrap()
                .into(),
        )
        .unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let _taken = std::net::TcpStream::connect(address).unwrap();
    let begun = clock::now();
    let outcome = source(&format!("http://{address}/"), SHORT).fetch("k", far());
    assert_eq!(outcome, Err(SourceError::TimedOut));
    assert_ended_in_time(begun);
}

#[test]
fn connections_are_kept_and_used_again() {
    let origin = Origin::with([
        Answer::Value(b"1".to_vec()),
        Answer::Status(404),
        Answer::ChunkedNotFound,
        Answer::Status(500),
        Answer::Status(204),
        Answer::Value(b"2".to_vec()),
    ]);
    let source = source_of(&origin, TIMEOUT);
    for _ in 0..6 {
        let _ = source.fetch("k", far());
    }
    assert_eq!(origin.heads().len(), 6);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn as_many_connections_are_kept_as_fetches_may_run() {
    let origin = Origin::with([Answer::Latency(Duration::from_millis(100))]);
    let source = source_of(&origin, TIMEOUT);
    for _ in 0..2 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(source.fetch("k", far()), value("late")));
            }
        });
    }
    assert_eq!(origin.connections(), 4);
}

#[test]
fn a_connection_closed_while_idle_is_no_failure() {
    let origin = Origin::with([Answer::CloseAfterwards]);
    let source = source_of(&origin, TIMEOUT);
    for _ in 0..20 {
        assert_eq!(source.fetch("k", far()), value("kept"));
    }
    assert_eq!(origin.heads().len(), 20);
}

#[test]
fn a_request_lost_on_a_kept_connection_is_sent_again_once() {
    let origin = Origin::with([Answer::ResetOnNextRequest]);
    let source = source_of(&origin, TIMEOUT);
    for _ in 0..5 {
        assert_eq!(source.fetch("k", far()), value("kept"));
    }
    assert_eq!(origin.connections(), 5);
}

#[test]
fn a_lost_request_is_sent_again_on_a_new_connection_and_not_on_another_kept_one() {
    let origin = Origin::with([Answer::ResetOnNextRequest]);
    let source = source_of(&origin, TIMEOUT);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(source.fetch("k", far()), value("kept")));
        }
    });
    assert_eq!(origin.connections(), 3);
    assert_eq!(source.fetch("k", far()), value("kept"));
    assert_eq!(origin.connections(), 4);
}

#[test]
fn a_server_that_ends_new_connections_is_asked_once_only() {
    for ending in [Answer::Close, Answer::Reset] {
        let origin = Origin::with([Answer::Value(b"1".to_vec()), ending]);
        let source = source_of(&origin, TIMEOUT);
        assert_eq!(source.fetch("k", far()), value("1"));
        // The kept connection is tried, then one new one.
        assert!(source.fetch("k", far()).is_err());
        assert_eq!(origin.heads().len(), 3);
        assert!(source.fetch("k", far()).is_err());
        assert_eq!(origin.heads().len(), 4);
    }
}
