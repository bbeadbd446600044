//! One connection to a Redis server: how it is made, what is said on it, and what goes wrong.

pub(crate) mod command;
pub(crate) mod connection;
pub(crate) mod dial;
pub(crate) mod fault;
pub(crate) mod handshake;
pub(crate) mod reply;
pub(crate) mod role;
pub(crate) mod socket;
pub(crate) mod tls;
