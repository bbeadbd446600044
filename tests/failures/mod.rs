//! The fault matrix: every way in which Redis can fail, one row for each, and what the clients may
//! see of it. How a row is held is in `drill.rs`; what came of it, with figures, in
//! `docs/FAILURES.md`. A row is a test: `tests/run failures::frozen`.

#![allow(
    clippy::print_stdout,
    reason = "figures and seeds, for whoever asks with --nocapture"
)]

use std::time::Duration;

use crate::harness::NetworkFault::{
    ClosesAtOnce, Drips, Garbage, Hangs, HangsBeforeAccept, Late, Refuses, Resets, Slow,
    SlowNowAndThen, Truncates,
};

mod drill;
mod figures;
mod names;
mod scene;
mod server;
mod soak;
mod together;

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
    /// Now used, now not.
    Unsteady,
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
        #[ignore = "long: a row of the fault matrix"]
        fn $name() {
            drill::hold(stringify!($name));
        })*
    };
}

/// A replica that may not serve what it has without its master.
const LOSE_MASTER: &str = "CONFIG SET replica-serve-stale-data no; REPLICAOF 127.0.0.1 1";

/// It is a master again.
const FIND_MASTER: &str = "REPLICAOF NO ONE; CONFIG SET replica-serve-stale-data yes";

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

matrix! {
    // The network between them.
    refused:             Network Outage,        |s| s.network(Refuses)                      => Scene::mend_network;
    never_accepted:      Network Outage,        |s| s.network(HangsBeforeAccept)            => Scene::mend_network;
    never_answered:      Network Outage,        |s| s.network(Hangs)                        => Scene::mend_network;
    slow_by_50_ms:       Network Harmless,      |s| s.network(Slow(ms(50)))                 => Scene::mend_network;
    slow_by_75_ms:       Network Harmless,      |s| s.network(Slow(ms(75)))                 => Scene::mend_network;
    slow_by_100_ms:      Network Unsteady,      |s| s.network(Slow(ms(100)))                => Scene::mend_network;
    slow_now_and_then:   Network Unsteady,      |s| s.network(SlowNowAndThen(ms(400)))      => Scene::mend_network;
    slow_by_200_ms:      Network Outage,        |s| s.network(Slow(ms(200)))                => Scene::mend_network;
    slow_by_300_ms:      Network Outage,        |s| s.network(Slow(ms(300)))                => Scene::mend_network;
    slow_by_2_s:         Network Outage,        |s| s.network(Slow(ms(2000)))               => Scene::mend_network;
    reset:               Network Outage,        |s| s.network(Resets)                       => Scene::mend_network;
    garbage:             Network Outage,        |s| s.network(Garbage)                      => Scene::mend_network;
    truncated:           Network Outage,        |s| s.network(Truncates)                    => Scene::mend_network;
    late_replies:        Network Outage,        |s| s.network(Late)                         => Scene::mend_network;
    byte_by_byte:        Network Harmless,      |s| s.network(Drips(ms(0)))                 => Scene::mend_network;
    dripping:            Network Outage,        |s| s.network(Drips(ms(10)))                => Scene::mend_network;
    closed_at_once:      Network Outage,        |s| s.network(ClosesAtOnce)                 => Scene::mend_network;

    // The server.
    killed_back_empty:   Server  Outage,        |s| s.redis.kill()                          => |s| s.redis.start_again();
    killed_back_full:    Server  Outage,        Scene::save_and_kill                        => |s| s.redis.start_with_data();
    loading:             Server  Outage,        Scene::load_for_long                        => |s| s.redis.wait_until_it_answers();
    frozen:              Server  Outage,        |s| s.redis.freeze()                        => |s| s.redis.thaw();
    paused:              Server  Outage,        Scene::pause                                => |s| s.redis.wait_until_it_answers();
    busy_with_a_script:  Server  Outage,        Scene::run_endless_script                   => Scene::kill_script;
    too_many_clients:    Server  Outage,        Scene::take_all_places                      => Scene::give_places_back;
    master_down:         Server  Outage,        |s| s.say(LOSE_MASTER)                      => |s| s.say(FIND_MASTER);
    password_set:        Server  Misconfigured, Scene::want_password                        => |s| s.redis.set_password("");
    may_not_read:        Server  Misconfigured, |s| s.say("ACL SETUSER default -get -mget") => |s| s.say("ACL SETUSER default +get +mget");
    may_not_mget:        Server  Harmless,      |s| s.say("ACL SETUSER default -mget")      => |s| s.say("ACL SETUSER default +mget");
    may_not_write:       Server  ReadsGoOn,     |s| s.say("ACL SETUSER default -set")       => |s| s.say("ACL SETUSER default +set");
    read_only:           Server  ReadsGoOn,     |s| s.say("REPLICAOF 127.0.0.1 1")          => |s| s.say("REPLICAOF NO ONE");
    full:                Server  ReadsGoOn,     |s| s.say("CONFIG SET maxmemory 1")         => |s| s.say("CONFIG SET maxmemory 0");
    disk_gone:           Server  ReadsGoOn,     Scene::break_disk                           => Scene::mend_disk;
    writes_paused:       Server  ReadsGoOn,     |s| s.say("CLIENT PAUSE 60000 WRITE")       => |s| s.say("CLIENT UNPAUSE");
    cut_once:            Server  Harmless,      Scene::cut                                  => |_| ();
    cut_every_20_ms:     Server  Harmless,      Scene::cut_again_and_again                  => Scene::stop;
    wrong_types:         Server  Harmless,      Scene::spoil_types                          => Scene::stop;
    expired_at_once:     Server  Harmless,      Scene::expire_all                           => |_| ();
    flushed:             Server  Harmless,      |s| s.say("FLUSHALL")                       => |_| ();
    values_of_10_mb:     Server  Harmless,      Scene::put_large_values                     => Scene::put_small_values;
    written_by_another:  Server  Harmless,      Scene::write_beside                         => Scene::stop;
    frozen_now_and_then: Server  Flapping,      |s| s.redis.freeze()                        => |s| s.redis.thaw();
    killed_now_and_then: Server  Flapping,      |s| s.redis.kill()                          => |s| s.redis.start_again();

    // The name of the server's host.
    name_is_unknown:     Name    Harmless,      |s| s.resolve_to("none")                    => |s| s.resolve_to("127.0.0.1");
    name_is_slow:        Name    Harmless,      |s| s.resolve_to("3000 127.0.0.1")          => |s| s.resolve_to("127.0.0.1");
    moved:               Name    Outage,        Scene::move_away                            => Scene::name_follows;
}
