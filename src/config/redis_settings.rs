//! `[redis]`: its keys. What those about servers, logins and TLS come to is settled in `servers.rs`.

use std::path::{Path, PathBuf};

use crate::config::authority::HostRule;
use crate::config::environment::Secrets;
use crate::config::nodes::NodesRule;
use crate::config::redis_url::RedisUrlRule;
use crate::config::report::Report;
use crate::config::section::{Kind, Section};
use crate::config::servers;
use crate::config::servers::{Keys, Settled, TlsKeys};
use crate::config::setting::{Setting, setting};
use crate::config::span::{Span, ms, secs};
use crate::config::values::{Choice, Count, FilePath, GIB, Size, Text, YES_OR_NO};
use crate::config::{Mode, Protocol, Redis};

/// Everything of `[redis]`.
pub(super) static REDIS: Kind = Kind {
    title: "redis",
    default_name: None,
    settings: &[
        &MODE,
        &URL,
        &NODES,
        &MASTER,
        &DB,
        &USERNAME,
        &PASSWORD_FILE,
        &SENTINEL_USERNAME,
        &SENTINEL_PASSWORD_FILE,
        &TLS,
        &CA_FILE,
        &CERT_FILE,
        &KEY_FILE,
        &SERVER_NAME,
        &PROTOCOL,
        &TIMEOUT,
        &READERS,
        &BATCH_MAX,
        &POOL_SIZE,
        &KEY_PREFIX,
        &RECOVERY_MAX_BYTES,
    ],
};

/// Decides which of the keys below may be given.
static MODE: Setting<Choice<Mode>> = setting(
    "mode",
    "single",
    Choice(&[
        ("single", Mode::Single),
        ("sentinel", Mode::Sentinel),
        ("cluster", Mode::Cluster),
    ]),
    "single: the server at url; sentinel: the master that Sentinels name; cluster: Redis Cluster.",
);
/// No URL, good or bad, is ever shown.
pub(super) static URL: Setting<RedisUrlRule> = setting(
    "url",
    "redis://127.0.0.1:6379/0",
    RedisUrlRule,
    "mode = single: the server. User and password are percent-encoded (/ is %2F, @ is %40).",
);
/// Any that answers will do, for it knows the others.
static NODES: Setting<NodesRule> = setting(
    "nodes",
    "",
    NodesRule,
    "mode = sentinel: the Sentinels; mode = cluster: some of its nodes, the others are found.",
);
static MASTER: Setting<Text> = setting(
    "master",
    "",
    Text {
        max: 256,
        what: "NAME of sentinel monitor NAME",
    },
    "mode = sentinel: what the Sentinels call the master.",
);
/// Redis numbers its databases with a C int.
static DB: Setting<Count<i64>> = setting(
    "db",
    "0",
    Count(0, i32::MAX as i64),
    "mode = sentinel: number of the database; a single server's is in url, a cluster has only 0.",
);
static USERNAME: Setting<Text> = setting(
    "username",
    "",
    NAME,
    "ACL user, unless url names it (Redis 6 and later); GET and SET are all it has to be allowed.",
);
/// Read while the configuration is read; a later change needs a restart.
static PASSWORD_FILE: Setting<FilePath> = setting(
    "password_file",
    "",
    FilePath,
    "File that holds the password, instead of one in url; one line break at its end is dropped.",
);
static SENTINEL_USERNAME: Setting<Text> = setting(
    "sentinel_username",
    "",
    NAME,
    "mode = sentinel: ACL user at the Sentinels themselves (Redis 6.2 and later).",
);
static SENTINEL_PASSWORD_FILE: Setting<FilePath> = setting(
    "sentinel_password_file",
    "",
    FilePath,
    "mode = sentinel: file that holds the password of the Sentinels themselves, if they want one.",
);
static TLS: Setting<Choice<bool>> = setting(
    "tls",
    "false",
    YES_OR_NO,
    "mode = sentinel or cluster: TLS to every server and Sentinel; one server: rediss:// in url.",
);
static CA_FILE: Setting<FilePath> = setting(
    "ca_file",
    "",
    FilePath,
    "TLS: PEM file of the authorities that sign the servers' certificates; empty: the system's.",
);
static CERT_FILE: Setting<FilePath> = setting(
    "cert_file",
    "",
    FilePath,
    "TLS: PEM file of our own certificate (and those above it), for servers that ask for one.",
);
static KEY_FILE: Setting<FilePath> = setting(
    "key_file",
    "",
    FilePath,
    "TLS: PEM file of the private key of cert_file, without a passphrase.",
);
/// For Sentinels that tell addresses where the certificates hold names, and for tunnels.
static SERVER_NAME: Setting<HostRule> = setting(
    "server_name",
    "",
    HostRule,
    "TLS: what the servers' certificates have to hold; empty: the host that is connected to.",
);
/// RESP2 is known to all servers, and RESP3 has nothing that is needed here.
static PROTOCOL: Setting<Choice<Protocol>> = setting(
    "protocol",
    "resp2",
    Choice(&[("resp2", Protocol::Resp2), ("resp3", Protocol::Resp3)]),
    "resp3: every connection begins with HELLO 3 (Redis 6 and later); resp2 suits every server.",
);

