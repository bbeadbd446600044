//! The settings of `[redis]`: first those about servers, logins and TLS, which are of no use one by one,
//! then where it is and what it may cost.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::tls::Tls;
use crate::config::declare::{settings, words};
use crate::config::section::Kind;
use crate::config::sections::redis::servers::{Login, Servers};
use crate::config::sections::redis::url::{REDIS_URL, RedisUrl};
use crate::config::values::duration::{DurationRule, ms, secs};
use crate::config::values::file::FILE_PATH;
use crate::config::values::host::{HOST, HostPort, NODES};
use crate::config::values::number::{Count, GIB, Size};
use crate::config::values::text::{ANY_TEXT, Choice, Text, YES_OR_NO};

pub(crate) static REDIS: Kind = Kind::one("redis", &[ServerKeys::SETTINGS, Redis::SETTINGS]);

/// The default of `url`.
pub(crate) const USUAL_URL: &str = "redis://127.0.0.1:6379/0";

/// A user's name.
const NAME: Text = Text {
    max: 256,
    what: "a name",
};

words! {
    /// What finds the servers.
    pub enum Mode {
        /// There is one, and its address is configured.
        Single = "single",
        /// Sentinels name the master.
        Sentinel = "sentinel",
        /// The nodes of a cluster name each other.
        Cluster = "cluster",
    }
}

words! {
    /// Version of the protocol that is spoken.
    pub enum Protocol {
        /// Known to every server.
        Resp2 = "resp2",
        /// Redis 6 and later.
        Resp3 = "resp3",
    }
}

settings! {
    /// The keys about servers, logins and TLS, each read by itself. Has no `Debug`, so that it can not be shown.
    pub(crate) struct ServerKeys {
        /// single: the server at url; sentinel: the master that Sentinels name; cluster: Redis Cluster.
        /// Decides which of the keys below may be given.
        pub(crate) mode: Mode = "single", Choice(Mode::WORDS);
        /// mode = single: the server. User and password are percent-encoded (/ is %2F, @ is %40).
        /// No URL, good or bad, is ever shown.
        pub(crate) url: RedisUrl = USUAL_URL, REDIS_URL;
        /// mode = sentinel: the Sentinels; mode = cluster: some of its nodes, the others are found.
        /// Any that answers will do, for it knows the others.
        pub(crate) nodes: Vec<HostPort> = "", NODES;
        /// mode = sentinel: what the Sentinels call the master.
        pub(crate) master: String = "", Text { max: 256, what: "NAME of sentinel monitor NAME" };
        /// mode = sentinel: number of the database; a single server's is in url, a cluster has only 0.
        /// Redis numbers its databases with a C int.
        pub(crate) db: i64 = "0", Count(0, i32::MAX as i64);
        /// ACL user, unless url names it (Redis 6 and later); GET and SET are all it has to be allowed.
        pub(crate) username: String = "", NAME;
        /// File that holds the password, instead of one in url; one line break at its end is dropped.
        /// Read while the configuration is read; a later change needs a restart.
        pub(crate) password_file: Option<PathBuf> = "", FILE_PATH;
        /// mode = sentinel: ACL user at the Sentinels themselves (Redis 6.2 and later).
        pub(crate) sentinel_username: String = "", NAME;
        /// mode = sentinel: file that holds the password of the Sentinels themselves, if they want one.
        pub(crate) sentinel_password_file: Option<PathBuf> = "", FILE_PATH;
        /// mode = sentinel or cluster: TLS to every server and Sentinel; one server: rediss:// in url.
        pub(crate) tls: bool = "false", YES_OR_NO;
        /// TLS: PEM file of the authorities that sign the servers' certificates; empty: the system's.
        pub(crate) ca_file: Option<PathBuf> = "", FILE_PATH;
        /// TLS: PEM file of our own certificate (and those above it), for servers that ask for one.
        pub(crate) cert_file: Option<PathBuf> = "", FILE_PATH;
        /// TLS: PEM file of the private key of cert_file, without a passphrase.
        pub(crate) key_file: Option<PathBuf> = "", FILE_PATH;
        /// TLS: what the servers' certificates have to hold; empty: the host that is connected to.
        /// For Sentinels that tell addresses where the certificates hold names, and for tunnels.
        pub(crate) server_name: Option<String> = "", HOST;
    }
}

settings! {
    /// `[redis]`: where it is and what it may cost.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Redis {
        /// resp3: every connection begins with HELLO 3 (Redis 6 and later); resp2 suits every server.
        /// RESP2 is known to all servers, and RESP3 has nothing that is needed here.
        pub protocol: Protocol = "resp2", Choice(Protocol::WORDS);
        /// All that Redis may cost one request: wait for a connection, connect and read.
        /// Part of the worst case of a request (`rules/`).
        pub timeout: Duration = "500ms", DurationRule::between(ms(1), secs(60));
        /// Threads that look keys up, each with one MGET at a time; mode = cluster: at least 2.
        /// Each holds one connection while it asks.
        pub readers: usize = "2", Count(1, 64);
        /// Keys of one MGET.
        /// Redis serves one command after the other: a longer MGET delays everybody else's.
        pub batch_max: usize = "64", Count(1, 1024);
        /// Connections to a server at most; 0: as many as readers and workers together.
        /// That number stands here in the end: `rules/` puts it in the place of 0.
        pub pool_size: usize = "0", Count(0, 4096);
        /// Put before every key in Redis, as the original service did; routes may have their own.
        /// Old and new instances share one Redis during a migration, so it must match theirs.
        pub key_prefix: String = "", ANY_TEXT;
        /// Values fetched while Redis is down that wait to be written to it; the oldest go first.
        /// In bytes; 0: none wait. They are shared with the memory as long as they are there too.
        pub recovery_max_bytes: u64 = "16MiB", Size(0, GIB);
    }
    beside {
        /// Where the servers are, and what finds them.
        pub servers: Servers,
        /// What the servers are told; never shown.
        pub login: Login,
        /// How connections are encrypted, if they are; never with a Unix socket. For the Sentinels too.
        pub tls: Option<Tls>,
    }
}

impl ServerKeys {
    /// With relative paths taken from `folder`.
    pub(crate) fn in_folder(mut self, folder: &Path) -> Self {
        let passwords = [&mut self.password_file, &mut self.sentinel_password_file];
        let tls = [&mut self.ca_file, &mut self.cert_file, &mut self.key_file];
        for file in passwords.into_iter().chain(tls) {
            *file = file.take().map(|file| folder.join(file));
        }
        self
    }
}

impl Servers {
    /// What finds them.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match self {
            Self::Single { .. } => Mode::Single,
            Self::Sentinel { .. } => Mode::Sentinel,
            Self::Cluster { .. } => Mode::Cluster,
        }
    }
}
