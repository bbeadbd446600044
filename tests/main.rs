//! The tests of the whole: the real binary, real `redis-server` processes, a real HTTP source, raw
//! clients. What is pure is tested at the foot of its own file in `src`.
#![allow(
    clippy::expect_used,
    reason = "a test that cannot go on fails, and says why"
)]

mod harness;

mod contract;
