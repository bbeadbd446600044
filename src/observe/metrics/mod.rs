//! What this process counts and measures, for `/metrics`, `/healthz`, `/outages` and the log. Atomics
//! behind handles that are looked up once: counting an answer costs some tens of nanoseconds and never
//! waits. Names follow Prometheus' conventions; keys and addresses of clients never become labels.
//! Nothing else knows the metrics crate.

mod families;
mod page;
mod process;
mod redis_counters;
mod route_counters;

use std::io;
use std::time::Duration;

use prometheus::{Histogram, IntCounterVec, Registry};

use crate::base::clock;
use crate::config::Config;
use crate::observe::outage::{Moment, Outages, Tally};

pub(crate) use crate::observe::outcome::{Outcome, RedisOp};
pub(crate) use families::Counter;
pub(crate) use page::{MEDIA_TYPE, Page};

use families::Family;
use process::Process;
use redis_counters::RedisCounters;
use route_counters::RouteCounters;

/// Upper bounds in seconds of what a fetch from a source takes.
const SOURCE_BUCKETS: [f64; 11] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// The counters. Routes and sources are known by their places in the configuration.
pub(crate) struct Metrics {
    registry: Registry,
    process: Process,
    routes: Box<[RouteCounters]>,
    sources: Box<[SourceCounters]>,
    source_calls: IntCounterVec,
    other_responses: IntCounterVec,
    pub(crate) redis: RedisCounters,
    /// Fetches that were begun; `source_calls` counts those that are over.
    calls_begun: Counter,
    /// Those of them for keys that Redis was not asked for.
    extra_calls: Counter,
    /// Panics that were caught.
    pub(crate) panics: Counter,
    /// Connections that were accepted.
    pub(crate) accepted: Counter,
    /// Times that there was no place or no descriptor for a connection.
    pub(crate) short_of_room: Counter,
    /// Idle connections closed to make room for new ones.
    pub(crate) evicted: Counter,
    /// The outages there were, and what clients saw of them.
    pub(crate) outages: Outages,
}

struct SourceCounters {
    name: String,
    seconds: Histogram,
}

impl Metrics {
    /// For the routes and sources of `config`, all at zero.
    ///
    /// # Errors
    /// When the metrics crate takes a name for malformed or for one that it has already.
    pub(crate) fn new(config: &Config) -> io::Result<Self> {
        Self::build(config).map_err(io::Error::other)
    }

