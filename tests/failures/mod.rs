//! The fault matrix: every way in which Redis can fail, one row for each, and what the clients may
//! see of it. How a row is held is in `drill.rs`; what came of it, with figures, in
//! `docs/FAILURES.md`. A row is a test: `tests/run failures::frozen`.

use std::time::Duration;

use crate::harness::NetworkFault::{
    ClosesAtOnce, Drips, Garbage, Hangs, HangsBeforeAccept, Late, Refuses, Resets, Slow,
    SlowNowAndThen, Truncates,
};

mod drill;
mod figures;
mod scene;

use scene::{Scene, Via};

/// One way to fail.
pub struct Row {
    /// Of its test, and in the document.
    name: &'static str,
    /// What stands between the app and Redis.
    via: Via,
    is: Is,
    begins: fn(&mut Scene),
    ends: fn(&mut Scene),
}

/// What a fault comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Is {
    /// Redis is not used until it is well again.
    Outage,
    /// The same, and said loudly once: only a person can mend it.
    Misconfigured,
    /// Writes are refused, which is said; hits come from Redis throughout.
    ReadsGoOn,
    /// Hits come from Redis throughout, or but for a moment.
    Harmless,
    /// An outage that comes and goes every 400 ms.
    Flapping,
}

macro_rules! matrix {
    ($($name:ident: $via:ident $is:ident, $begins:expr => $ends:expr;)*) => {
        const ROWS: &[Row] = &[$(Row {
            name: stringify!($name),
            via: Via::$via,
            is: Is::$is,
            begins: $begins,
            ends: $ends,
        }),*];

        $(#[test]
        fn $name() {
            drill::hold(stringify!($name));
        })*
    };
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

matrix! {
    // The network between them.
    refused:             Network Outage,   |s| s.network(Refuses)           => Scene::mend_network;
    never_accepted:      Network Outage,   |s| s.network(HangsBeforeAccept) => Scene::mend_network;
    never_answered:      Network Outage,   |s| s.network(Hangs)             => Scene::mend_network;
    slow_by_50_ms:       Network Harmless, |s| s.network(Slow(ms(50)))      => Scene::mend_network;
    slow_by_200_ms:      Network Outage,   |s| s.network(Slow(ms(200)))     => Scene::mend_network;
    slow_by_300_ms:      Network Outage,   |s| s.network(Slow(ms(300)))     => Scene::mend_network;
    slow_by_2_s:         Network Outage,   |s| s.network(Slow(ms(2000)))    => Scene::mend_network;
    reset:               Network Outage,   |s| s.network(Resets)            => Scene::mend_network;
    garbage:             Network Outage,   |s| s.network(Garbage)           => Scene::mend_network;
    truncated:           Network Outage,   |s| s.network(Truncates)         => Scene::mend_network;
    late_replies:        Network Outage,   |s| s.network(Late)              => Scene::mend_network;
    byte_by_byte:        Network Harmless, |s| s.network(Drips(ms(0)))      => Scene::mend_network;
    dripping:            Network Outage,   |s| s.network(Drips(ms(10)))     => Scene::mend_network;
    closed_at_once:      Network Outage,   |s| s.network(ClosesAtOnce)      => Scene::mend_network;

    // The server.
    killed_back_empty:   Server Outage,    |s| s.redis.kill()               => |s| s.redis.start_again();
    frozen:              Server Outage,    |s| s.redis.freeze()             => |s| s.redis.thaw();
    read_only:           Server ReadsGoOn, |s| s.say("REPLICAOF 127.0.0.1 1") => |s| s.say("REPLICAOF NO ONE");
    full:                Server ReadsGoOn, |s| s.say("CONFIG SET maxmemory 1") => |s| s.say("CONFIG SET maxmemory 0");
    frozen_now_and_then: Server Flapping,  |s| s.redis.freeze()             => |s| s.redis.thaw();
}
