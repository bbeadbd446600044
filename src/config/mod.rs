//! What `config.ini` and the environment say, typed and within bounds. `load.rs` is the way from text to a
//! [`Config`]; `sections/` has one file for each section, where its settings are declared; `values/` the kinds
//! of values that settings have; `rules/` what must hold between sections.

mod load;
mod ini;
mod environment;
mod schema;
mod rules;
mod whole;
mod sections;
mod values;
mod declare;
mod section;
mod setting;
mod report;
mod wording;

pub use load::{Loaded, NO_ENVIRONMENT, load, parse};
pub use report::Mistakes;
pub use schema::{Row, table};
pub use sections::admin::Admin;
pub use sections::breaker::{Breaker, BreakerMode};
pub use sections::health::{Health, RedisHealth};
pub use sections::log::Log;
pub use sections::memory::Memory;
pub use sections::redis::keys::{Mode, Protocol, Redis};
pub use sections::redis::servers::{Login, RedisAddress, Servers};
pub use sections::route::Route;
pub use sections::server::{Contract, Server};
pub use sections::source::{HttpSource, Simulated, Source, SourceKind};
pub use values::fraction::Fraction;
pub use values::host::HostPort;
pub use values::http_url::HttpUrl;
pub use whole::Config;

pub use crate::base::tls::{Identity, Tls};

#[cfg(test)]
mod tests;
