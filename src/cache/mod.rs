//! Redis as a cache that may be gone at any moment: lookups, writes, and whether it is worth asking.
//! The policy sees it through `port.rs` alone. Everything that knows the Redis protocol or its client
//! crates is in this folder; nothing here knows routes, sources or HTTP.

pub(crate) mod topology;
pub(crate) mod prober;
mod redis_cache;
pub(crate) mod port;
mod lookup;
mod read;
pub(crate) mod write;
pub(crate) mod ttl;
pub mod routing;
pub(crate) mod node;
pub(crate) mod status;
pub(crate) mod limits;
pub(crate) mod wire;

pub(crate) use redis_cache::RedisCache;
