//! One file for each section of `config.ini`: its settings, and what they become.

pub(crate) mod server;
pub(crate) mod redis;
pub(crate) mod breaker;
pub(crate) mod memory;
pub(crate) mod health;
pub(crate) mod admin;
pub(crate) mod log;
pub(crate) mod route;
pub(crate) mod source;
