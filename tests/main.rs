//! The tests of the whole: the real binary, real `redis-server` processes, a real HTTP source, raw
//! clients. What is pure is tested at the foot of its own file in `src`.
#![allow(
    clippy::expect_used,
    reason = "a test that cannot go on fails, and says why"
)]

mod harness;

mod contract;
mod cache_aside;
mod source;
mod source_guard;
mod flight;
mod memory_and_stale;
mod outage;
mod failures;
mod tls;
mod logins;
mod topologies;
mod front;
mod clients;
mod health;
mod admin;
mod operations;
mod shutdown;
mod configuration;
mod packaging;
mod hostile;
mod systemd;
mod failover;
mod field;
