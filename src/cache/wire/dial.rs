//! How a server is reached: socket, TLS, handshake and role, in this order and by one deadline. Everybody
//! who wants a connection gets it here.

use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Deadline;
use crate::base::resolver::HostResolver;
use crate::cache::wire::connection::Connection;
use crate::cache::wire::fault::Fault;
use crate::cache::wire::handshake::Handshake;
use crate::cache::wire::role;
use crate::cache::wire::socket::{Endpoint, Socket};
use crate::cache::wire::tls::connector::Connector;
use crate::config::RedisAddress;

/// The way to one server.
pub(crate) struct Dial {
    endpoint: Endpoint,
    /// None: in the clear.
    tls: Option<Arc<Connector>>,
    handshake: Handshake,
    /// Whether the server has to be a master, by its own word.
    wants_master: bool,
}

impl Dial {
    /// To `address`. A Unix socket is never encrypted.
    pub(crate) fn new(
        address: &RedisAddress,
        tls: Option<Arc<Connector>>,
        handshake: Handshake,
        wants_master: bool,
    ) -> Self {
        let endpoint = match address {
            // An address may change with a failover: every connect resolves the name again.
            RedisAddress::Tcp(server) => {
                Endpoint::Tcp(HostResolver::new(server.to_string(), Duration::ZERO))
            }
            RedisAddress::Unix(path) => Endpoint::Unix(path.clone().into_boxed_path()),
        };
        Self {
            endpoint,
            tls,
            handshake,
            wants_master,
        }
    }

    /// Opens a connection by `deadline`.
    pub(crate) fn connect(&self, deadline: Deadline) -> Result<Connection, Fault> {
        self.connect_watched(deadline, |_| true)
    }

    /// The same. `on_socket` is handed each socket before anything is waited for on it, and says whether
    /// to go on.
    ///
    /// # Errors
    /// [`Fault::GivenUp`] when it says no, else the [`Fault`] of the step that failed.
    pub(crate) fn connect_watched(
        &self,
        deadline: Deadline,
        on_socket: impl FnMut(&Arc<Socket>) -> bool,
    ) -> Result<Connection, Fault> {
        let socket = Socket::connect(&self.endpoint, deadline, on_socket)?;
        let session = match (&self.endpoint, &self.tls) {
            (Endpoint::Tcp(resolver), Some(tls)) => {
                let mut session = Box::new(tls.session(resolver.host())?);
                session.shake_hands(&socket, deadline)?;
                Some(session)
            }
            _ => None,
        };
        let mut connection = Connection::new(socket, session);
        self.handshake.shake(&mut connection, deadline)?;
        if self.wants_master {
            role::check(&mut connection, deadline)?;
        }
        Ok(connection)
    }
}
