//! The front door: connections, heads, the contract. The only folder that knows HTTP, and the only
//! one that knows tiny_http. In the order of a request's way.

pub mod connections;
pub mod event_loop;
pub mod tiny;
pub mod accept;
pub mod connection;
pub mod head;
pub mod contract;
pub mod service;
pub mod response;
