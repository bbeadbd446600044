//! A real HTTP source in the test's process. It counts calls by key as they come over the wire, and
//! has latency and faults.

use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::echo::next_target;

/// What can be wrong with an answer of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This status, with a body.
    Status(u16),
    /// No answer, until the fault is taken back.
    Hangs,
    /// A body of this many bytes.
    Large(usize),
    /// A body that is not UTF-8.
    NotUtf8,
    /// The connection is closed instead of an answer.
    Closes,
    /// Half of the announced body, and then the end.
    BreaksOff,
}

/// The running source. Ends when dropped.
pub struct Origin {
    address: SocketAddr,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    /// Guards everything that the test may change or look at.
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    latency: Duration,
    fault: Option<Fault>,
    /// Bodies by key as decoded; a key that is not here has [`Origin::value_of`] it.
    bodies: HashMap<String, Vec<u8>>,
    /// Request targets in the order of their coming.
    targets: Vec<String>,
    at_once: usize,
    most_at_once: usize,
    open: Vec<TcpStream>,
    serving: Vec<JoinHandle<()>>,
    has_ended: bool,
}

impl Origin {
    /// One without latency that knows every key.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a socket of ours");
        let state = Arc::new(State::default());
        let accepted = Arc::clone(&state);
        let accepting = std::thread::spawn(move || accept(&listener, &accepted));
        Self {
            address,
            state,
            accepting: Some(accepting),
        }
    }

    /// The same with latency.
    pub fn slow(latency: Duration) -> Self {
        let origin = Self::start();
        origin.set_latency(latency);
        origin
    }

    /// For `[source NAME] url`.
    pub fn url(&self) -> String {
        format!("http://{}/items/<key>", self.address)
    }

    /// What it answers for a key for which nothing else was [`Self::put`].
    pub fn value_of(key: &str) -> String {
        format!("value of {key}")
    }

    /// From now on, between request and answer.
    pub fn set_latency(&self, latency: Duration) {
        self.change(|inner| inner.latency = latency);
    }

    /// From now on; who hangs is answered when the fault is taken back.
    pub fn set_fault(&self, fault: impl Into<Option<Fault>>) {
        let fault = fault.into();
        self.change(|inner| inner.fault = fault);
    }

    /// From now on, the value of a key.
    pub fn put(&self, key: &str, body: impl Into<Vec<u8>>) {
        let body = body.into();
        self.change(|inner| drop(inner.bodies.insert(key.to_owned(), body)));
    }

    /// Requests so far.
    pub fn calls(&self) -> usize {
        self.state.lock().targets.len()
    }

    /// Requests so far for a key that needs no encoding.
    pub fn calls_of(&self, key: &str) -> usize {
        let target = format!("/items/{key}");
        self.state
            .lock()
            .targets
            .iter()
            .filter(|known| **known == target)
            .count()
    }

    /// Request targets as they came over the wire.
    pub fn targets(&self) -> Vec<String> {
        self.state.lock().targets.clone()
    }

    /// Connections that were accepted so far.
    pub fn connections(&self) -> usize {
        self.state.lock().open.len()
    }

    /// The most requests that were under way at the same time.
    pub fn most_at_once(&self) -> usize {
        self.state.lock().most_at_once
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.state.lock());
        self.state.changed.notify_all();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.change(|inner| inner.has_ended = true);
        // Wakes the accept loop, which ends.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        let mut inner = self.state.lock();
        for stream in inner.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let serving = std::mem::take(&mut inner.serving);
        drop(inner);
        for thread in serving {
            let _ = thread.join();
        }
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the latency, and for as long as it hangs; the fault to answer with.
    fn hold(&self) -> Option<Fault> {
        let began = Instant::now();
        let mut inner = self.lock();
        loop {
            let left = inner.latency.saturating_sub(began.elapsed());
            if inner.has_ended {
                return Some(Fault::Closes);
            }
            inner = if inner.fault == Some(Fault::Hangs) {
                self.changed
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner)
            } else if left.is_zero() {
                return inner.fault;
            } else {
                let waited = self.changed.wait_timeout(inner, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let mut inner = state.lock();
        if inner.has_ended {
            return;
        }
        inner.open.push(stream.try_clone().expect("a descriptor"));
        let served = Arc::clone(state);
        // A client that goes away ends its thread, whatever it was doing.
        let serving = std::thread::spawn(move || drop(serve(stream, &served)));
        inner.serving.push(serving);
    }
}

/// Answers the requests of one connection in their order.
fn serve(stream: TcpStream, state: &State) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut requests = BufReader::new(stream.try_clone()?);
    while let Some(target) = next_target(&mut requests)? {
        let mut inner = state.lock();
        inner.targets.push(target.clone());
        inner.at_once += 1;
        inner.most_at_once = inner.most_at_once.max(inner.at_once);
        drop(inner);
        let fault = state.hold();
        let answer = answer(&target, fault, state);
        state.lock().at_once -= 1;
        (&stream).write_all(&answer)?;
        if matches!(fault, Some(Fault::Closes | Fault::BreaksOff)) {
            return stream.shutdown(Shutdown::Both);
        }
    }
    Ok(())
}

fn answer(target: &str, fault: Option<Fault>, state: &State) -> Vec<u8> {
    let (status, body) = match fault {
        Some(Fault::Closes) => return Vec::new(),
        Some(Fault::BreaksOff) => {
            return b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf".to_vec();
        }
        Some(Fault::Status(status)) => (status, b"no value".to_vec()),
        Some(Fault::Large(bytes)) => (200, vec![b'x'; bytes]),
        Some(Fault::NotUtf8) => (200, b"\xff\xfe".to_vec()),
        Some(Fault::Hangs) | None => match target.strip_prefix("/items/") {
            Some(segment) => {
                let key = percent_encoding::percent_decode_str(segment).decode_utf8_lossy();
                let body = state.lock().bodies.get(&*key).cloned();
                (
                    200,
                    body.unwrap_or_else(|| Origin::value_of(&key).into_bytes()),
                )
            }
            None => (404, b"not here".to_vec()),
        },
    };
    let length = body.len();
    let mut answer =
        format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    answer.extend_from_slice(&body);
    answer
}
