//! `[redis]`: where it is, what it may cost, and the password from wherever it comes.

use std::path::Path;

use super::Redis;
use super::environment::Secrets;
use super::password;
use super::redis_url::RedisUrlRule;
use super::report::Report;
use super::section::{Kind, Section};
use super::setting::{Setting, setting};
use super::span::{Span, ms, secs};
use super::values::{Count, FilePath, GIB, Size, Text};

/// Everything of `[redis]`.
pub(super) static REDIS: Kind = Kind {
    title: "redis",
    default_name: None,
    settings: &[
        &URL,
        &TIMEOUT,
        &READERS,
        &BATCH_MAX,
        &POOL_SIZE,
        &KEY_PREFIX,
        &PASSWORD_FILE,
        &RECOVERY_MAX_BYTES,
    ],
};

/// No URL, good or bad, is ever shown.
static URL: Setting<RedisUrlRule> = setting(
    "url",
    "redis://127.0.0.1:6379/0",
    RedisUrlRule,
    "Where Redis listens. User and password are percent-encoded (/ is %2F, @ is %40).",
);
/// Part of the worst case of a request (`check.rs`).
static TIMEOUT: Setting<Span> = setting(
    "timeout",
    "500ms",
    Span::between(ms(1), secs(60)),
    "All that Redis may cost one request: wait for a connection, connect and read.",
);
/// Each holds one connection while it asks.
static READERS: Setting<Count<usize>> = setting(
    "readers",
    "2",
    Count(1, 64),
    "Threads that look keys up, each with one MGET at a time.",
);
/// Redis serves one command after the other: a longer MGET delays everybody else's.
static BATCH_MAX: Setting<Count<usize>> =
    setting("batch_max", "64", Count(1, 1024), "Keys of one MGET.");
/// Resolved by the check, which knows the number of workers.
static POOL_SIZE: Setting<Count<usize>> = setting(
    "pool_size",
    "0",
    Count(0, 4096),
    "Connections at most; 0: as many as readers and workers together.",
);
/// Old and new instances share one Redis during a migration, so it must match theirs.
static KEY_PREFIX: Setting<Text> = setting(
    "key_prefix",
    "",
    Text {
        max: 256,
        what: "any text",
    },
    "Put before every key in Redis, as the original service did; routes may have their own.",
);
/// Read while the configuration is read; a later change needs a restart.
static PASSWORD_FILE: Setting<FilePath> = setting(
    "password_file",
    "",
    FilePath,
    "File that holds the password, instead of one in url; one line break at its end is dropped.",
);

/// Shares its values with the memory as long as they are there too.
static RECOVERY_MAX_BYTES: Setting<Size> = setting(
    "recovery_max_bytes",
    "16MiB",
    Size(0, GIB),
    "Values fetched while Redis is down that wait to be written to it; the oldest go first.",
);

/// Reads `[redis]`; a relative `password_file` is taken from `folder`. A `pool_size` of 0 is left
/// as it is: the number of workers is not known here.
pub(super) fn redis(
    mut section: Section,
    secrets: &Secrets,
    folder: &Path,
    report: &mut Report,
) -> Option<Redis> {
    let s = &mut section;
    let mut redis = Redis {
        url: s.read(&URL, report)?,
        timeout: s.read(&TIMEOUT, report)?,
        readers: s.read(&READERS, report)?,
        batch_max: s.read(&BATCH_MAX, report)?,
        pool_size: s.read(&POOL_SIZE, report)?,
        key_prefix: s.read(&KEY_PREFIX, report)?,
        recovery_max_bytes: s.read(&RECOVERY_MAX_BYTES, report)?,
    };
    let file = s
        .read(&PASSWORD_FILE, report)?
        .map(|file| folder.join(file));
    let from = password::Sources {
        url: s.subject_of("url"),
        file: s.subject_of("password_file"),
    };
    redis.url.password = password::choose(&redis.url, file, secrets, &from, report);
    section.finish(report);
    Some(redis)
}
