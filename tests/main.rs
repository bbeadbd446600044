//! The tests of the whole: the real binary, real `redis-server` processes, a real HTTP source, raw
//! clients. What is pure is tested at the foot of its own file in `src`.
//!
//! A test that takes long, as the rows of the fault matrix do and what needs many servers or clients and the machine
//! for itself, says so: `#[ignore = "long: .."]`. `tests/run` leaves those out and takes less than three minutes,
//! `tests/run --all` runs everything, and `tests/run NAME` what is named, long or not. Both leave out `field`, whose rules
//! are not all held yet: `tests/run field::` shows which. A rule that is mended is taken out of there.
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
mod decisions;
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
mod signals;
mod configuration;
mod packaging;
mod architecture;
mod hostile;
mod systemd;
mod activation;
mod boot;
mod failover;
mod field;
