//! A small Redis in the test's process that can be told, command by command, to answer what a real one
//! cannot be brought to: errors in words of its own, an error inside an array, silence, an end.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::fake_values::Values;
use super::free_address;

/// What stands for a command where a connection begins.
pub const CONNECT: &str = "(connect)";

/// What it does with a command; for [`CONNECT`], with a connection.
#[derive(Debug, Clone)]
pub enum Answer {
    /// What Redis would answer.
    Usual,
    /// The same, so much later.
    Late(Duration),
    /// An error of these words; where a connection begins, it ends after them.
    Error(&'static str),
    /// This, as it goes over the wire.
    Raw(String),
    /// To `MGET`: an array with these for its keys.
    Elements(Vec<Answer>),
    /// The connection is closed.
    Close,
    /// An error of these words, and then the connection is reset.
    ErrorAndReset(&'static str),
    /// Nothing, for as long as it runs.
    Hang,
}

/// From the words of a command (the first in capitals) to what is done with it.
type Script = dyn Fn(&[&str]) -> Answer + Send + Sync;

/// The running server. Ends when dropped.
pub struct FakeRedis {
    address: SocketAddr,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

struct State {
    /// Guards everything that the test may change or look at.
    inner: Mutex<Inner>,
    ended: Condvar,
}

struct Inner {
    script: Arc<Script>,
    values: Values,
    /// Every command with its time, in the order of coming; connections are among them.
    heard: Vec<(Instant, Vec<String>)>,
    open: Vec<Weak<TcpStream>>,
    serving: Vec<JoinHandle<()>>,
    has_ended: bool,
}

impl FakeRedis {
    /// One on a port of its own that does as `script` says.
    pub fn start(script: impl Fn(&[&str]) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_at(free_address(), script)
    }

    /// The same at this address.
    pub fn start_at(
        address: SocketAddr,
        script: impl Fn(&[&str]) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a port of ours");
        let inner = Inner {
            script: Arc::new(script),
            values: Values::default(),
            heard: Vec::new(),
            open: Vec::new(),
            serving: Vec::new(),
            has_ended: false,
        };
        let state = Arc::new(State {
            inner: Mutex::new(inner),
            ended: Condvar::new(),
        });
        let accepted = Arc::clone(&state);
        let accepting = std::thread::spawn(move || accept(&listener, &accepted));
        Self {
            address,
            state,
            accepting: Some(accepting),
        }
    }

    /// From now on it does as this says.
    pub fn follow(&self, script: impl Fn(&[&str]) -> Answer + Send + Sync + 'static) {
        self.state.lock().script = Arc::new(script);
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For `[redis] url`.
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// Puts a value there.
    pub fn set(&self, key: &str, value: &str) {
        self.state.lock().values.usual(&["SET", key, value]);
    }

    /// A value as it is there.
    pub fn value(&self, key: &str) -> Option<String> {
        self.state.lock().values.value(key).map(str::to_owned)
    }

    /// Connections so far.
    pub fn connects(&self) -> usize {
        self.calls(CONNECT)
    }

    /// Commands of this name so far.
    pub fn calls(&self, command: &str) -> usize {
        self.times(&[command]).len()
    }

    /// When a command came that begins with these words.
    pub fn times(&self, words: &[&str]) -> Vec<Instant> {
        let inner = self.state.lock();
        let is_it = |heard: &[String]| {
            heard.len() >= words.len() && heard.iter().zip(words).all(|(a, b)| a == b)
        };
        let heard = inner.heard.iter().filter(|(_, heard)| is_it(heard));
        heard.map(|(at, _)| *at).collect()
    }
}

impl Drop for FakeRedis {
    fn drop(&mut self) {
        self.state.lock().has_ended = true;
        self.state.ended.notify_all();
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        let mut inner = self.state.lock();
        for stream in inner.open.drain(..).filter_map(|open| open.upgrade()) {
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

    /// Waits for `span`, or for its end.
    fn rest(&self, span: Duration) {
        let going_on = |inner: &mut Inner| !inner.has_ended;
        let waited = self.ended.wait_timeout_while(self.lock(), span, going_on);
        drop(waited);
    }

    /// Takes a command down; what is to be done with it.
    fn hear(&self, words: &[String]) -> Answer {
        let mut inner = self.lock();
        inner.heard.push((Instant::now(), words.to_vec()));
        let script = Arc::clone(&inner.script);
        drop(inner);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        script(&words)
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let mut inner = state.lock();
        if inner.has_ended {
            return;
        }
        inner.serving.retain(|thread| !thread.is_finished());
        inner.open.retain(|open| open.strong_count() > 0);
        let stream = Arc::new(stream);
        inner.open.push(Arc::downgrade(&stream));
        let state = Arc::clone(state);
        inner.serving.push(std::thread::spawn(move || {
            // An end of the connection is nobody's fault.
            let _ = serve(&stream, &state);
        }));
    }
}

/// Answers the commands of one connection in their order.
fn serve(stream: &TcpStream, state: &State) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let connect = vec![CONNECT.to_owned()];
    match state.hear(&connect) {
        Answer::Usual => {}
        answer @ Answer::Error(_) => return say(stream, &answer, &[CONNECT], state).map(drop),
        answer => {
            if !say(stream, &answer, &[CONNECT], state)? {
                return Ok(());
            }
        }
    }
    while let Some(words) = read_command(&mut reader)? {
        let answer = state.hear(&words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if !say(stream, &answer, &words, state)? {
            break;
        }
    }
    Ok(())
}

/// Sends the answer; whether the connection goes on.
fn say(
    mut stream: &TcpStream,
    answer: &Answer,
    words: &[&str],
    state: &State,
) -> std::io::Result<bool> {
    match answer {
        Answer::Close => return Ok(false),
        Answer::Hang => {
            state.rest(Duration::from_secs(3600));
            return Ok(false);
        }
        Answer::ErrorAndReset(error) => {
            stream.write_all(format!("-{error}\r\n").as_bytes())?;
            // Closed without lingering, which sends a reset.
            socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
            return Ok(false);
        }
        Answer::Late(span) => state.rest(*span),
        _ => {}
    }
    let is_a_connection = words == [CONNECT];
    if !(is_a_connection && matches!(answer, Answer::Usual | Answer::Late(_))) {
        let text = text(answer, words, &mut state.lock().values);
        stream.write_all(text.as_bytes())?;
    }
    Ok(true)
}

fn text(answer: &Answer, words: &[&str], values: &mut Values) -> String {
    match answer {
        Answer::Error(error) => format!("-{error}\r\n"),
        Answer::Raw(text) => text.clone(),
        Answer::Elements(elements) => {
            let keys = words.iter().skip(1);
            let texts = elements
                .iter()
                .zip(keys)
                .map(|(element, key)| text(element, &["GET", key], values));
            let all = texts.collect::<String>();
            format!("*{}\r\n{all}", elements.len())
        }
        _ => values.usual(words),
    }
}

/// The words of the next command; `None`: the connection has ended.
fn read_command(reader: &mut impl BufRead) -> std::io::Result<Option<Vec<String>>> {
    let Some(count) = read_count(reader)? else {
        return Ok(None);
    };
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let Some(length) = read_count(reader)? else {
            return Ok(None);
        };
        let mut word = vec![0; length + 2];
        reader.read_exact(&mut word)?;
        word.truncate(length);
        words.push(String::from_utf8_lossy(&word).into_owned());
    }
    if let Some(command) = words.first_mut() {
        command.make_ascii_uppercase();
    }
    Ok(Some(words))
}

/// The number of a line such as `*3` or `$10`.
fn read_count(reader: &mut impl BufRead) -> std::io::Result<Option<usize>> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    Ok(line.get(1..).and_then(|count| count.trim().parse().ok()))
}
