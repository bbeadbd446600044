//! One connection to a Redis server, and what the server says on it.

pub mod connection;
pub mod fault;
pub mod handshake;
pub mod role;
pub mod socket;
pub mod tls;
