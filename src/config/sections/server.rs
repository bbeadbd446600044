//! `[server]`: the front door, and the threads behind it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::declare::{settings, words};
use crate::config::section::Kind;
use crate::config::values::duration::{DurationRule, hours, ms, secs};
use crate::config::values::listen::LISTEN;
use crate::config::values::number::{Count, InMemory, KIB, Size};
use crate::config::values::text::Choice;

pub(crate) static SERVER: Kind = Kind::one("server", &[Server::SETTINGS]);

words! {
    /// Which original service the answers are to be the same as, byte for byte.
    pub enum Contract {
        /// Flask under gunicorn.
        Flask = "flask",
        /// FastAPI under uvicorn.
        Fastapi = "fastapi",
    }
}

settings! {
    /// `[server]`: the front door and the threads behind it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Server {
        /// Address to listen on; a name is resolved once, at start.
        /// As gunicorn and the originals were started: all addresses, port 5000.
        pub listen: SocketAddr = "0.0.0.0:5000", LISTEN;
        /// Fetches from sources at once. More of them, and the sources get more load on a cold cache.
        /// One thread each. Two gunicorn processes of 16 threads is what the originals ran with.
        pub workers: usize = "32", Count(1, 1024);
        /// Threads that read requests. One serves some 100,000 requests a second.
        /// More than one pays only where one core is full.
        pub fronts: usize = "1", Count(1, 64);
        /// Requests that may wait for a thread at each stage; the next one is shed with 503.
        /// At 50,000 requests a second 1024 of them are gone in 20 ms; a longer queue only adds waiting.
        pub queue: usize = "1024", Count(1, 1_000_000);
        /// A request that would wait longer than this for a fetch to begin is shed with 503, at once.
        /// Long enough for a burst, far below what a person waits for.
        pub queue_timeout: Duration = "500ms", DurationRule::between(ms(1), secs(60));
        /// The original service whose answers are given, byte for byte.
        pub contract: Contract = "flask", Choice(Contract::WORDS);
        /// Client connections at once; each takes a file descriptor (LimitNOFILE).
        /// The upper bound is far above what the limit on descriptors lets through.
        pub max_connections: usize = "4096", Count(1, 1_000_000);
        /// From the first byte of a request's head to its last; ends clients that drip.
        pub head_timeout: Duration = "10s", DurationRule::between(ms(1), secs(600));
        /// Bytes of a request's head: request line and headers together.
        /// Every head is held whole in memory: `max_connections` times this is the most they can take.
        pub max_head: usize = "16KiB", InMemory(Size(KIB, 64 * KIB));
        /// Bytes of a key after percent-decoding. A longer one is refused.
        /// Percent-encoded it takes up to three times as much of `max_head`.
        pub max_key: usize = "4096", InMemory(Size(1, 64 * KIB));
        /// How long a connection is kept between requests; more than the proxy in front keeps it.
        /// Proxies commonly keep connections for 60 s; who closes second never loses a request.
        pub idle_timeout: Duration = "75s", DurationRule::between(ms(1), hours(24));
        /// How long a client may take to accept an answer.
        pub write_timeout: Duration = "30s", DurationRule::between(ms(1), secs(600));
        /// From a request's whole head to its answer; no sum of the other limits may exceed it.
        /// The check of the worst case holds every route within it.
        pub request_timeout: Duration = "10s", DurationRule::between(ms(1), secs(600));
        /// From the signal to stop to the end of the process; less than systemd's TimeoutStopSec.
        /// 0 ends the process at once.
        pub drain_timeout: Duration = "20s", DurationRule::between(ms(0), secs(600));
    }
}
