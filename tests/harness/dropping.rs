//! An address that drops packets silently, as that of a machine that is gone: a SYN is never answered.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// Between two looks at who is trying to connect; shorter than anybody gives it.
const LOOK: Duration = Duration::from_millis(40);

/// Such an address of this machine (IPv4), until it is dropped. Its backlog is full, and nobody ever accepts.
pub struct Dropping {
    _listener: Socket,
    _clients: Vec<Socket>,
    /// Guards the ports of those that were seen trying.
    seen: Arc<Mutex<HashSet<String>>>,
    stop: Arc<AtomicBool>,
    looking: Option<JoinHandle<()>>,
}

impl Dropping {
    /// Nobody else may listen there.
    pub fn at(address: SocketAddr) -> Self {
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
        let ours: HashSet<String> = trying(address).collect();
        let (seen, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (noted, stopped): (Arc<Mutex<HashSet<String>>>, _) =
            (Arc::clone(&seen), Arc::clone(&stop));
        let looking = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let others = trying(address).filter(|port| !ours.contains(port));
                let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                noted.extend(others);
                drop(noted);
                std::thread::park_timeout(LOOK);
            }
        });
        Self {
            _listener: listener,
            _clients: clients,
            seen,
            stop,
            looking: Some(looking),
        }
    }

    /// Connects that were tried so far.
    pub fn attempts(&self) -> usize {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.len()
    }
}

impl Drop for Dropping {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(looking) = self.looking.take() {
            looking.thread().unpark();
            let _ = looking.join();
        }
    }
}

/// Local ports of those that have sent a SYN to `address` and wait, as the kernel shows them.
fn trying(address: SocketAddr) -> impl Iterator<Item = String> {
    const SYN_SENT: &str = "02";
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel shows it");
    let remote = match address {
        SocketAddr::V4(v4) => {
            let ip = u32::from_ne_bytes(v4.ip().octets());
            format!("{ip:08X}:{:04X}", v4.port())
        }
        SocketAddr::V6(_) => String::new(),
    };
    let lines: Vec<String> = table.lines().map(str::to_owned).collect();
    lines.into_iter().filter_map(move |line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, to, state) = (words.next()?, words.next()?, words.next()?);
        (to == remote && state == SYN_SENT).then(|| local.to_owned())
    })
}
