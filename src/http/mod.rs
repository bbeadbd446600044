//! The front door: connections, heads, the contract. The only folder that knows HTTP, and the only
//! one that knows tiny_http. In the order of a request's way.

pub mod accept;
pub mod connection;
pub mod slots;
pub mod front;
pub mod head;
pub mod library;
pub mod contract;
pub mod service;
pub mod response;
