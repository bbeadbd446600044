//! Which kind of source stands for which section of the configuration.

use crate::config::{self, SourceKind};
use crate::source::Source;
use crate::source::http::HttpSource;
use crate::source::simulated::SimulatedSource;

/// Makes the source that `config` describes. This touches no network and starts no thread; an address
/// that no request can be sent to shows as [`NotAskable`](crate::source::SourceError::NotAskable) on every
/// fetch.
pub(crate) fn build(config: &config::Source) -> Box<dyn Source> {
    match &config.kind {
        SourceKind::Simulated(simulated) => Box::new(SimulatedSource::new(simulated)),
        SourceKind::Http(http) => Box::new(HttpSource::new(http)),
    }
}
