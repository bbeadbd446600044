//! `[route NAME]`: a path of the API, the source behind it, and how long its values live. Routes
//! are read one by one, then held against each other: no two may match the same path, and routes
//! with different sources may not share keys in Redis.

use std::time::Duration;

use crate::config::path::{PathRule, Pattern};
use crate::config::prefix;
use crate::config::report::{Report, Subject};
use crate::config::section::{Kind, Section};
use crate::config::setting::{Setting, setting};
use crate::config::span::{Span, hours, ms, secs};
use crate::config::values::{Part, Text};
use crate::config::wording::{either, suggestion};
use crate::config::{Contract, Fraction, Route, Source};

/// Everything of `[route NAME]`.
pub(super) static ROUTE: Kind = Kind {
    title: "route",
    default_name: Some("data"),
    settings: &[
        &PATH,
        &SOURCE,
        &KEY_PREFIX,
        &TTL,
        &TTL_JITTER,
        &REFRESH_AT,
        &MAX_STALE,
        &STALE_RETRY,
        &NEGATIVE_TTL,
    ],
};

/// The path of the originals.
static PATH: Setting<PathRule> = setting(
    "path",
    "/api/data/<key>",
    PathRule,
    "Path of the API; <key> is one segment of it, and the key of the value.",
);
/// Resolved to an index when all sources are known.
static SOURCE: Setting<Text> = setting(
    "source",
    "",
    Text {
        max: 64,
        what: "the NAME of a [source NAME]",
    },
    "Where values come from that Redis does not have; empty: the only source there is.",
);
/// Empty is not an empty prefix, so that the shipped file can list the key and change nothing.
static KEY_PREFIX: Setting<Text> = setting(
    "key_prefix",
    "",
    Text {
        max: 256,
        what: "any text",
    },
    "Put before the keys of this route in Redis; empty: that of [redis].",
);
/// Whole seconds, for it is written with `SET ... EX`.
static TTL: Setting<Span> = setting(
    "ttl",
    "3600s",
    Span::between(secs(1), hours(365 * 24)).in_seconds(),
    "Life of a value, in Redis and in memory.",
);
/// Values that were filled at the same moment, on a cold start, must not all expire at the same one.
static TTL_JITTER: Setting<Part> = setting(
    "ttl_jitter",
    "0",
    Part(0, 500),
    "Part of ttl by which each life is longer or shorter, at random: 0.1 is 10 % either way.",
);
/// Below a tenth a busy key would be fetched all the time.
static REFRESH_AT: Setting<Part> = setting(
    "refresh_at",
    "0.9",
    Part(100, 1000),
    "Part of its life after which a value is refreshed in the background; 1: never before its end.",
);
/// 0 serves nothing past its ttl.
static MAX_STALE: Setting<Span> = setting(
    "max_stale",
    "24h",
    Span::between(ms(0), hours(365 * 24)),
    "How long after its ttl a copy in memory still answers when the source fails.",
);
/// Without it, a failing source would be asked by every request for a key that has expired.
static STALE_RETRY: Setting<Span> = setting(
    "stale_retry",
    "30s",
    Span::between(ms(0), hours(24)),
    "After a failure: how long a key is served from its copy before the source is asked again.",
);
/// In memory only: nothing is stored in Redis for a key that does not exist.
static NEGATIVE_TTL: Setting<Span> = setting(
    "negative_ttl",
    "5s",
    Span::between(ms(0), hours(1)),
    "How long it is remembered that the source has no such thing; 0: not at all.",
);

/// Paths that are answered before any route.
const HEALTH_PATHS: [&str; 3] = ["/livez", "/readyz", "/healthz"];

/// A route as its section gives it.
pub(super) struct Draft {
    pub(super) name: String,
    pattern: Pattern,
    /// Empty: the only one there is.
    source: String,
    /// Empty: that of `[redis]`.
    pub(super) key_prefix: String,
    ttl: Duration,
    ttl_jitter: Fraction,
    refresh_at: Fraction,
    max_stale: Duration,
    stale_retry: Duration,
    negative_ttl: Duration,
    pub(super) subjects: Subjects,
}

/// What mistakes about a route are about.
pub(super) struct Subjects {
    pub(super) whole: Subject,
    path: Subject,
    source: Subject,
    pub(super) key_prefix: Subject,
}

/// Reads a `[route NAME]`.
pub(super) fn draft(mut section: Section, report: &mut Report) -> Option<Draft> {
    let s = &mut section;
    let pattern = s.read(&PATH, report)?;
    let source = s.read(&SOURCE, report)?;
    let key_prefix = s.read(&KEY_PREFIX, report)?;
    let path = format!("{}<key>{}", pattern.prefix, pattern.suffix);
    let draft = Draft {
        name: s.name.clone(),
        ttl: s.read(&TTL, report)?,
        ttl_jitter: s.read(&TTL_JITTER, report)?,
        refresh_at: s.read(&REFRESH_AT, report)?,
        max_stale: s.read(&MAX_STALE, report)?,
        stale_retry: s.read(&STALE_RETRY, report)?,
        negative_ttl: s.read(&NEGATIVE_TTL, report)?,
        subjects: Subjects {
            whole: s.subject(),
            path: s.subject_of(PATH.name).showing(&path),
            source: s.subject_of(SOURCE.name),
            key_prefix: s.subject_of(KEY_PREFIX.name).showing(&key_prefix),
        },
        pattern,
        source,
        key_prefix,
    };
    section.finish(report);
    Some(draft)
}

