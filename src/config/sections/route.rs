//! `[route NAME]`: a path of the API, the source behind it, and how long its values live. Routes are read
//! one by one here, and held against each other in `rules/`.

use std::time::Duration;

use crate::config::declare::settings;
use crate::config::report::Report;
use crate::config::section::{Kind, Section};
use crate::config::values::duration::{DurationRule, hours, ms, secs};
use crate::config::values::fraction::{Fraction, FractionRule};
use crate::config::values::path::{PATH, Pattern};
use crate::config::values::text::{ANY_TEXT, Text};

pub(crate) static ROUTE: Kind =
    Kind::one("route", &[Target::SETTINGS, Route::SETTINGS]).named("data");

settings! {
    /// What means something only beside the other sections.
    struct Target {
        /// Path of the API; <key> is one segment of it, and the key of the value.
        path: Pattern = "/api/data/<key>", PATH;
        /// Where values come from that Redis does not have; empty: the only source there is.
        source: String = "", Text { max: 64, what: "the NAME of a [source NAME]" };
        /// Put before the keys of this route in Redis; empty: that of [redis].
        /// Empty is not an empty prefix, so that the shipped file can list the key and change nothing.
        key_prefix: String = "", ANY_TEXT;
    }
}

settings! {
    /// `[route NAME]`: a path of the API and where its values come from.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Route {
        /// Life of a value, in Redis and in memory.
        /// Whole seconds, for it is written with `SET ... EX`.
        pub ttl: Duration = "3600s", DurationRule::between(secs(1), hours(365 * 24)).in_seconds();
        /// Part of ttl by which each life is longer or shorter, at random: 0.1 is 10 % either way.
        /// Values that were filled at the same moment, on a cold start, must not all expire at the same one.
        pub ttl_jitter: Fraction = "0", FractionRule(0, 500);
        /// Part of its life after which a value is refreshed in the background; 1: never before its end.
        /// Below a tenth a busy key would be fetched all the time.
        pub refresh_at: Fraction = "0.9", FractionRule(100, 1000);
        /// How long after its ttl a copy in memory still answers when the source fails.
        /// 0 serves nothing past its ttl.
        pub max_stale: Duration = "24h", DurationRule::between(ms(0), hours(365 * 24));
        /// After a failure: how long a key is served from its copy before the source is asked again.
        /// Without it, a failing source would be asked by every request for a key that has expired.
        pub stale_retry: Duration = "30s", DurationRule::between(ms(0), hours(24));
        /// How long it is remembered that the source has no such thing; 0: not at all.
        /// In memory only: nothing is stored in Redis for a key that does not exist.
        pub negative_ttl: Duration = "5s", DurationRule::between(ms(0), hours(1));
    }
    beside {
        /// NAME of the section.
        pub name: String,
        /// Path before `<key>`, beginning with `/`.
        pub prefix: String,
        /// Path after `<key>`, mostly empty.
        pub suffix: String,
        /// Index into [`Config::sources`](crate::config::Config::sources).
        pub source: usize,
        /// Put before every key of this route in Redis.
        pub key_prefix: String,
    }
}

/// A route on its way from its section to its place beside the others.
pub(crate) struct Draft {
    /// With source 0 and the given prefix, until `rules/` settles them.
    pub(crate) route: Route,
    pub(crate) pattern: Pattern,
    /// NAME of its source; empty: the only one there is.
    pub(crate) source_name: String,
    /// Index of its source, once it is known.
    pub(crate) source: Option<usize>,
}

impl Draft {
    /// Reads a `[route NAME]`.
    pub(crate) fn read(section: &mut Section, report: &mut Report) -> Option<Self> {
        let target = Target::read(section, report)?;
        let name = section.name.clone();
        let Pattern { prefix, suffix } = target.path.clone();
        Some(Self {
            route: Route::read(section, report, name, prefix, suffix, 0, target.key_prefix)?,
            pattern: target.path,
            source_name: target.source,
            source: None,
        })
    }

    /// Heading of its section, without brackets.
    pub(crate) fn title(&self) -> String {
        format!("route {}", self.route.name)
    }
}
