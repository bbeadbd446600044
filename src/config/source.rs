//! `[source NAME]`: where values come from when Redis has none. Which keys a source has depends on
//! its kind; one of another kind is a mistake.

use crate::config::http_url::{HttpUrlRule, KeyedUrl};
use crate::config::report::Report;
use crate::config::section::{Kind, Section};
use crate::config::setting::{Setting, setting};
use crate::config::span::{Span, hours, ms, secs};
use crate::config::values::{Choice, Count, GIB, Size, Text};
use crate::config::{HttpSource, Simulated, Source, SourceKind};

/// Everything of `[source NAME]`.
pub(super) static SOURCE: Kind = Kind {
    title: "source",
    default_name: Some("demo"),
    settings: &[
        &KIND,
        &SOFT_TIMEOUT,
        &FAIL_MAX,
        &RESET_TIMEOUT,
        &LATENCY,
        &FAIL_PREFIX,
        &URL,
        &TIMEOUT,
        &MAX_BODY,
        &MAX_CONCURRENT,
    ],
};

/// What a source can be.
#[derive(Clone, Copy)]
enum What {
    Simulated,
    Http,
}

/// Decides which of the other keys may be given.
static KIND: Setting<Choice<What>> = setting(
    "kind",
    "simulated",
    Choice(&[("simulated", What::Simulated), ("http", What::Http)]),
    "simulated: made-up values, to try the service out; http: a service that is asked with GET.",
);
/// Twice what the originals' source took: a source that works as usual is waited for.
static SOFT_TIMEOUT: Setting<Span> = setting(
    "soft_timeout",
    "1s",
    Span::between(ms(1), secs(600)),
    "A request for which there is a copy waits so long; the fetch goes on in the background.",
);
/// As many as for Redis.
static FAIL_MAX: Setting<Count<u32>> = setting(
    "fail_max",
    "5",
    Count(0, 1_000_000),
    "Consecutive failures after which it is left alone; 0: it is always asked.",
);
/// A source that is back should be used soon, and one request a second does not hurt one that is down.
static RESET_TIMEOUT: Setting<Span> = setting(
    "reset_timeout",
    "1s",
    Span::between(ms(1), hours(1)),
    "How long it is left alone after fail_max failures before one fetch is the trial.",
);
/// The originals slept half a second. Part of the worst case of a request.
static LATENCY: Setting<Span> = setting(
    "latency",
    "500ms",
    Span::between(ms(0), secs(60)),
    "kind = simulated: how long every fetch takes.",
);
/// Lets one try what happens when the source fails.
static FAIL_PREFIX: Setting<Text> = setting(
    "fail_prefix",
    "",
    Text {
        max: 256,
        what: "any text",
    },
    "kind = simulated: keys that begin with it fail; empty: none does.",
);
/// The only key without a default.
static URL: Setting<HttpUrlRule> = setting(
    "url",
    "",
    HttpUrlRule,
    "kind = http, required: what is asked for; <key> becomes the key, percent-encoded.",
);
/// Part of the worst case of a request (`check.rs`).
static TIMEOUT: Setting<Span> = setting(
    "timeout",
    "5s",
    Span::between(ms(1), secs(600)),
    "kind = http: from the start of a fetch to the last byte of its body.",
);
/// Every fetch may hold one body in memory: times `max_concurrent` is the most they can take.
static MAX_BODY: Setting<Size> = setting(
    "max_body",
    "8MiB",
    Size(1, GIB),
    "kind = http: bytes of a body; a larger one is a failure.",
);
static MAX_CONCURRENT: Setting<Count<usize>> = setting(
    "max_concurrent",
    "32",
    Count(1, 1024),
    "kind = http: fetches at once, to spare the source; [server] workers bounds them too.",
);

/// Reads a `[source NAME]`.
pub(super) fn source(mut section: Section, report: &mut Report) -> Option<Source> {
    let name = section.name.clone();
    let soft_timeout = section.read(&SOFT_TIMEOUT, report)?;
    let fail_max = section.read(&FAIL_MAX, report)?;
    let reset_timeout = section.read(&RESET_TIMEOUT, report)?;
    let kind = match section.read(&KIND, report)? {
        What::Simulated => simulated(&mut section, report)?,
        What::Http => http(&mut section, report)?,
    };
    section.finish(report);
    Some(Source {
        name,
        soft_timeout,
        fail_max,
        reset_timeout,
        kind,
    })
}

/// Reads the keys of `kind = simulated`.
fn simulated(section: &mut Section, report: &mut Report) -> Option<SourceKind> {
    let simulated = Simulated {
        latency: section.read(&LATENCY, report)?,
        fail_prefix: section.read(&FAIL_PREFIX, report)?,
    };
    let foreign = [URL.name, TIMEOUT.name, MAX_BODY.name, MAX_CONCURRENT.name];
    refuse(section, &foreign, "http", "simulated", report);
    Some(SourceKind::Simulated(simulated))
}

/// Reads the keys of `kind = http`.
fn http(section: &mut Section, report: &mut Report) -> Option<SourceKind> {
    // Where it is missing the mistake is noted, and the other checks go on with an empty one.
    let nowhere = KeyedUrl {
        prefix: String::new(),
        suffix: String::new(),
    };
    let url = section.read(&URL, report).unwrap_or(nowhere);
    let http = HttpSource {
        url_prefix: url.prefix,
        url_suffix: url.suffix,
        timeout: section.read(&TIMEOUT, report)?,
        max_body: section.read(&MAX_BODY, report)?,
        max_concurrent: section.read(&MAX_CONCURRENT, report)?,
    };
    refuse(
        section,
        &[LATENCY.name, FAIL_PREFIX.name],
        "simulated",
        "http",
        report,
    );
    Some(SourceKind::Http(http))
}

/// Reports keys of another kind; not while the kind itself is in doubt.
fn refuse(section: &mut Section, keys: &[&str], theirs: &str, ours: &str, report: &mut Report) {
    let doubtful = report.spoiled(&section.title(), KIND.name);
    for subject in section.take_unread(keys).into_iter().filter(|_| !doubtful) {
        let text = format!("belongs to kind = {theirs}; this source is kind = {ours}");
        report.mistake(subject, text);
    }
}
