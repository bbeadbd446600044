//! Where Redis is and how one gets in, as `[redis]` says it. No login is ever shown.

use std::fmt;
use std::path::PathBuf;

use crate::config::values::host::HostPort;

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