    fn build(config: &Config) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let new = Family(&registry);
        let counter = |name, help| new.counter(name, None, help);
        let source_seconds = new.histograms(
            "source_seconds",
            "Time that fetches from a source took.",
            &["source"],
            &SOURCE_BUCKETS,
        )?;
        let sources = config.sources.iter().map(|source| SourceCounters {
            name: source.name.clone(),
            seconds: source_seconds.with_label_values(&[&source.name]),
        });
        Ok(Self {
            process: Process::new(&new, clock::wall())?,
            routes: RouteCounters::of_each(&config.routes, &new)?,
            sources: sources.collect(),
            source_calls: new.counters(
                "source_calls_total",
                "Fetches from a source, by what came of them.",
                &["source", "result"],
            )?,
            other_responses: new.counters(
                "other_responses_total",
                "Responses that were no answer to a lookup: health, 404, 405, refused heads, pages for operators.",
                &["code"],
            )?,
            redis: RedisCounters::new(&new)?,
            calls_begun: Counter::new("source_calls_begun", "not shown")?,
            extra_calls: counter(
                "source_calls_without_redis_total",
                "Fetches of keys that Redis was not asked for; it may have had them.",
            )?,
            panics: counter("panics_total", "Panics that were caught.")?,
            accepted: counter(
                "connections_accepted_total",
                "Connections that were accepted, of clients and operators.",
            )?,
            short_of_room: counter(
                "connections_short_of_room_total",
                "Times that there was no place or no descriptor for a connection.",
            )?,
            evicted: counter(
                "connections_evicted_total",
                "Idle connections of clients that were closed to make room.",
            )?,
            outages: Outages::default(),
            registry,
        })
    }

    /// One lookup of a route was answered so, `took` after its request was whole.
    pub(crate) fn answered(&self, route: usize, outcome: Outcome, took: Duration) {
        self.routes[route].answered(outcome, took);
        self.outages.answered(took);
    }

    /// How many lookups were answered so.
    pub(crate) fn answers(&self, outcome: Outcome) -> u64 {
        let routes = self.routes.iter();
        routes.map(|route| route.answers(outcome)).sum()
    }

    /// The counters of a route.
    pub(crate) fn route(&self, route: usize) -> &RouteCounters {
        &self.routes[route]
    }

    /// A request that was no lookup was answered with this status code.
    pub(crate) fn responded(&self, code: u16) {
        let responses = &self.other_responses;
        responses.with_label_values(&[&code.to_string()]).inc();
    }

    /// A fetch from a source begins; `is_extra`: of a key that Redis was not asked for.
    pub(crate) fn fetches(&self, is_extra: bool) {
        self.calls_begun.inc();
        self.extra_calls.inc_by(is_extra.into());
    }

    /// A fetch from a source took so long and came to this: `value`, `no-such-thing`, or the word
    /// for what went wrong.
    pub(crate) fn fetched(&self, source: usize, result: &str, took: Duration) {
        let source = &self.sources[source];
        source.seconds.observe(took.as_secs_f64());
        let labels = [source.name.as_str(), result];
        self.source_calls.with_label_values(&labels).inc();
    }

    /// Fetches from all sources that were begun.
    pub(crate) fn source_calls(&self) -> u64 {
        self.calls_begun.get()
    }

    /// Those that brought neither a value nor the word that there is none.
    pub(crate) fn source_failures(&self) -> u64 {
        let failed = |source: &SourceCounters| {
            let of = |result| {
                let labels = [source.name.as_str(), result];
                self.source_calls.with_label_values(&labels).get()
            };
            let well = of("value") + of("no-such-thing");
            source.seconds.get_sample_count().saturating_sub(well)
        };
        self.sources.iter().map(failed).sum()
    }

    /// Lookups that joined a fetch under way.
    pub(crate) fn joined(&self) -> u64 {
        self.routes.iter().map(|route| route.joined.get()).sum()
    }

    /// `of` is not used any more, because of `cause`.
    pub(crate) fn outage_began(&self, of: &str, cause: &str) {
        self.outages.begin(of, cause, Moment::now(), self.tally());
    }

    /// `of` is used again.
    pub(crate) fn outage_ended(&self, of: &str) {
        self.outages.end(of, Moment::now(), self.tally());
    }

    /// What an outage is measured by.
    pub(crate) fn tally(&self) -> Tally {
        // The part before the whole: it is never more.
        let extra_source_calls = self.extra_calls.get();
        Tally {
            answers: Outcome::ALL.map(|outcome| self.answers(outcome)),
            source_calls: self.source_calls(),
            extra_source_calls,
            keys_written_back: self.redis.recovered.get(),
        }
    }

    /// The page of this moment, to which other parts may add what they know.
    pub(crate) fn page(&self) -> Page {
        self.process.update();
        let mut page = Page::new(&self.registry);
        let version = env!("CARGO_PKG_VERSION");
        page.gauges(
            "build_info",
            "1, with the version as a label.",
            ["version"],
            [([version], 1.0)],
        );
        page.counters(
            "requests_total",
            "Lookups, by how they were answered.",
            ["route", "outcome"],
            self.routes.iter().flat_map(|route| {
                Outcome::ALL.map(|o| ([route.name.as_str(), o.word()], route.answers(o)))
            }),
        );
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::config::NO_ENVIRONMENT;

    fn metrics() -> Metrics {
        let config = config::parse("", "test.ini", NO_ENVIRONMENT).expect("defaults");
        Metrics::new(&config.config).expect("sound names")
    }

    #[test]
    fn answers_are_counted_and_timed_by_route_and_outcome() {
        let metrics = metrics();
        metrics.answered(0, Outcome::Redis, Duration::from_millis(2));
        metrics.answered(0, Outcome::Shed, Duration::ZERO);
        assert_eq!(metrics.answers(Outcome::Redis), 1);
        let page = metrics.page().render().expect("a page");
        let page = String::from_utf8(page).expect("text");
        for line in [
            r#"evenkeel_requests_total{outcome="redis",route="data"} 1"#,
            r#"evenkeel_requests_total{outcome="source",route="data"} 0"#,
            r#"evenkeel_request_seconds_bucket{outcome="redis",route="data",le="0.001"} 0"#,
            r#"evenkeel_request_seconds_bucket{outcome="redis",route="data",le="0.0025"} 1"#,
        ] {
            assert!(page.lines().any(|known| known == line), "{line} in {page}");
        }
    }

    #[test]
    fn other_responses_are_counted_by_status_code() {
        let metrics = metrics();
        for code in [404, 200, 404] {
            metrics.responded(code);
        }
        let count = |code| metrics.other_responses.with_label_values(&[code]).get();
        assert_eq!((count("404"), count("200")), (2, 1));
    }

    #[test]
    fn calls_to_a_source_are_counted_with_what_came_of_them() {
        let metrics = metrics();
        for (is_extra, result) in [
            (false, "value"),
            (true, "timed-out"),
            (false, "no-such-thing"),
        ] {
            metrics.fetches(is_extra);
            metrics.fetched(0, result, Duration::from_millis(1));
        }
        assert_eq!((metrics.source_calls(), metrics.source_failures()), (3, 1));
        assert_eq!(metrics.tally().extra_source_calls, 1);
    }
}
