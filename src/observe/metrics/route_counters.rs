//! What is counted of each route.

use std::time::Duration;

use prometheus::Histogram;

use crate::config::Route;
use crate::observe::metrics::families::{Counter, Family};
use crate::observe::outcome::Outcome;

/// Upper bounds in seconds of what a request takes: from a hit to `request_timeout`.
const BUCKETS: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// The counters of one route.
pub(crate) struct RouteCounters {
    pub(super) name: String,
    /// In the order of [`Outcome::ALL`]. How many answers there were is their sample count: an answer is
    /// counted once.
    seconds: [Histogram; Outcome::ALL.len()],
    /// Lookups that joined a fetch under way.
    pub(crate) joined: Counter,
    /// Fetches made before a key's ttl in Redis was over, for no client.
    pub(crate) refreshes: Counter,
    /// Lookups answered by a negative entry of memory.
    pub(crate) negative_hits: Counter,
}

impl RouteCounters {
    /// The counters of each of `routes`.
    pub(super) fn of_each(routes: &[Route], new: &Family<'_>) -> prometheus::Result<Box<[Self]>> {
        let seconds = new.histograms(
            "request_seconds",
            "Time from a request's whole head to its answer.",
            &["route", "outcome"],
            &BUCKETS,
        )?;
        let by_route = |name, help| new.counters(name, help, &["route"]);
        let joined = by_route(
            "flights_joined_total",
            "Lookups that joined a fetch under way.",
        )?;
        let refreshes = by_route(
            "refreshes_total",
            "Fetches made before the end of a key's life.",
        )?;
        let negative_hits = by_route(
            "negative_hits_total",
            "Lookups answered by the memory that there is no such thing.",
        )?;
        let of_one = |Route { name, .. }: &Route| Self {
            name: name.clone(),
            seconds: Outcome::ALL.map(|o| seconds.with_label_values(&[name, o.word()])),
            joined: joined.with_label_values(&[name]),
            refreshes: refreshes.with_label_values(&[name]),
            negative_hits: negative_hits.with_label_values(&[name]),
        };
        Ok(routes.iter().map(of_one).collect())
    }

    pub(crate) fn answered(&self, outcome: Outcome, took: Duration) {
        self.seconds[outcome as usize].observe(took.as_secs_f64());
    }

    pub(crate) fn answers(&self, outcome: Outcome) -> u64 {
        self.seconds[outcome as usize].get_sample_count()
    }
}