/// A user's name.
const NAME: Text = Text {
    max: 256,
    what: "a name",
};

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
    "Threads that look keys up, each with one MGET at a time; mode = cluster: at least 2.",
);
/// Redis serves one command after the other: a longer MGET delays everybody else's.
static BATCH_MAX: Setting<Count<usize>> =
    setting("batch_max", "64", Count(1, 1024), "Keys of one MGET.");
/// Resolved by the check, which knows the number of workers.
static POOL_SIZE: Setting<Count<usize>> = setting(
    "pool_size",
    "0",
    Count(0, 4096),
    "Connections to a server at most; 0: as many as readers and workers together.",
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
/// Shares its values with the memory as long as they are there too.
static RECOVERY_MAX_BYTES: Setting<Size> = setting(
    "recovery_max_bytes",
    "16MiB",
    Size(0, GIB),
    "Values fetched while Redis is down that wait to be written to it; the oldest go first.",
);

/// Reads `[redis]`; relative paths are taken from `folder`. A `pool_size` of 0 is left as it is: the
/// number of workers is not known here.
pub(super) fn redis(
    mut section: Section,
    secrets: &Secrets,
    folder: &Path,
    report: &mut Report,
) -> Option<Redis> {
    let keys = keys(&mut section, folder, report)?;
    let Settled {
        servers,
        login,
        tls,
    } = servers::settle(keys, &section, secrets, report);
    let s = &mut section;
    let redis = Redis {
        servers,
        login,
        tls,
        protocol: s.read(&PROTOCOL, report)?,
        timeout: s.read(&TIMEOUT, report)?,
        readers: s.read(&READERS, report)?,
        batch_max: s.read(&BATCH_MAX, report)?,
        pool_size: s.read(&POOL_SIZE, report)?,
        key_prefix: s.read(&KEY_PREFIX, report)?,
        recovery_max_bytes: s.read(&RECOVERY_MAX_BYTES, report)?,
    };
    section.finish(report);
    Some(redis)
}

fn keys(s: &mut Section, folder: &Path, report: &mut Report) -> Option<Keys> {
    let joined = |file: Option<PathBuf>| file.map(|file| folder.join(file));
    Some(Keys {
        mode: s.read(&MODE, report)?,
        url: s.read(&URL, report)?,
        nodes: s.read(&NODES, report)?,
        master: s.read(&MASTER, report)?,
        db: s.read(&DB, report)?,
        username: s.read(&USERNAME, report)?,
        password_file: joined(s.read(&PASSWORD_FILE, report)?),
        sentinel_username: s.read(&SENTINEL_USERNAME, report)?,
        sentinel_password_file: joined(s.read(&SENTINEL_PASSWORD_FILE, report)?),
        tls: TlsKeys {
            is_on: s.read(&TLS, report)?,
            ca_file: joined(s.read(&CA_FILE, report)?),
            cert_file: joined(s.read(&CERT_FILE, report)?),
            key_file: joined(s.read(&KEY_FILE, report)?),
            server_name: s.read(&SERVER_NAME, report)?,
        },
    })
}
