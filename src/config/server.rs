//! `[server]` and `[log]`: the front door, the threads behind it, and what the process says of
//! itself.

use std::path::Path;

use log::LevelFilter;

use crate::config::listen::Listen;
use crate::config::report::Report;
use crate::config::section::{Kind, Section};
use crate::config::setting::{Setting, setting};
use crate::config::span::{Span, hours, ms, secs};
use crate::config::values::{Choice, Count, FilePath, KIB, Size};
use crate::config::{Contract, Log, Server};

/// Everything of `[server]`.
pub(super) static SERVER: Kind = Kind {
    title: "server",
    default_name: None,
    settings: &[
        &LISTEN,
        &WORKERS,
        &FRONTS,
        &QUEUE,
        &QUEUE_TIMEOUT,
        &CONTRACT,
        &MAX_CONNECTIONS,
        &HEAD_TIMEOUT,
        &MAX_HEAD,
        &MAX_KEY,
        &IDLE_TIMEOUT,
        &WRITE_TIMEOUT,
        &REQUEST_TIMEOUT,
        &DRAIN_TIMEOUT,
    ],
};

/// As gunicorn and the originals were started: all addresses, port 5000.
static LISTEN: Setting<Listen> = setting(
    "listen",
    "0.0.0.0:5000",
    Listen,
    "Address to listen on; a name is resolved once, at start.",
);
/// One thread each. Two gunicorn processes of 16 threads is what the originals ran with.
static WORKERS: Setting<Count<usize>> = setting(
    "workers",
    "32",
    Count(1, 1024),
    "Fetches from sources at once. More of them, and the sources get more load on a cold cache.",
);
/// More than one pays only where one core is full.
static FRONTS: Setting<Count<usize>> = setting(
    "fronts",
    "1",
    Count(1, 64),
    "Threads that read requests. One serves some 100,000 requests a second.",
);
/// At 50,000 requests a second 1024 of them are gone in 20 ms; a longer queue only adds waiting.
static QUEUE: Setting<Count<usize>> = setting(
    "queue",
    "1024",
    Count(1, 1_000_000),
    "Requests that may wait for a thread at each stage; the next one is shed with 503.",
);
/// Long enough for a burst, far below what a person waits for.
static QUEUE_TIMEOUT: Setting<Span> = setting(
    "queue_timeout",
    "500ms",
    Span::between(ms(1), secs(60)),
    "A request that would wait longer than this for a fetch to begin is shed with 503, at once.",
);
/// The two originals whose answers are known byte for byte.
static CONTRACT: Setting<Choice<Contract>> = setting(
    "contract",
    "flask",
    Choice(&[("flask", Contract::Flask), ("fastapi", Contract::Fastapi)]),
    "The original service whose answers are given, byte for byte.",
);
/// The upper bound is far above what the limit on descriptors lets through.
static MAX_CONNECTIONS: Setting<Count<usize>> = setting(
    "max_connections",
    "4096",
    Count(1, 1_000_000),
    "Client connections at once; each takes a file descriptor (LimitNOFILE).",
);
static HEAD_TIMEOUT: Setting<Span> = setting(
    "head_timeout",
    "10s",
    Span::between(ms(1), secs(600)),
    "From the first byte of a request's head to its last; ends clients that drip.",
);
/// Every head is held whole in memory: `max_connections` times this is the most they can take.
static MAX_HEAD: Setting<Size> = setting(
    "max_head",
    "16KiB",
    Size(KIB, 64 * KIB),
    "Bytes of a request's head: request line and headers together.",
);
/// Percent-encoded it takes up to three times as much of `max_head`.
static MAX_KEY: Setting<Size> = setting(
    "max_key",
    "4096",
    Size(1, 64 * KIB),
    "Bytes of a key after percent-decoding. A longer one is refused.",
);
/// Proxies commonly keep connections for 60 s; who closes second never loses a request.
static IDLE_TIMEOUT: Setting<Span> = setting(
    "idle_timeout",
    "75s",
    Span::between(ms(1), hours(24)),
    "How long a connection is kept between requests; more than the proxy in front keeps it.",
);
static WRITE_TIMEOUT: Setting<Span> = setting(
    "write_timeout",
    "30s",
    Span::between(ms(1), secs(600)),
    "How long a client may take to accept an answer.",
);
/// The check of the worst case holds every route within it.
static REQUEST_TIMEOUT: Setting<Span> = setting(
    "request_timeout",
    "10s",
    Span::between(ms(1), secs(600)),
    "From a request's whole head to its answer; no sum of the other limits may exceed it.",
);
/// 0 ends the process at once.
static DRAIN_TIMEOUT: Setting<Span> = setting(
    "drain_timeout",
    "20s",
    Span::between(ms(0), secs(600)),
    "From the signal to stop to the end of the process; less than systemd's TimeoutStopSec.",
);

/// Reads `[server]`.
pub(super) fn server(mut section: Section, report: &mut Report) -> Option<Server> {
    let s = &mut section;
    let server = Server {
        listen: s.read(&LISTEN, report)?,
        workers: s.read(&WORKERS, report)?,
        fronts: s.read(&FRONTS, report)?,
        queue: s.read(&QUEUE, report)?,
        queue_timeout: s.read(&QUEUE_TIMEOUT, report)?,
        contract: s.read(&CONTRACT, report)?,
        max_connections: s.read(&MAX_CONNECTIONS, report)?,
        head_timeout: s.read(&HEAD_TIMEOUT, report)?,
        max_head: in_memory(s.read(&MAX_HEAD, report)?),
        max_key: in_memory(s.read(&MAX_KEY, report)?),
        idle_timeout: s.read(&IDLE_TIMEOUT, report)?,
        write_timeout: s.read(&WRITE_TIMEOUT, report)?,
        request_timeout: s.read(&REQUEST_TIMEOUT, report)?,
        drain_timeout: s.read(&DRAIN_TIMEOUT, report)?,
    };
    section.finish(report);
    Some(server)
}

/// A size as memory counts it; the bounds of these keys fit every machine.
fn in_memory(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

/// Everything of `[log]`.
pub(super) static LOG: Kind = Kind {
    title: "log",
    default_name: None,
    settings: &[&LEVEL, &FILE],
};

/// The levels of the `log` crate under their own names.
static LEVEL: Setting<Choice<LevelFilter>> = setting(
    "level",
    "info",
    Choice(&[
        ("off", LevelFilter::Off),
        ("error", LevelFilter::Error),
        ("warn", LevelFilter::Warn),
        ("info", LevelFilter::Info),
        ("debug", LevelFilter::Debug),
        ("trace", LevelFilter::Trace),
    ]),
    "Most detailed level that is written.",
);
static FILE: Setting<FilePath> = setting(
    "file",
    "",
    FilePath,
    "File that is appended to; empty: stderr, which systemd puts into the journal.",
);

/// Reads `[log]`; a relative path is taken from `folder`.
pub(super) fn log(mut section: Section, folder: &Path, report: &mut Report) -> Option<Log> {
    let level = section.read(&LEVEL, report)?;
    let file = section.read(&FILE, report)?.map(|file| folder.join(file));
    section.finish(report);
    Some(Log { level, file })
}
