//! A proxy between the app and Redis with faults of the network: what the real server cannot be
//! brought to do.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::free_address;

/// What the proxy does to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Nobody listens.
    Refuses,
    /// Connections are not even accepted: the backlog is full, so that a SYN is never answered. Those
    /// that were open have ended.
    HangsBeforeAccept,
    /// Connections are accepted and nothing is ever passed on.
    Hangs,
    /// Every reply comes so much later.
    Slow(Duration),
    /// Every tenth reply comes so much later, and what follows it on its connection waits behind it.
    SlowNowAndThen(Duration),
    /// A reply comes only when the next request has been sent on its connection.
    Late,
    /// Connections end with the first request on them, by a reset.
    Resets,
    /// Replies are noise.
    Garbage,
    /// Replies end in their middle, and the connection with them.
    Truncates,
    /// Replies come byte by byte, with so much time between two of them.
    Drips(Duration),
    /// Connections end as soon as they begin, and those that were open have ended.
    ClosesAtOnce,
}

/// The running proxy. Ends when dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
    /// While it hangs before accept: a listener that nobody accepts from, and what fills its backlog.
    full: Option<(Socket, Vec<Socket>)>,
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
    replies: usize,
    open: Vec<Weak<Passage>>,
    threads: Vec<JoinHandle<()>>,
}

/// The two ends of one connection; closed when both of its threads are done with it.
struct Passage {
    app: TcpStream,
    redis: TcpStream,
    /// Requests that the app has sent, and whether it has ended.
    asked: Mutex<(usize, bool)>,
    has_asked: Condvar,
}