impl Draft {
    /// Heading of its section, without brackets.
    pub(super) fn title(&self) -> String {
        format!("route {}", self.name)
    }
}

/// Makes routes of the drafts, in their order.
pub(super) fn resolve(
    drafts: &[Draft],
    sources: &[Source],
    key_prefix: &str,
    contract: Contract,
    report: &mut Report,
) -> Vec<Route> {
    check_paths(drafts, contract, report);
    let indices: Vec<Option<usize>> = drafts
        .iter()
        .map(|draft| source_index(draft, sources, report))
        .collect();
    let prefixes = prefix::settle(drafts, &indices, key_prefix, report);
    let parts = drafts.iter().zip(indices).zip(prefixes);
    let route = |((draft, source), key_prefix): ((&Draft, Option<usize>), String)| Route {
        name: draft.name.clone(),
        prefix: draft.pattern.prefix.clone(),
        suffix: draft.pattern.suffix.clone(),
        source: source.unwrap_or_default(),
        key_prefix,
        ttl: draft.ttl,
        ttl_jitter: draft.ttl_jitter,
        refresh_at: draft.refresh_at,
        max_stale: draft.max_stale,
        stale_retry: draft.stale_retry,
        negative_ttl: draft.negative_ttl,
    };
    parts.map(route).collect()
}

/// No route may stand in the way of another, of the health paths, or of Flask's own.
fn check_paths(drafts: &[Draft], contract: Contract, report: &mut Report) {
    let sound: Vec<&Draft> = drafts
        .iter()
        .filter(|draft| !report.spoiled(&draft.title(), PATH.name))
        .collect();
    for (index, draft) in sound.iter().enumerate() {
        let subject = || draft.subjects.path.clone();
        for path in HEALTH_PATHS
            .into_iter()
            .filter(|path| draft.pattern.shadows(path))
        {
            report.mistake(
                subject(),
                format!("would match {path}, which tells the health"),
            );
        }
        if contract == Contract::Flask && draft.pattern.prefix.starts_with("/static/") {
            let why =
                "/static/ belongs to Flask itself, which serves files there (contract = flask)";
            report.mistake(subject(), why);
        }
        for earlier in &sound[..index] {
            if let Some(path) = draft.pattern.clash(&earlier.pattern) {
                let why = format!("matches {path}, and so does [{}]", earlier.title());
                report.mistake(subject(), why);
            }
        }
    }
}

/// Index of the source that the draft names; none after a mistake.
fn source_index(draft: &Draft, sources: &[Source], report: &mut Report) -> Option<usize> {
    if report.spoiled(&draft.title(), SOURCE.name) {
        return None;
    }
    let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    if draft.source.is_empty() {
        if names.len() == 1 {
            return Some(0);
        }
        let why = match names.len() {
            0 => "there is no sound [source NAME] section".to_owned(),
            count => format!(
                "must be given, for there are {count} sources ({})",
                either(&names)
            ),
        };
        report.mistake(draft.subjects.source.clone(), why);
        return None;
    }
    let index = names.iter().position(|name| *name == draft.source);
    if index.is_none() {
        let near = suggestion(&draft.source, &names);
        let subject = draft.subjects.source.clone().showing(&draft.source);
        report.mistake(subject, format!("names no [source NAME]{near}"));
    }
    index
}

#[cfg(test)]
mod tests {
    use crate::config::{NO_ENVIRONMENT, parse};

    fn mistakes(text: &str) -> String {
        parse(text, "c.ini", NO_ENVIRONMENT)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_route_may_not_stand_in_the_way_of_health_or_of_flask() {
        let why = mistakes("[route data]\npath = /<key>\n");
        assert_eq!(why.lines().count(), 3, "{why}");
        assert!(why.contains("would match /livez"), "{why}");
        let files = "[route data]\npath = /static/<key>\n";
        assert!(mistakes(files).contains("/static/ belongs to Flask"));
        let fastapi = format!("[server]\ncontract = fastapi\n{files}");
        assert!(parse(&fastapi, "c.ini", NO_ENVIRONMENT).is_ok());
    }

    #[test]
    fn two_routes_may_not_match_the_same_path() {
        let text = "[route a]\npath = /x/<key>\n[route b]\npath = /<key>/y\n";
        let expected =
            "c.ini:4: [route b] path = \"/<key>/y\": matches /x/y, and so does [route a]";
        assert_eq!(mistakes(text), expected);
    }

    #[test]
    fn a_route_that_names_no_source_has_the_only_one() {
        let text = "[source one]\n[source two]\n[route a]\n";
        let expected =
            "c.ini:3: [route a] source: must be given, for there are 2 sources (one or two)";
        assert_eq!(mistakes(text), expected);
        let why = mistakes("[source items]\n[route a]\nsource = itmes\n");
        let expected =
            "c.ini:3: [route a] source = \"itmes\": names no [source NAME]; did you mean items?";
        assert_eq!(why, expected);
        let loaded = parse(
            "[source one]\n[route a]\nsource =\n",
            "c.ini",
            NO_ENVIRONMENT,
        );
        assert_eq!(loaded.unwrap().config.routes[0].source, 0);
    }
}
