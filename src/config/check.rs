//! What only shows when the whole configuration is known: sums that exceed their limit, and limits
//! that contradict each other. Nothing is concluded from a key that holds a mistake itself.

use crate::config::report::{Report, Subject};
use crate::config::route::Draft;
use crate::config::span::written;
use crate::config::{BreakerMode, Config, Route, Source, SourceKind};

/// Subjects of the sections that are checked.
pub(super) struct Subjects {
    /// `[redis] pool_size`
    pub(super) pool_size: Subject,
    /// `[breaker] mode`
    pub(super) breaker_mode: Subject,
    /// `[breaker] stall_calls`
    pub(super) stall_calls: Subject,
    /// `[server] drain_timeout`
    pub(super) drain_timeout: Subject,
    /// `[server] max_head`
    pub(super) max_head: Subject,
    /// `[admin] listen`
    pub(super) admin_listen: Subject,
}

/// Settles what depends on other sections, and reports every contradiction.
pub(super) fn check(
    config: &mut Config,
    drafts: &[Draft],
    subjects: Subjects,
    report: &mut Report,
) {
    for (route, draft) in config.routes.iter().zip(drafts) {
        worst_case(config, route, draft, report);
    }
    pool_size(config, subjects.pool_size.clone(), report);
    two_doors(config, subjects.admin_listen.clone(), report);
    notes(config, subjects, report);
}

/// No request may be able to take longer than it may take.
fn worst_case(config: &Config, route: &Route, draft: &Draft, report: &mut Report) {
    let Some(source) = config.sources.get(route.source) else {
        return;
    };
    let source_title = format!("source {}", source.name);
    let route_title = format!("route {}", route.name);
    let unsure = [
        ("server", "request_timeout"),
        ("redis", "timeout"),
        (source_title.as_str(), "kind"),
        (source_title.as_str(), limit(source)),
        (route_title.as_str(), "source"),
    ];
    if unsure.iter().any(|(title, key)| report.spoiled(title, key)) {
        return;
    }
    let (worst, allowed) = (config.worst_case(route), config.server.request_timeout);
    if worst > allowed {
        let text = format!(
            "a request can take {}: [redis] timeout {} + [{source_title}] {} {}; that is more \
             than [server] request_timeout {}: raise it to {} or more, or lower one of the two",
            written(worst),
            written(config.redis.timeout),
            limit(source),
            written(source.timeout()),
            written(allowed),
            written(worst),
        );
        report.mistake(draft.subjects.whole.clone(), text);
    }
}

/// The key that says how long a fetch may take.
fn limit(source: &Source) -> &'static str {
    match source.kind {
        SourceKind::Simulated(_) => "latency",
        SourceKind::Http(_) => "timeout",
    }
}

/// Puts the number in the place of 0. Every reader needs a connection, and the fillers one to
/// write back with.
fn pool_size(config: &mut Config, subject: Subject, report: &mut Report) {
    let readers = config.redis.readers;
    if config.redis.pool_size == 0 {
        config.redis.pool_size = readers + config.server.workers;
        return;
    }
    let spoiled = ["readers", "pool_size"]
        .iter()
        .any(|key| report.spoiled("redis", key));
    if config.redis.pool_size <= readers && !spoiled {
        let text = format!(
            "is too small for readers = {readers}: {} or more, or 0 for readers + workers",
            readers + 1
        );
        report.mistake(subject.showing(&config.redis.pool_size.to_string()), text);
    }
}

/// Clients and operators come in by different doors.
fn two_doors(config: &Config, subject: Subject, report: &mut Report) {
    let Some(admin) = config.admin.listen else {
        return;
    };
    let server = config.server.listen;
    let is_same_host =
        admin.ip() == server.ip() || admin.ip().is_unspecified() || server.ip().is_unspecified();
    let spoiled = ["server", "admin"]
        .iter()
        .any(|title| report.spoiled(title, "listen"));
    if admin.port() != 0 && admin.port() == server.port() && is_same_host && !spoiled {
        let text = format!(
            "is the port of [server] listen = {server}: give it another port, or leave it empty \
             for no admin door"
        );
        report.mistake(subject.showing(&admin.to_string()), text);
    }
}

/// What is allowed, but may not be what was meant.
fn notes(config: &Config, subjects: Subjects, report: &mut Report) {
    let server = &config.server;
    if server.drain_timeout < server.request_timeout {
        let text = format!(
            "{} is shorter than request_timeout {}: requests may be cut off at the end",
            written(server.drain_timeout),
            written(server.request_timeout)
        );
        report.note(subjects.drain_timeout, text);
    }
    // Percent-encoded, a byte of a key takes three.
    if server.max_key.saturating_mul(3) > server.max_head {
        let text = format!(
            "{} bytes can not hold a percent-encoded key of max_key {} bytes",
            server.max_head, server.max_key
        );
        report.note(subjects.max_head, text);
    }
    let held = match config.breaker.mode {
        BreakerMode::Auto => None,
        BreakerMode::ForcedOpen => Some("Redis is not used until this is taken back"),
        BreakerMode::Disabled => {
            Some("every request tries Redis, whatever state that is in, until this is taken back")
        }
    };
    if let Some(text) = held {
        let subject = subjects.breaker_mode.showing(config.breaker.mode.word());
        report.note(subject, text);
    }
    let in_flight = config.redis.readers * config.redis.batch_max + server.workers;
    if config.breaker.stall_calls > in_flight {
        let text = format!(
            "{} is never reached: at most {in_flight} calls are in flight (readers x batch_max + \
             workers), so a hanging Redis is found by time-outs alone",
            config.breaker.stall_calls
        );
        report.note(subjects.stall_calls, text);
    }
}
