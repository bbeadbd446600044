//! How families of metrics are made: each with the prefix of all, and known to the registry. Those of
//! the routes are here too, since there is a set of them for each.

use prometheus::core::Collector;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use crate::observe::metrics::{Counter, Outcome, RouteCounters};

/// Upper bounds in seconds of what a request takes: from a hit to `request_timeout`.
const REQUEST_BUCKETS: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// The families of each route.
pub(crate) struct RouteFamilies {
    requests: IntCounterVec,
    seconds: HistogramVec,
    joined: IntCounterVec,
    refreshes: IntCounterVec,
    negative_hits: IntCounterVec,
}

impl RouteFamilies {
    pub(crate) fn new(new: &Family<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            requests: new.counters(
                "requests_total",
                "Lookups, by how they were answered.",
                &["route", "outcome"],
            )?,
            seconds: new.histograms(
                "request_seconds",
                "Time from a request's whole head to its answer.",
                &["route", "outcome"],
                &REQUEST_BUCKETS,
            )?,
            joined: new.counters(
                "flights_joined_total",
                "Lookups that joined a fetch under way.",
                &["route"],
            )?,
            refreshes: new.counters(
                "refreshes_total",
                "Fetches made before the end of a key's life.",
                &["route"],
            )?,
            negative_hits: new.counters(
                "negative_hits_total",
                "Lookups answered by the memory that there is no such thing.",
                &["route"],
            )?,
        })
    }

    pub(crate) fn of(&self, route: &str) -> RouteCounters {
        let labels = |outcome: Outcome| [route, outcome.word()];
        RouteCounters {
            requests: Outcome::ALL.map(|o| self.requests.with_label_values(&labels(o))),
            seconds: Outcome::ALL.map(|o| self.seconds.with_label_values(&labels(o))),
            joined: self.joined.with_label_values(&[route]),
            refreshes: self.refreshes.with_label_values(&[route]),
            negative_hits: self.negative_hits.with_label_values(&[route]),
        }
    }
}

/// Makes families of metrics, each with the prefix of all and known to the registry.
pub(crate) struct Family<'a>(pub(crate) &'a Registry);

impl Family<'_> {
    pub(crate) fn opts(name: &str, help: &str) -> Opts {
        Opts::new(name, help).namespace("evenkeel")
    }

    pub(crate) fn register<C: Collector + Clone + 'static>(
        &self,
        family: C,
    ) -> prometheus::Result<C> {
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }

    pub(crate) fn counter(&self, name: &str, help: &str) -> prometheus::Result<Counter> {
        self.register(Counter::with_opts(Self::opts(name, help))?)
    }

    pub(crate) fn counters(
        &self,
        name: &str,
        help: &str,
        by: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        self.register(IntCounterVec::new(Self::opts(name, help), by)?)
    }

    pub(crate) fn histograms(
        &self,
        name: &str,
        help: &str,
        by: &[&str],
        buckets: &[f64],
    ) -> prometheus::Result<HistogramVec> {
        let opts = HistogramOpts::from(Self::opts(name, help)).buckets(buckets.to_vec());
        self.register(HistogramVec::new(opts, by)?)
    }
}
