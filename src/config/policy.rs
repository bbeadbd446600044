//! `[breaker]`, `[memory]`, `[health]` and `[admin]`: what is done while Redis is down, what is said
//! of it, and where.

use crate::config::listen::ListenOrNot;
use crate::config::report::Report;
use crate::config::section::{Kind, Section};
use crate::config::setting::{Setting, setting};
use crate::config::span::{Span, hours, ms};
use crate::config::values::{Choice, Count, GIB, KIB, Size, YES_OR_NO};
use crate::config::{Admin, Breaker, BreakerMode, Health, Memory, RedisHealth};

/// Everything of `[breaker]`.
pub(super) static BREAKER: Kind = Kind {
    title: "breaker",
    default_name: None,
    settings: &[
        &MODE,
        &FAIL_MAX,
        &RESET_TIMEOUT,
        &PROBE_INTERVAL,
        &STALL_CALLS,
    ],
};

/// For operators: the two others hold the breaker by hand.
static MODE: Setting<Choice<BreakerMode>> = setting(
    "mode",
    "auto",
    Choice(&[
        ("auto", BreakerMode::Auto),
        ("forced_open", BreakerMode::ForcedOpen),
        ("disabled", BreakerMode::Disabled),
    ]),
    "auto: by what Redis does; forced_open: Redis is not used; disabled: every request tries it.",
);
/// 5 and 60 s are what the originals gave to pybreaker.
static FAIL_MAX: Setting<Count<u32>> = setting(
    "fail_max",
    "5",
    Count(1, 1_000_000),
    "Consecutive failures that open the breaker.",
);
/// Only used where there is no prober.
static RESET_TIMEOUT: Setting<Span> = setting(
    "reset_timeout",
    "60s",
    Span::between(ms(1), hours(24)),
    "With probe_interval = 0: how long it stays open before one request is the trial.",
);
/// Bounded by an hour: a breaker that opens must not stay open for a day by a slip.
static PROBE_INTERVAL: Setting<Span> = setting(
    "probe_interval",
    "1s",
    Span::between(ms(1), hours(1)).or_zero(),
    "How often a thread of its own tries Redis while the breaker is open; 0: requests try it.",
);
/// Above what can be in flight it never acts; a note says so (`check.rs`).
static STALL_CALLS: Setting<Count<usize>> = setting(
    "stall_calls",
    "4",
    Count(1, 1_000_000),
    "Lookups in flight for over half of [redis] timeout that open the breaker at once.",
);

/// Reads `[breaker]`.
pub(super) fn breaker(mut section: Section, report: &mut Report) -> Option<Breaker> {
    let s = &mut section;
    let breaker = Breaker {
        mode: s.read(&MODE, report)?,
        fail_max: s.read(&FAIL_MAX, report)?,
        reset_timeout: s.read(&RESET_TIMEOUT, report)?,
        probe_interval: s.read(&PROBE_INTERVAL, report)?,
        stall_calls: s.read(&STALL_CALLS, report)?,
    };
    section.finish(report);
    Some(breaker)
}

/// Everything of `[memory]`.
pub(super) static MEMORY: Kind = Kind {
    title: "memory",
    default_name: None,
    settings: &[&ENABLED, &MAX_BYTES, &FRESH_WHILE_REDIS_IS_DOWN],
};

static ENABLED: Setting<Choice<bool>> = setting(
    "enabled",
    "true",
    YES_OR_NO,
    "Whether last good answers are kept in this process; false: as the original services.",
);
/// The upper bound catches a slip of the unit, nothing else.
static MAX_BYTES: Setting<Size> = setting(
    "max_bytes",
    "64MiB",
    Size(KIB, 1024 * GIB),
    "Keys, values and overhead together; the least useful answers make room.",
);
/// Keeps an outage of Redis from becoming one of the primary.
static FRESH_WHILE_REDIS_IS_DOWN: Setting<Choice<bool>> = setting(
    "fresh_while_redis_is_down",
    "true",
    YES_OR_NO,
    "Whether a copy within its ttl answers while Redis is down; false: the source is asked.",
);

/// Reads `[memory]`.
pub(super) fn memory(mut section: Section, report: &mut Report) -> Option<Memory> {
    let s = &mut section;
    let memory = Memory {
        enabled: s.read(&ENABLED, report)?,
        max_bytes: s.read(&MAX_BYTES, report)?,
        fresh_while_redis_is_down: s.read(&FRESH_WHILE_REDIS_IS_DOWN, report)?,
    };
    section.finish(report);
    Some(memory)
}

/// Everything of `[health]`.
pub(super) static HEALTH: Kind = Kind {
    title: "health",
    default_name: None,
    settings: &[&REDIS],
};

static REDIS: Setting<Choice<RedisHealth>> = setting(
    "redis",
    "report",
    Choice(&[("report", RedisHealth::Report), ("fail", RedisHealth::Fail)]),
    "While Redis is down: report says degraded with 200; fail answers 503 (/healthz, /readyz).",
);

/// Reads `[health]`.
pub(super) fn health(mut section: Section, report: &mut Report) -> Option<Health> {
    let health = Health {
        redis: section.read(&REDIS, report)?,
    };
    section.finish(report);
    Some(health)
}

/// Everything of `[admin]`.
pub(super) static ADMIN: Kind = Kind {
    title: "admin",
    default_name: None,
    settings: &[&LISTEN],
};

/// Loopback by default: what is said there is not for clients.
static LISTEN: Setting<ListenOrNot> = setting(
    "listen",
    "127.0.0.1:5001",
    ListenOrNot,
    "Address of /metrics, /outages and the health endpoints, for operators; empty: no such door.",
);

/// Reads `[admin]`.
pub(super) fn admin(mut section: Section, report: &mut Report) -> Option<Admin> {
    let admin = Admin {
        listen: section.read(&LISTEN, report)?,
    };
    section.finish(report);
    Some(admin)
}
