//! TLS to Redis: what every connection begins from, one connection, and what goes wrong, in words.

pub(crate) mod connector;
pub(crate) mod session;
pub(crate) mod words;
