//! Where Redis is and how one gets in, as `[redis]` says it: servers, login, TLS, protocol. No login is
//! ever shown.

use std::fmt;
use std::path::PathBuf;

/// The servers, and what finds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Servers {
    /// `mode = single`
    Single {
        /// Where it listens.
        address: RedisAddress,
        /// Number of the database.
        db: i64,
    },
    /// `mode = sentinel`
    Sentinel {
        /// The Sentinels, in the order of the file; at least one.
        nodes: Vec<HostPort>,
        /// What they call the master; never empty.
        master: String,
        /// Number of the database on the master.
        db: i64,
        /// What the Sentinels themselves are told; [`Redis::login`](crate::config::Redis::login) is for the
        /// servers that they name.
        login: Login,
    },
    /// `mode = cluster`; its only database is 0.
    Cluster {
        /// Nodes to begin with, in the order of the file; at least one.
        nodes: Vec<HostPort>,
    },
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

/// `[redis] mode`: what finds the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// There is one, and its address is configured.
    Single,
    /// Sentinels name the master.
    Sentinel,
    /// The nodes of a cluster name each other.
    Cluster,
}

impl Mode {
    /// The word for it in settings, `/healthz` and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }
}

/// Where a Redis server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisAddress {
    /// Host and port.
    Tcp(HostPort),
    /// A socket in the file system; never together with TLS.
    Unix(PathBuf),
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(server) => server.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A host and a port of it; displayed as in a URL, an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// Name or address, without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

/// Who we are to a server.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// Nothing is said: the server's default user without a password.
    Nobody,
    /// The default user, or a server that knows no users.
    Password(String),
    /// An ACL user (Redis 6 and later).
    User {
        /// Its name; never empty.
        name: String,
        /// Its password.
        password: String,
    },
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nobody => "Nobody",
            Self::Password(_) => "Password(..)",
            Self::User { .. } => "User { .. }",
        })
    }
}

/// Connections are encrypted, and the server's certificate is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of the authorities that are trusted; none: those of the system.
    pub ca_file: Option<PathBuf>,
    /// What we show to a server that wants to see a certificate.
    pub identity: Option<Identity>,
    /// Name or address that the server's certificate must hold; none: the host that is connected to.
    pub server_name: Option<String>,
}

/// A client certificate and the key to it, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, and those between it and its authority.
    pub cert_file: PathBuf,
    /// Its private key, without a passphrase.
    pub key_file: PathBuf,
}

/// Version of the protocol that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Known to every server.
    Resp2,
    /// Redis 6 and later.
    Resp3,
}
