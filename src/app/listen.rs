//! The sockets that clients and operators connect to: what systemd passes, else what is configured.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use log::{info, warn};

use crate::app::start_error::StartError;
use crate::config::{self, Config, NO_ENVIRONMENT};
use crate::ops::systemd::activation;
use crate::server::accept::Listener;

/// All sockets of clients, one at least.
pub(super) fn for_clients(config: &Config) -> Result<Vec<Listener>, StartError> {
    let address = config.server.listen;
    let passed = activation::passed_listeners().map_err(StartError::Passed)?;
    match passed.len() {
        0 => return bind("server", address).map(|listener| vec![listener]),
        1 => info!("the socket that systemd passed is used, not [server] listen = {address}"),
        count => info!(
            "the {count} sockets that systemd passed are used, not [server] listen = {address}"
        ),
    }
    let listeners = passed.into_iter().map(Listener::passed);
    Ok(listeners.collect::<io::Result<_>>()?)
}

/// The socket of operators. Where its default port is taken, by another instance most likely, the service
/// does without: nobody has asked for that port.
pub(super) fn for_operators(config: &Config) -> Result<Option<Listener>, StartError> {
    let Some(address) = config.admin.listen else {
        return Ok(None);
    };
    match bind("admin", address) {
        Err(StartError::Bind(_, _, error))
            if error.kind() == ErrorKind::AddrInUse && is_default(config) =>
        {
            warn!(
                "no admin door: {address} is taken, by another instance? give this one a port of \
                 its own in [admin] listen, or leave that empty"
            );
            Ok(None)
        }
        bound => bound.map(Some),
    }
}

fn bind(section: &'static str, address: SocketAddr) -> Result<Listener, StartError> {
    Listener::bind(address).map_err(|error| StartError::Bind(section, address, error))
}

/// Whether `[admin] listen` is what it is where nothing is written.
fn is_default(config: &Config) -> bool {
    let defaults = config::parse("", "defaults", NO_ENVIRONMENT);
    defaults.is_ok_and(|defaults| defaults.config.admin.listen == config.admin.listen)
}
