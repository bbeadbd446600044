//! The page that Prometheus reads: what is counted, and what the parts of the service show of
//! themselves when the page is made. Figures of the second kind are kept by their parts alone: a page is
//! made for one reader and dropped.

use std::io;

use prometheus::core::Collector;
use prometheus::{CounterVec, Encoder, GaugeVec, Registry, TextEncoder};

use crate::observe::metrics::families::Family;

/// Media type of the page: Prometheus' text format.
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One page in the making.
pub(crate) struct Page {
    counted: Registry,
    shown: Registry,
    /// What first went wrong; it is told by [`render`](Self::render).
    result: prometheus::Result<()>,
}

impl Page {
    /// A page with what `registry` has counted.
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            counted: registry.clone(),
            shown: Registry::new(),
            result: Ok(()),
        }
    }

    /// Shows a figure that can fall.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.gauges(name, help, [], [([], value)]);
    }

    /// Shows one such figure for each of several labels, whose names are `by`.
    pub(crate) fn gauges<'a, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        by: [&str; N],
        values: impl IntoIterator<Item = ([&'a str; N], f64)>,
    ) {
        self.show(GaugeVec::new(Family::opts(name, help), &by), |gauges| {
            for (labels, value) in values {
                gauges.with_label_values(&labels).set(value);
            }
        });
    }

    /// Shows a count that never falls.
    pub(crate) fn counter(&mut self, name: &str, help: &str, count: u64) {
        self.counters(name, help, [], [([], count)]);
    }

    /// Shows one such count for each of several labels, whose names are `by`.
    pub(crate) fn counters<'a, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        by: [&str; N],
        counts: impl IntoIterator<Item = ([&'a str; N], u64)>,
    ) {
        self.show(CounterVec::new(Family::opts(name, help), &by), |counters| {
            for (labels, count) in counts {
                counters.with_label_values(&labels).inc_by(count as f64);
            }
        });
    }

    fn show<C: Collector + Clone + 'static>(
        &mut self,
        family: prometheus::Result<C>,
        fill: impl FnOnce(&C),
    ) {
        let shown = family.and_then(|family| {
            fill(&family);
            self.shown.register(Box::new(family))
        });
        if self.result.is_ok() {
            self.result = shown;
        }
    }

    /// The whole page, families in the order of their names.
    ///
    /// # Errors
    /// When the metrics crate takes a name for malformed or for one that it has already.
    pub(crate) fn render(self) -> io::Result<Vec<u8>> {
        self.result.map_err(io::Error::other)?;
        let mut families = self.counted.gather();
        families.extend(self.shown.gather());
        families.sort_by(|one, other| one.name().cmp(other.name()));
        let mut text = Vec::new();
        let encoded = TextEncoder::new().encode(&families, &mut text);
        encoded.map_err(io::Error::other)?;
        Ok(text)
    }
}
