//! `[admin]`: where operators and Prometheus look.

use std::net::SocketAddr;

use crate::config::declare::settings;
use crate::config::section::Kind;
use crate::config::values::listen::LISTEN_OR_NOT;

pub(crate) static ADMIN: Kind = Kind::one("admin", &[Admin::SETTINGS]);

settings! {
    /// `[admin]`: where operators and Prometheus look.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Admin {
        /// Address of /metrics, /outages and the health endpoints, for operators; empty: no such door.
        /// Loopback by default: what is said there is not for clients.
        pub listen: Option<SocketAddr> = "127.0.0.1:5001", LISTEN_OR_NOT;
    }
}
