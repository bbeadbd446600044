//! One connection to a Redis server, and what the server says on it.

pub(crate) mod connection;
pub(crate) mod fault;
pub(crate) mod handshake;
pub(crate) mod role;
pub(crate) mod socket;
pub(crate) mod tls;
