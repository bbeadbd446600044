//! One file for each section of `config.ini`: its settings, and what they become. A new setting is one entry
//! in the `settings!` of its section (`declare.rs` says how) and the same in `config.ini`: a test says what
//! that lacks. A new section is a file here, a line in `schema.rs`, and a field of `Config`.

pub(crate) mod server;
pub(crate) mod redis;
pub(crate) mod breaker;
pub(crate) mod memory;
pub(crate) mod health;
pub(crate) mod admin;
pub(crate) mod log;
pub(crate) mod route;
pub(crate) mod source;
