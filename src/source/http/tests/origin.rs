//! A real HTTP server for the tests of the http source, with one enum of what it does wrong. Its
//! threads end and are joined when it is dropped.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::base::clock::{self, Deadline};

/// What the origin does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// 200 with this body and its `Content-Length`; the connection is kept.
    Value(Vec<u8>),
    /// This status with a short body; the connection is kept.
    Status(u16),
    /// 404 with a chunked body; the connection is kept.
    ChunkedNotFound,
    /// 302 to another path.
    Redirect,
    /// 200 in chunks of these; the connection is kept.
    Chunked(Vec<&'static [u8]>),
    /// 200 with this header line and body.
    With(&'static str, Vec<u8>),
    /// 200 without a length, this body, then the connection is closed in order.
    UntilClose(Vec<u8>),
    /// 200 without a length, this body, then the connection is reset.
    ResetInBody(Vec<u8>),
    /// 200 that announces this many bytes and sends none.
    Announce(u64),
    /// 200 that announces 100 bytes and closes after 10.
    CutShort,
    /// The whole answer, one byte every 20 ms.
    Drip,
    /// The head at once, then a body of 1,000 bytes, one every 20 ms.
    DripBody,
    /// 200 after this time.
    Latency(Duration),
    /// Nothing, for as long as the origin lives.
    Hang,
    /// Closes without a word.
    Close,
    /// Resets without a word.
    Reset,
    /// Not HTTP.
    Garbage,
    /// 200 as if the connection were to be kept, and closes it.
    CloseAfterwards,
    /// 200 after 50 ms; the connection is reset when the next request has come on it.
    ResetOnNextRequest,
}

struct Shared {
    /// Protects the answers to come; the last one is repeated.
    answers: Mutex<VecDeque<Answer>>,
    /// Protects the heads of all requests seen.
    heads: Mutex<Vec<String>>,
    connections: AtomicUsize,
    stopped: AtomicBool,
    /// Protects nothing: what a wait for the stop needs.
    stop: Mutex<()>,
    stopping: Condvar,
}

/// A running server on a free port of 127.0.0.1.
pub(crate) struct Origin {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Origin {
    /// Gives every request the next of `answers`, then the last one for ever.
    pub(crate) fn with<const N: usize>(answers: [Answer; N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            answers: Mutex::new(answers.into()),
            heads: Mutex::default(),
            connections: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            stop: Mutex::default(),
            stopping: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = thread::spawn(move || accepting.accept(&listener));
        Self {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// The heads of all requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().clone()
    }

    /// The request target of the last request.
    pub(crate) fn last_target(&self) -> String {
        let heads = self.heads();
        let line = heads.last().unwrap().lines().next().unwrap();
        let target = line.strip_prefix("GET ").unwrap();
        target.strip_suffix(" HTTP/1.1").unwrap().to_owned()
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        drop(self.shared.stop.lock());
        self.shared.stopping.notify_all();
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        let mut serving = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            if self.stopped.load(Ordering::SeqCst) {
                break;
            }
            self.connections.fetch_add(1, Ordering::SeqCst);
            let shared = Arc::clone(self);
            serving.push(thread::spawn(move || shared.serve(stream)));
        }
        for connection in serving {
            let _ = connection.join();
        }
    }

    fn serve(&self, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        // So that a connection nobody uses sees the stop.
        stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let mut reset_next = false;
        while let Some(head) = self.head(&mut stream) {
            if reset_next {
                let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                return;
            }
            self.heads.lock().unwrap().push(head);
            let answer = self.next_answer();
            reset_next = matches!(answer, Answer::ResetOnNextRequest);
            if !self.answer(&mut stream, answer).unwrap_or(false) {
                return;
            }
        }
    }

    fn head(&self, stream: &mut TcpStream) -> Option<String> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.stopped.load(Ordering::SeqCst) {
                        return None;
                    }
                }
                _ => return None,
            }
        }
        Some(String::from_utf8_lossy(&head).into_owned())
    }

    fn next_answer(&self) -> Answer {
        let mut answers = self.answers.lock().unwrap();
        if answers.len() > 1 {
            return answers.pop_front().unwrap();
        }
        answers[0].clone()
    }

    /// Answers; says whether the connection is to be kept.
    fn answer(&self, stream: &mut TcpStream, answer: Answer) -> io::Result<bool> {
        let ok = "HTTP/1.1 200 OK";
        match answer {
            Answer::Value(body) => whole(stream, ok, &body)?,
            Answer::Status(204) => stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?,
            Answer::Status(status) => whole(stream, &format!("HTTP/1.1 {status} x"), b"no")?,
            Answer::ChunkedNotFound => {
                write!(
                    stream,
                    "HTTP/1.1 404 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"
                )?;
            }
            Answer::Redirect => whole(stream, "HTTP/1.1 302 Found\r\nLocation: /elsewhere", b"")?,
            Answer::Chunked(chunks) => {
                write!(stream, "{ok}\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                for chunk in chunks {
                    write!(stream, "{:x}\r\n", chunk.len())?;
                    stream.write_all(chunk)?;
                    stream.write_all(b"\r\n")?;
                }
                stream.write_all(b"0\r\n\r\n")?;
            }
            Answer::With(header, body) => whole(stream, &format!("{ok}\r\n{header}"), &body)?,
            Answer::Announce(length) => {
                write!(stream, "{ok}\r\nContent-Length: {length}\r\n\r\n")?;
                self.pause(Duration::from_secs(60));
            }
            Answer::Latency(time) => {
                self.pause(time);
                whole(stream, ok, b"late")?;
            }
            Answer::Drip => self.drip(
                stream,
                format!("{ok}\r\nContent-Length: 4\r\n\r\nslow").as_bytes(),
            )?,
            Answer::DripBody => {
                write!(stream, "{ok}\r\nContent-Length: 1000\r\n\r\n")?;
                self.drip(stream, &[b'x'; 1000])?;
            }
            Answer::ResetOnNextRequest => {
                self.pause(Duration::from_millis(50));
                whole(stream, ok, b"kept")?;
            }
            last => return self.last_answer(stream, last),
        }
        Ok(true)
    }

    /// Answers after which the connection is not kept.
    fn last_answer(&self, stream: &mut TcpStream, answer: Answer) -> io::Result<bool> {
        match answer {
            Answer::UntilClose(body) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
                stream.write_all(&body)?;
            }
            Answer::ResetInBody(body) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
                stream.write_all(&body)?;
                // Long enough for the body to be read: a reset discards what was not.
                self.pause(Duration::from_millis(100));
                socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?;
            }
            Answer::Reset => socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?,
            Answer::CutShort => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")?;
            }
            Answer::Hang => self.pause(Duration::from_secs(60)),
            Answer::Garbage => stream.write_all(b"-ERR unknown command 'GET'\r\n\r\n")?,
            Answer::CloseAfterwards => whole(stream, "HTTP/1.1 200 OK", b"kept")?,
            _ => {}
        }
        Ok(false)
    }

    fn drip(&self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        for byte in bytes {
            stream.write_all(&[*byte])?;
            self.pause(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits for `time` or for the end of the origin.
    fn pause(&self, time: Duration) {
        let end = Deadline::after(clock::now(), time);
        let mut stop = self.stop.lock().unwrap();
        while !self.stopped.load(Ordering::SeqCst) && !end.passed(clock::now()) {
            stop = self
                .stopping
                .wait_timeout(stop, end.left(clock::now()))
                .unwrap()
                .0;
        }
    }
}

fn whole(stream: &mut TcpStream, start: &str, body: &[u8]) -> io::Result<()> {
    let mut bytes = format!("{start}\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    stream.write_all(&bytes)
}
