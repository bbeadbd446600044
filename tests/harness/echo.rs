//! A bare HTTP server in the test's process: a thread for each connection, which answers every request a
//! fixed time later and does nothing else. It holds none of the code under test.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Origin;

/// How long it waits before it answers: as the source of most tests with load.
pub const LATENCY: Duration = Duration::from_millis(50);

/// The running server. Ends when dropped, and its clients have to be gone by then.
pub struct Echo {
    address: SocketAddr,
    has_ended: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Echo {
    /// Starts it on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a socket of ours");
        let has_ended = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&has_ended);
        let accepting = std::thread::spawn(move || accept(&listener, &ended));
        Self {
            address,
            has_ended,
            accepting: Some(accepting),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::Relaxed);
        // Wakes the accept loop, which ends.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, has_ended: &AtomicBool) {
    let mut serving = Vec::new();
    for stream in listener.incoming().flatten() {
        if has_ended.load(Ordering::Relaxed) {
            break;
        }
        serving.push(std::thread::spawn(move || drop(serve(stream))));
    }
    for thread in serving {
        let _ = thread.join();
    }
}

/// Answers as the API does, so that a load can ask it: the key's value, to every request.
fn serve(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut requests = BufReader::new(stream.try_clone()?);
    while let Some(target) = next_target(&mut requests)? {
        let end = Instant::now() + LATENCY;
        while Instant::now() < end {
            std::thread::park_timeout(end.saturating_duration_since(Instant::now()));
        }
        let key = target.rsplit('/').next().unwrap_or_default();
        let body = format!(r#"{{"data":"{}","source":"echo"}}"#, Origin::value_of(key));
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        (&stream).write_all(format!("{head}{body}").as_bytes())?;
    }
    Ok(())
}

/// Reads a request without a body to its end; its target, or `None` where the connection ends.
pub fn next_target(requests: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut lines = requests.lines();
    let Some(request) = lines.next().transpose()? else {
        return Ok(None);
    };
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    Ok(Some(
        request.split(' ').nth(1).unwrap_or_default().to_owned(),
    ))
}
