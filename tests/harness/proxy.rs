//! A proxy between the app and Redis with faults of the network: what the real server cannot be
//! brought to do.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::free_address;

/// What the proxy does to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Nobody listens.
    Refuses,
    /// Connections are accepted and nothing is ever passed on.
    Hangs,
    /// Every reply comes so much later.
    Slow(Duration),
    /// Connections end with the first request on them, in the middle of nothing.
    Resets,
    /// Replies are noise.
    Garbage,
    /// Replies end in their middle, and the connection with them.
    Truncates,
    /// Replies come byte by byte.
    Drips,
    /// Connections end as soon as they begin.
    ClosesAtOnce,
}

/// The running proxy. Ends when dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

struct State {
    server: SocketAddr,
    /// Guards the fault and what is open.
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    fault: Fault,
    has_ended: bool,
    connects: usize,
    open: Vec<TcpStream>,
    threads: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// To `server`, without a fault.
    pub fn start(server: SocketAddr) -> Self {
        let inner = Inner {
            fault: Fault::None,
            has_ended: false,
            connects: 0,
            open: Vec::new(),
            threads: Vec::new(),
        };
        let state = State {
            server,
            inner: Mutex::new(inner),
            changed: Condvar::new(),
        };
        let mut proxy = Self {
            address: free_address(),
            state: Arc::new(state),
            accepting: None,
        };
        proxy.listen();
        proxy
    }

    /// For `[redis] url`.
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// From now on, for open connections too; those that a fault has spoilt are ended with it.
    pub fn set_fault(&mut self, fault: Fault) {
        if fault == Fault::Refuses {
            self.stop_listening();
        }
        let mut inner = self.state.lock();
        let before = std::mem::replace(&mut inner.fault, fault);
        if before != Fault::None || fault == Fault::Refuses {
            inner.end_all();
        }
        drop(inner);
        self.state.changed.notify_all();
        if fault != Fault::Refuses && self.accepting.is_none() {
            self.listen();
        }
    }

    /// Connections that were accepted so far.
    pub fn connects(&self) -> usize {
        self.state.lock().connects
    }

    fn listen(&mut self) {
        // The standard library sets SO_REUSEADDR: the port can be listened on again at once.
        let listener = TcpListener::bind(self.address).expect("a port of ours");
        let state = Arc::clone(&self.state);
        self.accepting = Some(std::thread::spawn(move || accept(&listener, &state)));
    }

    fn stop_listening(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            self.state.lock().has_ended = true;
            drop(TcpStream::connect(self.address));
            let _ = accepting.join();
            self.state.lock().has_ended = false;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop_listening();
        let mut inner = self.state.lock();
        inner.has_ended = true;
        inner.end_all();
        let threads = std::mem::take(&mut inner.threads);
        drop(inner);
        self.state.changed.notify_all();
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `span`, or for the end of the fault; the fault then.
    fn wait(&self, fault: Fault, span: Duration) -> Fault {
        let end = Instant::now() + span;
        let mut inner = self.lock();
        while inner.fault == fault && !inner.has_ended && Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            let waited = self.changed.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.fault
    }
}

impl Inner {
    fn end_all(&mut self) {
        for stream in self.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for client in listener.incoming() {
        let Ok(client) = client else { continue };
        let mut inner = state.lock();
        if inner.has_ended {
            return;
        }
        inner.connects += 1;
        if inner.fault == Fault::ClosesAtOnce {
            continue;
        }
        let Ok(server) = TcpStream::connect(state.server) else {
            continue;
        };
        for stream in [&client, &server] {
            stream.set_nodelay(true).expect("a socket of ours");
            inner.open.push(stream.try_clone().expect("a descriptor"));
        }
        let from_server = (server.try_clone(), client.try_clone());
        let (Ok(server_reader), Ok(client_writer)) = from_server else {
            continue;
        };
        let (asks, replies) = (Arc::clone(state), Arc::clone(state));
        inner.threads.push(std::thread::spawn(move || {
            pass_requests(client, server, &asks)
        }));
        inner.threads.push(std::thread::spawn(move || {
            pass_replies(server_reader, client_writer, &replies);
        }));
    }
}

/// From the app to Redis, until one of them or a fault ends it.
fn pass_requests(mut app: TcpStream, mut redis: TcpStream, state: &State) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count) = app.read(&mut buffer) {
        let fault = state.lock().fault;
        if count == 0 || fault == Fault::Resets {
            break;
        }
        if fault == Fault::Hangs {
            state.wait(fault, Duration::from_secs(600));
            break;
        }
        if redis.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    end(&app, &redis);
}

/// From Redis to the app, with what the fault does to it.
fn pass_replies(mut redis: TcpStream, mut app: TcpStream, state: &State) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count) = redis.read(&mut buffer) {
        let reply = &buffer[..count];
        let fault = state.lock().fault;
        let passed = match fault {
            _ if count == 0 => break,
            Fault::None | Fault::Refuses | Fault::Resets | Fault::ClosesAtOnce => {
                app.write_all(reply)
            }
            Fault::Hangs => {
                state.wait(fault, Duration::from_secs(600));
                break;
            }
            Fault::Slow(span) => {
                state.wait(fault, span);
                app.write_all(reply)
            }
            Fault::Garbage => app.write_all(b"\x16\x03\x01 what?\r\n"),
            Fault::Truncates => {
                let _ = app.write_all(&reply[..count / 2]);
                break;
            }
            Fault::Drips => reply.iter().try_for_each(|byte| {
                state.wait(fault, Duration::from_millis(1));
                app.write_all(&[*byte])
            }),
        };
        if passed.is_err() {
            break;
        }
    }
    end(&app, &redis);
}

fn end(app: &TcpStream, redis: &TcpStream) {
    let _ = app.shutdown(Shutdown::Both);
    let _ = redis.shutdown(Shutdown::Both);
}
