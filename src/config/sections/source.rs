//! `[source NAME]`: where values come from when Redis has none. Which keys a source has depends on
//! its kind; one of another kind is a mistake.

use std::time::Duration;

use crate::config::declare::{settings, words};
use crate::config::report::Report;
use crate::config::section::{Kind, Section};
use crate::config::setting::Setting;
use crate::config::values::duration::{DurationRule, hours, ms, secs};
use crate::config::values::http_url::{HTTP_URL, HttpUrl};
use crate::config::values::number::{Count, GIB, Size};
use crate::config::values::text::{ANY_TEXT, Choice};

pub(crate) static SOURCE: Kind = Kind::one(
    "source",
    &[
        KindKey::SETTINGS,
        Source::SETTINGS,
        Simulated::SETTINGS,
        UrlKey::SETTINGS,
        HttpSource::SETTINGS,
    ],
)
.named("demo");

words! {
    /// What a source can be.
    enum KindOfSource {
        Simulated = "simulated",
        Http = "http",
    }
}

settings! {
    /// Decides which of the other keys may be given.
    struct KindKey {
        /// simulated: made-up values, to try the service out; http: a service that is asked with GET.
        kind: KindOfSource = "simulated", Choice(KindOfSource::WORDS);
    }
}

settings! {
    /// `[source NAME]`: a primary source.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Source {
        /// A request for which there is a copy waits so long; the fetch goes on in the background.
        /// Twice what the originals' source took: a source that works as usual is waited for.
        pub soft_timeout: Duration = "1s", DurationRule::between(ms(1), secs(600));
        /// Consecutive failures after which it is left alone; 0: it is always asked.
        /// As many as for Redis.
        pub fail_max: u32 = "5", Count(0, 1_000_000);
        /// How long it is left alone after fail_max failures before one fetch is the trial.
        /// One that is back should be used soon, and one request a second does not hurt one that is down.
        pub reset_timeout: Duration = "1s", DurationRule::between(ms(1), hours(1));
    }
    beside {
        /// NAME of the section.
        pub name: String,
        /// What it is.
        pub kind: SourceKind,
    }
}

/// See [`Source::kind`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// The stand-in of the original article.
    Simulated(Simulated),
    /// A service that answers `GET` with the value as its body.
    Http(HttpSource),
}

settings! {
    /// `kind = simulated`
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Simulated {
        /// kind = simulated: how long every fetch takes.
        /// The originals slept half a second. Part of the worst case of a request.
        pub latency: Duration = "500ms", DurationRule::between(ms(0), secs(60));
        /// kind = simulated: keys that begin with it fail; empty: none does.
        /// Lets one try what happens when the source fails.
        pub fail_prefix: String = "", ANY_TEXT;
    }
}

settings! {
    /// The only key without a default.
    struct UrlKey {
        /// kind = http, required: what is asked for; <key> becomes the key, percent-encoded.
        url: HttpUrl = "", HTTP_URL;
    }
}

settings! {
    /// `kind = http`
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct HttpSource {
        /// kind = http: from the start of a fetch to the last byte of its body.
        /// Name resolution and connect included. Part of the worst case of a request.
        pub timeout: Duration = "5s", DurationRule::between(ms(1), secs(600));
        /// kind = http: bytes of a body; a larger one is a failure.
        /// Every fetch may hold one body in memory: times `max_concurrent` is the most they can take.
        pub max_body: u64 = "8MiB", Size(1, GIB);
        /// kind = http: fetches at once, to spare the source; [server] workers bounds them too.
        pub max_concurrent: usize = "32", Count(1, 1024);
    }
    beside {
        /// What is asked for.
        pub url: HttpUrl,
    }
}

impl Source {
    /// Reads a `[source NAME]` of either kind.
    pub(crate) fn of(section: &mut Section, report: &mut Report) -> Option<Self> {
        let kind = match KindKey::read(section, report)?.kind {
            ours @ KindOfSource::Simulated => {
                let foreign = [UrlKey::SETTINGS, HttpSource::SETTINGS];
                refuse(section, &foreign, KindOfSource::Http, ours, report);
                SourceKind::Simulated(Simulated::read(section, report)?)
            }
            ours @ KindOfSource::Http => {
                let foreign = [Simulated::SETTINGS];
                refuse(section, &foreign, KindOfSource::Simulated, ours, report);
                // Where it is missing the mistake is noted, and the other checks go on with another.
                let url = UrlKey::read(section, report).map(|it| it.url);
                let url = url.or_else(|| "http://nowhere.invalid/<key>".parse().ok())?;
                SourceKind::Http(HttpSource::read(section, report, url)?)
            }
        };
        let name = section.name.clone();
        Self::read(section, report, name, kind)
    }

    /// The longest one fetch may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        match &self.kind {
            SourceKind::Simulated(simulated) => simulated.latency,
            SourceKind::Http(http) => http.timeout,
        }
    }

    /// How many fetches may run at once; none: as many as there are fillers.
    #[must_use]
    pub fn max_concurrent(&self) -> Option<usize> {
        match &self.kind {
            SourceKind::Simulated(_) => None,
            SourceKind::Http(http) => Some(http.max_concurrent),
        }
    }
}

/// Reports keys of another kind; not while the kind itself is in doubt.
fn refuse(
    section: &mut Section,
    foreign: &[&[Setting]],
    theirs: KindOfSource,
    ours: KindOfSource,
    report: &mut Report,
) {
    let title = section.title();
    let is_doubtful = report.spoiled(&title, "kind");
    for Setting { name, .. } in foreign.iter().copied().flatten() {
        if section.take(name) && !is_doubtful {
            let why = format!("belongs to kind = {theirs}; this source is kind = {ours}");
            report.mistake(report.key(&title, name), why);
        }
    }
}
