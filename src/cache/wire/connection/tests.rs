//! Connections to servers that answer what a test tells them to.

use std::io::Write;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockAddr, Type};

use super::*;
use crate::cache::wire::dial::Dial;
use crate::cache::wire::handshake::Handshake;
use crate::config::{HostPort, Login, Protocol, RedisAddress};

/// A server that reads each request and sends the next of `replies`, and then closes.
fn connected_to(replies: Vec<&'static [u8]>) -> Connection {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let dial = dial(&tcp(&listener));
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        for reply in replies {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(reply);
        }
    });
    dial.connect(soon()).expect("a connection")
}

fn tcp(listener: &TcpListener) -> RedisAddress {
    let address = listener.local_addr().expect("an address");
    RedisAddress::Tcp(HostPort {
        host: address.ip().to_string(),
        port: address.port(),
    })
}

fn dial(address: &RedisAddress) -> Dial {
    let handshake = Handshake::new(Protocol::Resp2, Login::Nobody, 0);
    Dial::new(address, None, handshake, false)
}

fn soon() -> Deadline {
    Deadline::after(clock::now(), Duration::from_secs(10))
}

fn get(connection: &mut Connection) -> Result<Vec<Value>, Fault> {
    let mut get = redis::cmd("GET");
    get.arg("k");
    connection.call(&[get], REPLY_MAX_BYTES, soon())
}

#[test]
fn what_comes_beyond_a_reply_is_never_the_next_one() {
    for beyond in [&b"$1\r\na\r\n$1\r\na\r\n"[..], b"$1\r\na\r\n>2\r\n$1"] {
        let mut connection = connected_to(vec![beyond, b"$1\r\nb\r\n"]);
        assert_eq!(
            get(&mut connection),
            Ok(vec![Value::BulkString(b"a".to_vec())])
        );
        assert!(!connection.check_usable());
    }
}

#[test]
fn a_push_answers_nobody_and_harms_nothing() {
    let push = ">2\r\n$7\r\nmessage\r\n$1\r\nx\r\n";
    let attribute = "|1\r\n+ttl\r\n:3600\r\n";
    let reply = format!("{push}{push}{attribute}$1\r\na\r\n{push}").leak();
    let mut connection = connected_to(vec![reply.as_bytes(), b"$1\r\nb\r\n"]);
    assert_eq!(
        get(&mut connection),
        Ok(vec![Value::BulkString(b"a".to_vec())])
    );
    assert!(connection.check_usable());
    assert_eq!(
        get(&mut connection),
        Ok(vec![Value::BulkString(b"b".to_vec())])
    );
}

#[test]
fn garbage_and_half_a_reply_break_the_connection() {
    let mut garbage = connected_to(vec![b"HTTP/1.1 400 Bad Request\r\n\r\n"]);
    assert!(matches!(get(&mut garbage), Err(Fault::Protocol(_))));
    assert!(!garbage.check_usable());
    let mut half = connected_to(vec![b"$10\r\nabc"]);
    assert!(matches!(get(&mut half), Err(Fault::Closed(_))));
    assert!(!half.check_usable());
}

#[test]
fn a_call_ends_at_its_deadline_and_the_connection_with_it() {
    let mut connection = connected_to(vec![b"$10\r\nabc", b""]);
    let deadline = Deadline::after(clock::now(), Duration::from_millis(50));
    let reply = connection.call(&[redis::cmd("PING")], REPLY_MAX_BYTES, deadline);
    assert_eq!(reply, Err(Fault::TimedOut(Step::Reply)));
    assert!(!connection.check_usable());
}

#[test]
fn a_call_brings_no_more_than_it_may() {
    let reply = format!("$200000\r\n{}\r\n", "x".repeat(200_000)).leak();
    let mut connection = connected_to(vec![reply.as_bytes()]);
    let reply = connection.call(&[redis::cmd("PING")], 100_000, soon());
    assert_eq!(reply, Err(Fault::TooLarge));
    assert!(!connection.check_usable());
}

#[test]
fn a_full_backlog_of_a_unix_socket_costs_no_more_than_the_deadline() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let listener = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    listener
        .bind(&SockAddr::unix(&path).expect("a path"))
        .expect("a socket of ours");
    listener.listen(0).expect("a socket of ours");
    let dial = dial(&RedisAddress::Unix(path));
    let connect = || dial.connect(Deadline::after(clock::now(), Duration::from_millis(50)));
    let connections: Vec<_> = (0..3).map(|_| connect()).collect();
    let last = connections.into_iter().next_back().and_then(Result::err);
    assert_eq!(last, Some(Fault::TimedOut(Step::Connect)));
}

#[test]
fn a_connection_that_was_given_up_meanwhile_is_not_opened() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let connection = dial(&tcp(&listener)).connect_watched(soon(), |_| false);
    assert_eq!(connection.err(), Some(Fault::GivenUp));
}