impl Proxy {
    /// To `server`, without a fault.
    pub fn start(server: SocketAddr) -> Self {
        let inner = Inner {
            fault: Fault::None,
            has_ended: false,
            connects: 0,
            replies: 0,
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
            full: None,
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
        let listens = !matches!(fault, Fault::Refuses | Fault::HangsBeforeAccept);
        if !listens {
            self.stop_listening();
        }
        self.full = None;
        let spoils_all = !listens || fault == Fault::ClosesAtOnce;
        let mut inner = self.state.lock();
        let before = std::mem::replace(&mut inner.fault, fault);
        if before != Fault::None || spoils_all {
            inner.end_all();
        }
        drop(inner);
        self.state.changed.notify_all();
        if fault == Fault::HangsBeforeAccept {
            self.full = Some(fill_backlog(self.address));
        }
        if listens && self.accepting.is_none() {
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

    /// Waits for `span`, or for the end of the fault.
    fn wait(&self, fault: Fault, span: Duration) {
        let end = Instant::now() + span;
        let mut inner = self.lock();
        while inner.fault == fault && !inner.has_ended && Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            let waited = self.changed.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The fault now, for one more reply.
    fn fault_of_a_reply(&self) -> Fault {
        let mut inner = self.lock();
        inner.replies += 1;
        match inner.fault {
            Fault::SlowNowAndThen(_) if !inner.replies.is_multiple_of(10) => Fault::None,
            fault => fault,
        }
    }
}

impl Inner {
    fn end_all(&mut self) {
        for passage in self.open.drain(..).filter_map(|open| open.upgrade()) {
            passage.end();
        }
    }
}

impl Passage {
    fn end(&self) {
        let _ = self.app.shutdown(Shutdown::Both);
        let _ = self.redis.shutdown(Shutdown::Both);
    }

    fn asked(&self) -> MutexGuard<'_, (usize, bool)> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more request, or the end of them.
    fn note(&self, change: impl FnOnce(&mut (usize, bool))) {
        change(&mut self.asked());
        self.has_asked.notify_all();
    }

    /// Waits until the app has sent another request, or has gone.
    fn wait_for_another_request(&self) {
        let asked = self.asked();
        let before = asked.0;
        let unchanged = |asked: &mut (usize, bool)| asked.0 == before && !asked.1;
        drop(self.has_asked.wait_while(asked, unchanged));
    }
}

/// Listens without ever accepting, and connects until that hangs.
fn fill_backlog(address: SocketAddr) -> (Socket, Vec<Socket>) {
    let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let listener = socket();
    listener.set_reuse_address(true).expect("a socket of ours");
    listener.bind(&address.into()).expect("a port of ours");
    listener.listen(0).expect("a socket of ours");
    let connect = |_| {
        let client = socket();
        client.set_nonblocking(true).expect("a socket of ours");
        // In progress, for ever.
        let _ = client.connect(&address.into());
        client
    };
    let clients = (0..4).map(connect).collect();
    (listener, clients)
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for client in listener.incoming() {
        let Ok(app) = client else { continue };
        let mut inner = state.lock();
        if inner.has_ended {
            return;
        }
        inner.connects += 1;
        if inner.fault == Fault::ClosesAtOnce {
            continue;
        }
        let Ok(redis) = TcpStream::connect(state.server) else {
            continue;
        };
        for stream in [&app, &redis] {
            stream.set_nodelay(true).expect("a socket of ours");
        }
        let passage = Arc::new(Passage {
            app,
            redis,
            asked: Mutex::default(),
            has_asked: Condvar::new(),
        });
        inner.open.retain(|open| open.strong_count() > 0);
        inner.threads.retain(|thread| !thread.is_finished());
        inner.open.push(Arc::downgrade(&passage));
        let (asks, asking) = (Arc::clone(state), Arc::clone(&passage));
        let replies = Arc::clone(state);
        inner.threads.push(std::thread::spawn(move || {
            pass_requests(&asking, &asks);
            asking.note(|asked| asked.1 = true);
        }));
        inner.threads.push(std::thread::spawn(move || {
            pass_replies(&passage, &replies);
        }));
    }
}

/// From the app to Redis, until one of them or a fault ends it.
fn pass_requests(passage: &Passage, state: &State) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count) = (&passage.app).read(&mut buffer) {
        passage.note(|asked| asked.0 += 1);
        let fault = state.lock().fault;
        if count == 0 {
            break;
        }
        if fault == Fault::Resets {
            // Closed without lingering, which sends a reset; the other thread ends with Redis.
            let app = socket2::SockRef::from(&passage.app);
            let _ = app.set_linger(Some(Duration::ZERO));
            let _ = passage.redis.shutdown(Shutdown::Both);
            return;
        }
        if fault == Fault::Hangs {
            state.wait(fault, Duration::from_secs(600));
            break;
        }
        if (&passage.redis).write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    passage.end();
}

/// From Redis to the app, with what the fault does to it.
fn pass_replies(passage: &Passage, state: &State) {
    let mut buffer = [0; 16 * 1024];
    let mut app = &passage.app;
    while let Ok(count) = (&passage.redis).read(&mut buffer) {
        let reply = &buffer[..count];
        let fault = state.fault_of_a_reply();
        let passed = match fault {
            Fault::Resets if count == 0 => return,
            _ if count == 0 => break,
            Fault::None
            | Fault::Refuses
            | Fault::HangsBeforeAccept
            | Fault::Resets
            | Fault::ClosesAtOnce => app.write_all(reply),
            Fault::Hangs => {
                state.wait(fault, Duration::from_secs(600));
                break;
            }
            Fault::Slow(span) | Fault::SlowNowAndThen(span) => {
                state.wait(fault, span);
                app.write_all(reply)
            }
            Fault::Late => {
                passage.wait_for_another_request();
                app.write_all(reply)
            }
            Fault::Garbage => app.write_all(b"\x16\x03\x01 what?\r\n"),
            Fault::Truncates => {
                let _ = app.write_all(&reply[..count / 2]);
                break;
            }
            Fault::Drips(span) => reply.iter().try_for_each(|byte| {
                if !span.is_zero() {
                    state.wait(fault, span);
                }
                app.write_all(&[*byte])
            }),
        };
        if passed.is_err() {
            break;
        }
    }
    passage.end();
}
