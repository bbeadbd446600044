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

    /// The one series of a family, or that of one label's value.
    pub(crate) fn counter(
        &self,
        name: &str,
        label: Option<(&str, &str)>,
        help: &str,
    ) -> prometheus::Result<Counter> {
        let mut opts = Self::opts(name, help);
        if let Some((label, value)) = label {
            opts = opts.const_label(label, value);
        }
        self.register(Counter::with_opts(opts)?)
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

/// Declares a struct of counters, beside one other family, and how they are made. The help of a counter is
/// its documentation too.
macro_rules! counters {
    (
        $(#[$of_struct:meta])*
        $Name:ident beside $other:ident: $Other:ty = $make_other:path {
            $($field:ident: $family:literal $($label:ident = $value:literal)?, $help:literal;)*
        }
    ) => {
        $(#[$of_struct])*
        pub(crate) struct $Name {
            $other: $Other,
            $(#[doc = $help] pub(crate) $field: $crate::observe::metrics::families::Counter,)*
        }

        impl $Name {
            pub(crate) fn new(
                new: &$crate::observe::metrics::families::Family<'_>,
            ) -> prometheus::Result<Self> {
                Ok(Self {
                    $other: $make_other(new)?,
                    $($field: {
                        let label = [$((stringify!($label), $value))?];
                        new.counter($family, label.first().copied(), $help)?
                    },)*
                })
            }
        }
    };
}
pub(crate) use counters;
