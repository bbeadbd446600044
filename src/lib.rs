//! evenkeel serves a legacy JSON API from Redis and keeps serving it, byte for byte the same, whatever
//! happens to Redis.
//!
//! The rooms, from the roof down; each uses only those below it. [`app`] builds every part and ends them in
//! order. [`server`] is the HTTP door: it accepts, looks at heads, reads what is asked for, answers. `ops` is
//! what operators and systemd meet. `workers` has the threads that walk lookups through the `policy`, the
//! main loop of the service: [`cache`] (Redis, which may be gone), else one fetch per key from a `source`, else
//! what `copies` remembers. [`observe`] counts and says, [`config`] reads `config.ini`, [`base`] knows nothing
//! of the others. `docs/ARCHITECTURE.md` has the map, the invariants and the reasons.

#![warn(unreachable_pub)] // `pub` is what main.rs, fuzz targets and tests use; all else is `pub(crate)`

pub mod app;
pub mod server;
pub(crate) mod ops;
pub(crate) mod workers;
pub(crate) mod policy;
pub mod cache;
pub(crate) mod source;
pub(crate) mod copies;
pub mod observe;
pub mod config;
pub mod base;
