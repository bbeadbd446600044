//! What only shows when the whole configuration is known: sums that exceed their limit, and limits
//! that contradict each other. Nothing is concluded from a key that holds a mistake itself.

mod prefixes;
pub(crate) mod routes;

use std::net::SocketAddr;

use crate::config::report::Report;
use crate::config::sections::breaker::BreakerMode;
use crate::config::sections::redis::keys::Redis;
use crate::config::sections::route::Route;
use crate::config::sections::server::Server;
use crate::config::sections::source::SourceKind;
use crate::config::values::duration::written;
use crate::config::whole::Config;

/// Reports every contradiction between sections, and notes what is allowed, but may not be what was meant.
pub(crate) fn check(config: &Config, report: &mut Report) {
    for route in &config.routes {
        worst_case(config, route, report);
    }
    two_doors(config.server.listen, config.admin.listen, report);
    note_limits(&config.server, report);
    note_breaker(config, report);
}

/// No request may be able to take longer than it may take.
fn worst_case(config: &Config, route: &Route, report: &mut Report) {
    let Some(source) = config.sources.get(route.source) else {
        return;
    };
    let source_title = format!("source {}", source.name);
    let route_title = format!("route {}", route.name);
    let limit = match source.kind {
        SourceKind::Simulated(_) => "latency",
        SourceKind::Http(_) => "timeout",
    };
    let unsure = [
        ("server", "request_timeout"),
        ("redis", "timeout"),
        (source_title.as_str(), "kind"),
        (source_title.as_str(), limit),
        (route_title.as_str(), "source"),
    ];
    if unsure.iter().any(|(title, key)| report.spoiled(title, key)) {
        return;
    }
    let (worst, most) = (config.worst_case(route), config.server.request_timeout);
    if worst > most {
        let [worst, most] = [worst, most].map(written);
        let [of_redis, of_source] = [config.redis.timeout, source.timeout()].map(written);
        let text = format!(
            "a request can take {worst}: [redis] timeout {of_redis} + [{source_title}] {limit} \
             {of_source}; that is more than [server] request_timeout {most}: raise it to {worst} or \
             more, or lower one of the two",
        );
        report.mistake(report.section(&route_title), text);
    }
}

/// Puts the number in the place of 0. Every reader needs a connection, and the fillers one to
/// write back with.
pub(crate) fn settle_pool_size(redis: &mut Redis, workers: usize, report: &mut Report) {
    let (size, readers) = (redis.pool_size, redis.readers);
    let is_sure = !report.spoiled("redis", "readers") && !report.spoiled("redis", "pool_size");
    if size == 0 {
        redis.pool_size = readers + workers;
    } else if size <= readers && is_sure {
        let text = format!(
            "is too small for readers = {readers}: {} or more, or 0 for readers + workers",
            readers + 1
        );
        let subject = report.key("redis", "pool_size");
        report.mistake(subject.showing(&size.to_string()), text);
    }
}

/// Clients and operators come in by different doors.
fn two_doors(server: SocketAddr, admin: Option<SocketAddr>, report: &mut Report) {
    let Some(admin) = admin.filter(|admin| admin.port() != 0 && admin.port() == server.port())
    else {
        return;
    };
    let is_same_host =
        admin.ip() == server.ip() || admin.ip().is_unspecified() || server.ip().is_unspecified();
    let is_sure = !report.spoiled("server", "listen") && !report.spoiled("admin", "listen");
    if is_same_host && is_sure {
        let text = format!(
            "is the port of [server] listen = {server}: give it another port, or leave it empty \
             for no admin door"
        );
        let subject = report.key("admin", "listen");
        report.mistake(subject.showing(&admin.to_string()), text);
    }
}

fn note_limits(server: &Server, report: &mut Report) {
    if server.drain_timeout < server.request_timeout {
        let [drain, request] = [server.drain_timeout, server.request_timeout].map(written);
        let text = format!(
            "{drain} is shorter than request_timeout {request}: requests may be cut off at the end"
        );
        report.note(report.key("server", "drain_timeout"), text);
    }
    // Percent-encoded, a byte of a key takes three.
    let (head, key) = (server.max_head, server.max_key);
    if key.saturating_mul(3) > head {
        let text =
            format!("{head} bytes can not hold a percent-encoded key of max_key {key} bytes");
        report.note(report.key("server", "max_head"), text);
    }
}

fn note_breaker(config: &Config, report: &mut Report) {
    let breaker = &config.breaker;
    let held = match breaker.mode {
        BreakerMode::Auto => None,
        BreakerMode::ForcedOpen => Some("Redis is not used until this is taken back"),
        BreakerMode::Disabled => {
            Some("every request tries Redis, whatever state that is in, until this is taken back")
        }
    };
    if let Some(text) = held {
        let subject = report.key("breaker", "mode").showing(breaker.mode.word());
        report.note(subject, text);
    }
    let in_flight = config.redis.readers * config.redis.batch_max + config.server.workers;
    let calls = breaker.stall_calls;
    if calls > in_flight {
        let text = format!(
            "{calls} is never reached: at most {in_flight} calls are in flight (readers x batch_max + \
             workers), so a hanging Redis is found by time-outs alone"
        );
        report.note(report.key("breaker", "stall_calls"), text);
    }
}
