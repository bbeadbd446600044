//! The HTTP door: connections, heads, the contract. The only room that knows HTTP, and the only one
//! that knows tiny_http. In the order of a request's way.

pub(crate) mod accept;
pub(crate) mod mailbox;
pub(crate) mod event_loop;
pub(crate) mod connections;
pub(crate) mod connection;
pub mod head;
pub mod tiny;
pub mod contract;
pub mod response;
pub(crate) mod service;
