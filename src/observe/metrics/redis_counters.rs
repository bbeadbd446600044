//! What is counted of Redis.

use std::time::Duration;

use prometheus::HistogramVec;

use crate::observe::metrics::families::{Counter, Family};
use crate::observe::outcome::RedisOp;

/// Upper bounds in seconds of what a call to Redis takes: up to `[redis] timeout`.
const BUCKETS: [f64; 11] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5,
];

pub(crate) struct RedisCounters {
    op_seconds: HistogramVec,
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
    /// Lookups answered without Redis.
    pub(crate) bypassed: Counter,
    pub(crate) failovers: Counter,
    /// Keys that a node of a cluster sent elsewhere for good.
    pub(crate) moved: Counter,
    /// Keys that a node of a cluster sent elsewhere while their slot moves.
    pub(crate) asked: Counter,
    pub(crate) written: Counter,
    /// Values that Redis refused, or that were dropped because too many waited.
    pub(crate) not_written: Counter,
    /// Values fetched during an outage and written after it.
    pub(crate) recovered: Counter,
    /// Values fetched during an outage and never written: no room, or too late.
    pub(crate) recovery_dropped: Counter,
}

impl RedisCounters {
    pub(crate) fn new(new: &Family<'_>) -> prometheus::Result<Self> {
        let keys = new.counters(
            "redis_keys_total",
            "Keys that Redis was asked for.",
            &["result"],
        )?;
        let writes = new.counters(
            "redis_writes_total",
            "Values for Redis: written, or dropped because it took none or too many waited.",
            &["result"],
        )?;
        let redirects = new.counters(
            "redis_redirects_total",
            "Keys that a node of a cluster sent elsewhere: moved for good, or on the way (ask).",
            &["kind"],
        )?;
        Ok(Self {
            failovers: new.counter(
                "redis_failovers_total",
                "Masters that took the place of another one.",
            )?,
            moved: redirects.with_label_values(&["moved"]),
            asked: redirects.with_label_values(&["ask"]),
            op_seconds: new.histograms(
                "redis_op_seconds",
                "Time that calls to Redis took, waiting for a connection included.",
                &["op", "result"],
                &BUCKETS,
            )?,
            hits: keys.with_label_values(&["hit"]),
            misses: keys.with_label_values(&["miss"]),
            bypassed: new.counter(
                "redis_bypassed_total",
                "Lookups that went without Redis because it was not usable.",
            )?,
            written: writes.with_label_values(&["written"]),
            not_written: writes.with_label_values(&["dropped"]),
            recovered: new.counter(
                "recovery_written_total",
                "Values of an outage that were written to Redis when it was back.",
            )?,
            recovery_dropped: new.counter(
                "recovery_dropped_total",
                "Values of an outage that were never written: no room, or too late.",
            )?,
        })
    }

    /// Counts a call; `result` is `ok` or the word for its fault.
    pub(crate) fn called(&self, op: RedisOp, result: &str, took: Duration) {
        let series = self.op_seconds.with_label_values(&[op.word(), result]);
        series.observe(took.as_secs_f64());
    }
}
