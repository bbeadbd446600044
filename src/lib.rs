//! evenkeel serves a legacy JSON API from Redis and keeps serving it, byte for byte the same, whatever
//! happens to Redis.
//!
//! One request's way, which is also the order of the modules: [`http`] accepts the connection, looks at
//! the head and reads what is asked for; [`pipeline`] has the threads that walk it through the policy in
//! [`lookup`], the main loop of the service: [`cache`] (Redis behind a [`breaker`]), else one fetch per
//! key ([`flight`]) from a [`source`], else what [`memory`] remembers. `docs/ARCHITECTURE.md` has the map,
//! the invariants and the reasons.

pub mod app;
pub mod config;
pub mod http;
pub mod pipeline;
pub mod lookup;
pub mod flight;
pub mod recovery;
pub mod cache;
pub mod breaker;
pub mod memory;
pub mod source;
pub mod resolver;
pub mod tls;
pub mod metrics;
pub mod outage;
pub mod health;
pub mod admin;
pub mod shutdown;
pub mod systemd;
pub mod clock;
pub mod logging;
