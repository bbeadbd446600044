//! What can go wrong with Redis, by class: which connection it costs, whether it counts against
//! Redis, and the words for it. Pure: it classifies what other files met.

use std::fmt;
use std::io;
use std::time::Duration;

use redis::ServerError;

use crate::base::clock::Deadline;

/// One thing that went wrong with Redis, and whose fault it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The host name has no address, or its resolution failed or took too long.
    Unresolved(String),
    /// No server listens there, or the network cannot reach it.
    Unreachable(String),
    /// A step took longer than what was left of its budget.
    TimedOut(Step),
    /// The connection ended: reset, closed, broken pipe.
    Closed(String),
    /// What came back is not a Redis reply, or not the one that was asked for.
    Protocol(String),
    /// The server is there and says it cannot serve now: LOADING, MASTERDOWN, CLUSTERDOWN, BUSY, TRYAGAIN.
    NotReady(String),
    /// Credentials or rights are wrong: NOAUTH, WRONGPASS, NOPERM and what AUTH or SELECT refused.
    Misconfigured(String),
    /// TLS: one of the two sides does not accept the other's certificate, or they know no version in
    /// common.
    Tls(String),
    /// MOVED, ASK, CROSSSLOT: a node of a cluster that was taken for a server of its own.
    Clustered(String),
    /// READONLY: a replica; a master is elsewhere.
    ReadOnly(String),
    /// Named as the master, and says that it is not.
    NotMaster(String),
    /// OOM, MISCONF, NOREPLICAS: writes are refused, reads go on.
    WriteRefused(String),
    /// Any other error reply. WRONGTYPE is not among them: it is a miss.
    Refused(String),
    /// All our own connections are in use: our load, not Redis's fault.
    NoConnection,
    /// It answered, but later than the source would have.
    Slow(Duration),
    /// So many lookups have waited so long without a reply, and nothing has succeeded meanwhile.
    Stalled(usize, Duration),
    /// We ended the call: lookups had waited too long for it.
    GivenUp,
    /// A reply over our limit of bytes: neither side's fault, and no use to us.
    TooLarge,
}

/// Where a time-out struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Name resolution.
    Resolve,
    /// TCP or Unix connect.
    Connect,
    /// That of TLS.
    TlsHandshake,
    /// HELLO, AUTH and SELECT.
    Handshake,
    /// A command and its reply.
    Reply,
}

/// By when a step must be over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepLimit {
    pub deadline: Deadline,
    /// What a time-out is put down to.
    pub step: Step,
}

impl Step {
    pub(crate) fn by(self, deadline: Deadline) -> StepLimit {
        let step = self;
        StepLimit { deadline, step }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Resolve => "name resolution",
            Self::Connect => "connect",
            Self::TlsHandshake => "TLS handshake",
            Self::Handshake => "handshake",
            Self::Reply => "reply",
        }
    }
}

