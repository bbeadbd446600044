//! What is counted of Redis.

use std::time::Duration;

use prometheus::HistogramVec;

use crate::observe::metrics::families::{Family, counters};
use crate::observe::outcome::RedisOp;

/// Upper bounds in seconds of what a call to Redis takes: up to `[redis] timeout`.
const BUCKETS: [f64; 11] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5,
];

counters! {
    RedisCounters beside op_seconds: HistogramVec = op_seconds {
        hits: "redis_keys_total" result = "hit", "Keys that Redis was asked for.";
        misses: "redis_keys_total" result = "miss", "Keys that Redis was asked for.";
        bypassed: "redis_bypassed_total",
            "Lookups that went without Redis because it was not usable.";
        failovers: "redis_failovers_total", "Masters that took the place of another one.";
        moved: "redis_redirects_total" kind = "moved",
            "Keys that a node of a cluster sent elsewhere: moved for good, or on the way (ask).";
        asked: "redis_redirects_total" kind = "ask",
            "Keys that a node of a cluster sent elsewhere: moved for good, or on the way (ask).";
        written: "redis_writes_total" result = "written",
            "Values for Redis: written, or dropped because it took none or too many waited.";
        not_written: "redis_writes_total" result = "dropped",
            "Values for Redis: written, or dropped because it took none or too many waited.";
        recovered: "recovery_written_total",
            "Values of an outage that were written to Redis when it was back.";
        recovery_dropped: "recovery_dropped_total",
            "Values of an outage that were never written: no room, or too late.";
    }
}

fn op_seconds(new: &Family<'_>) -> prometheus::Result<HistogramVec> {
    new.histograms(
        "redis_op_seconds",
        "Time that calls to Redis took, waiting for a connection included.",
        &["op", "result"],
        &BUCKETS,
    )
}

impl RedisCounters {
    /// Counts a call; `result` is `ok` or the word for its fault.
    pub(crate) fn called(&self, op: RedisOp, result: &str, took: Duration) {
        let series = self.op_seconds.with_label_values(&[op.word(), result]);
        series.observe(took.as_secs_f64());
    }
}
