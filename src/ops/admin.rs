//! The pages that the admin door shows beside the health endpoints: everything that is counted, and the
//! last outages. They are made from known state, never from a live call.

use std::io;
use std::sync::Arc;

use serde_json::Value;

use crate::base::clock;
use crate::ops::gauges;
use crate::ops::health::Health;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    /// `/metrics`, in Prometheus' text format.
    Metrics,
    /// `/outages`: the last ones, as JSON.
    Outages,
}

impl Page {
    /// The page at `path`.
    pub(crate) fn find(path: &str) -> Option<Self> {
        match path {
            "/metrics" => Some(Self::Metrics),
            "/outages" => Some(Self::Outages),
            _ => None,
        }
    }
}

/// Makes the pages.
pub(crate) struct Admin {
    health: Arc<Health>,
}

impl Admin {
    pub(crate) fn new(health: Arc<Health>) -> Self {
        Self { health }
    }

    /// The page for Prometheus.
    ///
    /// # Errors
    /// As [`crate::observe::metrics::Page::render`].
    pub(crate) fn metrics(&self) -> io::Result<Vec<u8>> {
        let mut page = self.health.metrics.page();
        gauges::show(&self.health, &mut page);
        page.render()
    }

    /// The last outages, the latest first.
    pub(crate) fn outages(&self) -> Value {
        let metrics = &self.health.metrics;
        metrics.outages.json(clock::now(), &metrics.tally())
    }
}
