//! What the tests stand on: real `redis-server` processes, the real binary, a real HTTP source, a
//! fault proxy, raw clients and load. Every wait has a deadline; every process is killed on drop.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

mod addresses;
mod app;
mod booted;
mod asleep;
mod certificates;
mod client;
mod cluster;
mod config;
mod control;
mod dropping;
mod echo;
mod fake_redis;
mod fake_values;
mod load;
mod machine;
mod monitor;
mod origin;
mod proxy;
mod redis;
mod sentinel;
mod turn;
mod verdict;

pub use addresses::{Addresses, PODS};
pub use app::{ADMIN_LISTEN, App, Output, REDIS_CONNECTIONS_MAX, binary, evenkeel, file, promtool};
pub use asleep::Asleep;
pub use booted::Booted;
pub use certificates::{Admits, Authority, Certificate, TlsRedis};
pub use client::{Client, NoResponse, Response};
pub use cluster::Cluster;
pub use config::Config;
pub use control::{Control, Seen};
pub use dropping::Dropping;
pub use fake_redis::{Answer, CONNECT, FakeRedis};
pub use fake_values::bulk;
pub use load::{Load, Report};
pub use monitor::Monitor;
pub use origin::{Fault as SourceFault, Origin};
pub use proxy::{Fault as NetworkFault, Proxy};
pub use redis::{Redis, command};
pub use sentinel::{Guarded, MASTER};
pub use turn::alone;
pub use verdict::{Verdict, play};

/// How long anything that should happen at once may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(10);

/// Waits until `condition` holds; a test that waits longer than `limit` fails and says for what.
#[track_caller]
pub fn wait_until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Lets `span` pass: for phases of a load, never for something that could be waited for.
pub fn let_pass(span: Duration) {
    let end = Instant::now() + span;
    wait_until(span + SOON, "time", || Instant::now() >= end);
}

/// An address on this machine with a port of which nobody else is given one: below the range from
/// which the kernel takes ports for outgoing connections, so that it can be listened on again.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let begin = (std::process::id() % 60) as u16 * 300;
        let port = 12_000 + begin.wrapping_add(step) % 18_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