impl Fault {
    /// The word for its class in metrics.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Unresolved(_) => "unresolved",
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut(_) => "timed-out",
            Self::Closed(_) => "closed",
            Self::Protocol(_) => "protocol",
            Self::NotReady(_) => "not-ready",
            Self::Misconfigured(_) => "misconfigured",
            Self::Clustered(_) => "clustered",
            Self::ReadOnly(_) => "read-only",
            Self::NotMaster(_) => "not-master",
            Self::Tls(_) => "tls",
            Self::WriteRefused(_) => "write-refused",
            Self::Refused(_) => "refused",
            Self::NoConnection => "no-connection",
            Self::Slow(_) => "slow",
            Self::Stalled(..) => "stalled",
            Self::GivenUp => "given-up",
            Self::TooLarge => "too-large",
        }
    }

    /// Whether it counts against Redis in the breaker. Write refusals and READONLY do not: reads
    /// are well. Our own exhausted pool and an oversized value say nothing about Redis.
    pub(crate) fn counts_as_failure(&self) -> bool {
        !matches!(
            self,
            Self::ReadOnly(_) | Self::WriteRefused(_) | Self::NoConnection | Self::TooLarge
        )
    }

    /// Whether the connection it was met on is of no more use.
    pub(crate) fn costs_the_connection(&self) -> bool {
        !matches!(
            self,
            Self::NotReady(_) | Self::WriteRefused(_) | Self::NoConnection | Self::Slow(_)
        )
    }

    /// Whether every other open connection is likely to be gone too.
    pub(crate) fn ends_the_generation(&self) -> bool {
        self.counts_as_failure() && self.costs_the_connection() && *self != Self::GivenUp
    }

    /// Whether only a person can mend it, so that the breaker opens at once.
    pub(crate) fn is_misconfiguration(&self) -> bool {
        matches!(
            self,
            Self::Misconfigured(_) | Self::Tls(_) | Self::Clustered(_)
        )
    }

    /// What to say of the server to that person, and where to look.
    pub(crate) fn for_a_person(&self) -> (&'static str, &'static str) {
        match self {
            Self::Tls(_) => (
                "is not trusted, or does not trust us",
                "[redis] ca_file, cert_file, server_name and the certificates",
            ),
            Self::Clustered(_) => (
                "is a node of a cluster",
                "[redis] mode, which is cluster then",
            ),
            _ => (
                "refuses us",
                "[redis] url, username, password_file and the ACL",
            ),
        }
    }

    /// A server that calls itself `role`.
    pub(crate) fn not_master(role: &str) -> Self {
        Self::NotMaster(printable(role))
    }

    /// Whether it tells more than `before` did: that it still hangs or is as slow as it was does not.
    pub(crate) fn is_news_after(&self, before: &Self) -> bool {
        use Fault::{Slow, Stalled, TimedOut};
        match (before, self) {
            (Slow(_), Slow(_)) | (Stalled(..), TimedOut(_)) => false,
            _ => before != self,
        }
    }

    /// The class of an I/O error met in `step`.
    pub(crate) fn from_io(error: impl Into<io::Error>, step: Step) -> Self {
        let error = error.into();
        use io::ErrorKind as Kind;
        match error.kind() {
            // SO_RCVTIMEO shows as EAGAIN.
            Kind::WouldBlock | Kind::TimedOut => Self::TimedOut(step),
            _ if step == Step::Connect => Self::Unreachable(error.to_string()),
            Kind::UnexpectedEof => Self::Closed("closed by the server".to_owned()),
            _ => Self::Closed(error.to_string()),
        }
    }

    /// An error reply as it came, fit for a log line.
    pub(crate) fn words(error: &ServerError) -> String {
        let code = error.code();
        printable(&match error.details() {
            Some(details) => format!("{code} {details}"),
            None => code.to_owned(),
        })
    }

    /// The class of an error reply. By its code, the first word (the crate knows only some: docs/DEPENDENCIES.md).
    pub(crate) fn from_reply(error: &ServerError) -> Self {
        let text = Self::words(error);
        match error.code() {
            "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "BUSY" | "TRYAGAIN" => Self::NotReady(text),
            "NOAUTH" | "WRONGPASS" | "NOPERM" => Self::Misconfigured(text),
            "MOVED" | "ASK" | "CROSSSLOT" => Self::Clustered(text),
            "READONLY" => Self::ReadOnly(text),
            "OOM" | "MISCONF" | "NOREPLICAS" => Self::WriteRefused(text),
            _ => Self::Refused(text),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved(why) => write!(f, "name resolution failed: {why}"),
            Self::Unreachable(why) => write!(f, "cannot connect: {why}"),
            Self::TimedOut(step) => write!(f, "timed out in {}", step.words()),
            Self::Closed(why) => write!(f, "connection lost: {why}"),
            Self::Protocol(why) => write!(f, "protocol error: {why}"),
            Self::NotReady(reply) => write!(f, "not ready: {reply}"),
            Self::Misconfigured(reply) => write!(f, "refused by configuration: {reply}"),
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::Clustered(reply) => write!(f, "not a server of its own: {reply}"),
            Self::ReadOnly(reply) => write!(f, "not a master: {reply}"),
            Self::NotMaster(role) => write!(f, "not a master: its role is {role}"),
            Self::WriteRefused(reply) => write!(f, "write refused: {reply}"),
            Self::Refused(reply) => write!(f, "refused: {reply}"),
            Self::NoConnection => write!(f, "all connections of the pool are in use"),
            Self::Slow(took) => write!(f, "slower than the source: {} ms", took.as_millis()),
            Self::Stalled(lookups, limit) => write!(
                f,
                "{lookups} lookups without a reply for {} ms",
                limit.as_millis()
            ),
            Self::GivenUp => write!(f, "no reply in time"),
            Self::TooLarge => write!(f, "reply over the limit"),
        }
    }
}

