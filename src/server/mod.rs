//! The front door: connections, heads, the contract. The only folder that knows HTTP, and the only
//! one that knows tiny_http. In the order of a request's way.

pub(crate) mod connections;
pub(crate) mod event_loop;
pub mod tiny;
pub(crate) mod accept;
pub(crate) mod connection;
pub mod head;
pub mod contract;
pub(crate) mod service;
pub mod response;
