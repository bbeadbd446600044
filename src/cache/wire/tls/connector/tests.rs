//! Sessions with a rustls server of the test's own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{HandshakeKind, ServerConfig, ServerConnection, Stream};

use super::*;
use crate::base::clock::{self, Deadline};
use crate::cache::wire::fault::Step;
use crate::cache::wire::socket::Socket;

/// A connector, and a server that it trusts.
fn pair() -> (Connector, Arc<ServerConfig>, tempfile::TempDir) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]);
    let made = made.expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    let ca_file = folder.path().join("ca");
    std::fs::write(&ca_file, made.cert.pem()).expect("a file");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("a server");
    let connector = Connector::new(&Tls {
        ca_file: Some(ca_file),
        identity: None,
        server_name: None,
    });
    (connector, Arc::new(server), folder)
}

/// A server of one connection, and a socket to it.
fn serve<T: Send + 'static>(
    work: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (Socket, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = thread::spawn(move || work(listener.accept().expect("a connection").0));
    (
        Socket::new(TcpStream::connect(address).expect("a server")),
        server,
    )
}

fn soon() -> Deadline {
    Deadline::after(clock::now(), Duration::from_secs(10))
}

/// Says `words` and ends when the other side does.
fn say(config: Arc<ServerConfig>, mut stream: TcpStream, words: &[&[u8]]) {
    let mut connection = ServerConnection::new(config).expect("a server");
    let mut stream = Stream::new(&mut connection, &mut stream);
    for word in words {
        stream.read_exact(&mut [0]).expect("a byte");
        stream.write_all(word).expect("it is read");
    }
    let _ = stream.read(&mut [0]);
}

#[test]
fn a_later_handshake_resumes_the_session_of_an_earlier_one() {
    let (connector, config, _folder) = pair();
    let kinds = [(); 2].map(|()| {
        let config = Arc::clone(&config);
        let (socket, server) = serve(|stream| say(config, stream, &[b"x"]));
        let mut session = connector.session("127.0.0.1").expect("a session");
        session.shake_hands(&socket, soon()).expect("trust");
        session
            .send_all(&socket, b"a", Step::Reply.by(soon()))
            .expect("it is read");
        let count = session.receive(&socket, &mut [0; 9], Step::Reply.by(soon()));
        assert_eq!(count, Ok(1));
        socket.shut_down();
        server.join().expect("no panic");
        session.connection.handshake_kind()
    });
    let expected = [HandshakeKind::Full, HandshakeKind::Resumed].map(Some);
    assert_eq!(kinds, expected);
}

#[test]
fn tickets_are_no_words_and_words_that_nobody_asked_for_are() {
    let (connector, config, _folder) = pair();
    let (socket, server) = serve(|stream| say(config, stream, &[b"x"]));
    let mut session = connector.session("127.0.0.1").expect("a session");
    session.shake_hands(&socket, soon()).expect("trust");
    // The tickets come with the end of the server's handshake, which ours does not wait for.
    let end = soon();
    while socket.is_quiet() && !end.passed(clock::now()) {
        thread::yield_now();
    }
    assert!(!socket.is_quiet() && session.check_quiet(&socket));
    assert!(socket.is_quiet(), "they are taken in");
    session
        .send_all(&socket, b"a", Step::Reply.by(soon()))
        .expect("it is read");
    while session.check_quiet(&socket) && !end.passed(clock::now()) {
        thread::yield_now();
    }
    assert!(!session.check_quiet(&socket));
    socket.shut_down();
    assert!(!session.check_quiet(&socket));
    server.join().expect("no panic");
}

#[test]
fn what_is_not_tls_is_said_to_be_none() {
    let (connector, _config, _folder) = pair();
    let (socket, server) = serve(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"-ERR unknown command\r\n");
    });
    let mut session = connector.session("127.0.0.1").expect("a session");
    let fault = session.shake_hands(&socket, soon());
    assert_eq!(
        fault,
        Err(Fault::Protocol("the server does not speak TLS".to_owned()))
    );
    server.join().expect("no panic");
}

#[test]
fn a_handshake_ends_at_its_deadline_and_when_it_is_ended_from_outside() {
    let (connector, _config, _folder) = pair();
    let hang = |mut stream: TcpStream| while stream.read(&mut [0; 1024]).is_ok_and(|n| n > 0) {};
    let (socket, server) = serve(hang);
    let mut session = connector.session("127.0.0.1").expect("a session");
    let deadline = Deadline::after(clock::now(), Duration::from_millis(50));
    let fault = session.shake_hands(&socket, deadline);
    assert_eq!(fault, Err(Fault::TimedOut(Step::TlsHandshake)));
    drop(socket);
    server.join().expect("no panic");
    let (socket, server) = serve(hang);
    let mut session = connector.session("127.0.0.1").expect("a session");
    thread::scope(|scope| {
        let shaking = scope.spawn(|| session.shake_hands(&socket, soon()));
        socket.shut_down();
        let fault = shaking.join().expect("no panic");
        assert!(matches!(fault, Err(Fault::Closed(_))), "{fault:?}");
    });
    server.join().expect("no panic");
}
