//! The primary sources: where a value comes from when Redis does not have it. One trait, one file
//! for each kind. Nothing here knows routes, Redis or memory, and nothing queues or counts: how
//! many fetches run at once is the caller's to bound.

mod address;
mod connection;
pub(crate) mod http;
mod resolver;
pub(crate) mod simulated;

use std::fmt;

use crate::base::clock::Deadline;
use crate::config;

use http::HttpSource;
use simulated::SimulatedSource;

/// A primary source. Called from many threads at once; each call blocks its thread.
pub(crate) trait Source: Send + Sync {
    /// Fetches the value of `key`, any text. Returns by `deadline` or the source's own time-out,
    /// whichever is earlier; how late it can be is said by each kind.
    ///
    /// # Errors
    /// [`SourceError`], when the source could not say what the value is.
    fn fetch(&self, key: &str, deadline: Deadline) -> Result<Fetched, SourceError>;
}

/// What a source that works says about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// The value, byte for byte as the source gave it; may be empty.
    Value(String),
    /// The source knows that there is no such key.
    NoSuchThing,
}

/// Why there is no value. The texts hold neither keys, values nor credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SourceError {
    /// The time-out or the deadline passed first.
    TimedOut,
    /// No connection: the name does not resolve, or nobody listens there.
    Unreachable(String),
    /// The connection ended, or what it carried was not HTTP, before the value was whole.
    BrokenOff(String),
    /// An HTTP status that neither carries a value nor says that there is none.
    Status(u16),
    /// The body is larger than the source's `max_body`.
    TooLarge {
        /// `max_body`, in bytes.
        limit: u64,
    },
    /// The body is not UTF-8, or in a content coding nobody asked for.
    NotUtf8,
    /// The source can not be asked for this key, or not at all as it is configured.
    NotAskable(String),
    /// The simulated source was told to fail for this key.
    Simulated,
    /// The source's own code broke off.
    Panicked,
}

impl SourceError {
    /// The word for its kind: failures of one kind are said once and then counted.
    #[must_use]
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::TimedOut => "timed-out",
            Self::Unreachable(_) => "unreachable",
            Self::BrokenOff(_) => "broken-off",
            Self::Status(_) => "status",
            Self::TooLarge { .. } => "too-large",
            Self::NotUtf8 => "not-utf-8",
            Self::NotAskable(_) => "not-askable",
            Self::Simulated => "simulated",
            Self::Panicked => "panicked",
        }
    }

    /// Whether this says that the source itself is in trouble, and not only this one key: what a
    /// breaker before the source counts. 408 and 429 mean "not now" (RFC 9110 section 15.5.9, RFC
    /// 6585 section 4); any other 4xx is about the request.
    #[must_use]
    pub(crate) fn counts_as_failure(&self) -> bool {
        match self {
            Self::TimedOut | Self::Unreachable(_) | Self::BrokenOff(_) | Self::Panicked => true,
            Self::Status(status) => !(400..500).contains(status) || matches!(status, 408 | 429),
            // A simulated source fails for the keys that it was told to.
            Self::TooLarge { .. } | Self::NotUtf8 | Self::NotAskable(_) | Self::Simulated => false,
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("timed out"),
            Self::Unreachable(cause) => write!(f, "unreachable: {cause}"),
            Self::BrokenOff(cause) => write!(f, "answer broken off: {cause}"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::TooLarge { limit } => write!(f, "body larger than {limit} bytes"),
            Self::NotUtf8 => f.write_str("body is not plain UTF-8"),
            Self::NotAskable(cause) => write!(f, "can not be asked: {cause}"),
            Self::Simulated => f.write_str("simulated failure"),
            Self::Panicked => f.write_str("panicked"),
        }
    }
}

impl std::error::Error for SourceError {}

/// Makes the source that `config` describes. Touches no network and starts no thread.
#[must_use]
pub(crate) fn build(config: &config::Source) -> Box<dyn Source> {
    match &config.kind {
        config::SourceKind::Simulated(simulated) => Box::new(SimulatedSource::new(simulated)),
        config::SourceKind::Http(http) => Box::new(HttpSource::new(http)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trouble_of_the_source_itself_counts_as_a_failure() {
        for status in [500, 502, 503, 301, 302, 204, 206, 408, 429] {
            assert!(SourceError::Status(status).counts_as_failure(), "{status}");
        }
        for status in [400, 401, 403, 405, 414] {
            assert!(!SourceError::Status(status).counts_as_failure(), "{status}");
        }
        assert!(SourceError::TimedOut.counts_as_failure());
        assert!(!SourceError::NotUtf8.counts_as_failure());
    }

    #[test]
    fn texts_are_lower_case_with_the_cause_after_a_colon() {
        let errors = [
            SourceError::TimedOut,
            SourceError::Unreachable("connection refused".into()),
            SourceError::BrokenOff("end of stream".into()),
            SourceError::Status(500),
            SourceError::TooLarge { limit: 10 },
            SourceError::NotUtf8,
            SourceError::NotAskable("no host".into()),
            SourceError::Simulated,
        ];
        for error in errors {
            let text = error.to_string();
            assert!(text.starts_with(|c: char| c.is_ascii_lowercase()), "{text}");
            assert!(!text.ends_with('.'), "{text}");
        }
        let refused = SourceError::Unreachable("connection refused".into());
        assert_eq!(refused.to_string(), "unreachable: connection refused");
    }
}