impl std::error::Error for Fault {}

/// Whether the server, or a proxy before it, does not know the command: it may be too old for it, or
/// have it renamed or switched off.
pub(crate) fn is_unknown_command(error: &ServerError) -> bool {
    let details = error.details().unwrap_or_default();
    let begins = |with: &str| {
        let begin = details.get(..with.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(with))
    };
    error.code() == "ERR" && (begins("unknown command") || begins("unsupported command"))
}

/// Whether a command may be left out: it is not known, or we are not allowed to use it.
pub(crate) fn is_out_of_reach(error: &ServerError) -> bool {
    error.code() == "NOPERM" || is_unknown_command(error)
}

/// Whether NOPERM is about a key and not about the command: "... to access a key" or, before
/// Redis 7, "... to access one of the keys".
pub(crate) fn is_about_a_key(error: &ServerError) -> bool {
    let details = error.details().unwrap_or_default();
    details.contains("access a key") || details.contains("of the keys")
}

/// What came from outside, fit for a log line: escaped where it is not plain text, and cut at 200
/// characters.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(200) {
        match c {
            ' '..='~' if c != '\\' => shown.push(c),
            _ => shown.extend(c.escape_default()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(line: &str) -> Fault {
        let raw = format!("-{line}\r\n");
        match redis::parse_redis_value(raw.as_bytes()) {
            Ok(redis::Value::ServerError(error)) => Fault::from_reply(&error),
            other => panic!("not an error reply: {other:?}"),
        }
    }

    #[test]
    fn every_class_of_reply_is_known_by_its_code() {
        for line in [
            "LOADING x",
            "MASTERDOWN x",
            "CLUSTERDOWN x",
            "BUSY x",
            "TRYAGAIN x",
        ] {
            let fault = reply(line);
            assert!(
                fault.counts_as_failure() && !fault.costs_the_connection(),
                "{line}"
            );
        }
        for line in ["OOM x", "MISCONF x", "NOREPLICAS x"] {
            let fault = reply(line);
            assert!(
                !fault.counts_as_failure() && !fault.costs_the_connection(),
                "{line}"
            );
        }
        for line in ["NOAUTH x", "WRONGPASS x", "NOPERM x"] {
            assert!(reply(line).is_misconfiguration(), "{line}");
        }
        let read_only = reply("READONLY x");
        assert!(!read_only.counts_as_failure() && read_only.costs_the_connection());
        assert!(reply("ERR max number of clients reached").ends_the_generation());
    }

    #[test]
    fn the_same_again_is_no_news() {
        let ms = Duration::from_millis;
        assert!(!Fault::Slow(ms(210)).is_news_after(&Fault::Slow(ms(204))));
        assert!(!Fault::TimedOut(Step::Reply).is_news_after(&Fault::Stalled(4, ms(250))));
        assert!(Fault::TimedOut(Step::Reply).is_news_after(&Fault::TimedOut(Step::Connect)));
        assert!(reply("LOADING x").is_news_after(&Fault::TimedOut(Step::Reply)));
    }

    #[test]
    fn a_time_out_says_where_it_struck_and_not_os_error_11() {
        let error = io::Error::from_raw_os_error(11);
        let fault = Fault::from_io(error, Step::Reply);
        assert_eq!(fault.to_string(), "timed out in reply");
        assert!(fault.ends_the_generation());
    }

    #[test]
    fn a_reply_from_outside_is_escaped_and_cut() {
        let fault = reply(&format!("ERR \u{1b}[31m{}", "x".repeat(1000)));
        let text = fault.to_string();
        assert!(!text.contains('\u{1b}') && text.len() < 300, "{text}");
        let fault = reply("READONLY You can't write against a read only replica.");
        assert!(
            fault
                .to_string()
                .ends_with("You can't write against a read only replica.")
        );
    }
}
