//! Makes families of metrics: each gets the prefix of all and is known to the registry.

use prometheus::core::Collector;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

pub(crate) use prometheus::IntCounter as Counter;

/// Makes families for one registry.
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
