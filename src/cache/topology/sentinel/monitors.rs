//! Sentinels: which server is the master now, each asked within a few hundred milliseconds and all
//! within a bound (the redis crate's discovery has no time-outs: FACTS). They are asked again and again
//! rather than listened to: whoever leads a failover knows the new master seconds before the others
//! publish it.

use std::time::{Duration, Instant};

use log::{error, info, warn};
use redis::Value;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::base::clock::{self, Deadline};
use crate::cache::node::pool::Dial;
use crate::cache::status::SentinelStatus;
use crate::cache::wire::connection::{Connection, REPLY_MAX_BYTES};
use crate::cache::wire::fault::{Fault, Step};
use crate::cache::wire::role::text;
use crate::config::HostPort;

/// What one Sentinel may take to be connected to and to answer.
const ANSWER_LIMIT: Duration = Duration::from_millis(300);
/// One that refuses is left alone for so long.
const REST_AFTER_REFUSAL: Duration = Duration::from_millis(500);
/// One that does not answer at all holds the round up, and is left alone for longer.
const REST_AFTER_SILENCE: Duration = Duration::from_secs(5);
/// Between two lines about the same Sentinel.
const QUIET: Duration = Duration::from_secs(10);

/// What one Sentinel says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opinion {
    /// Who says it, as an index into the configured ones.
    pub by: usize,
    /// Where the master is.
    pub master: HostPort,
    /// The configuration that says so: a failover raises it. 0 where it is not told.
    pub epoch: u64,
}

/// The opinion to follow: of the latest epoch, and what most say who have that. One that is older than
/// `known` is followed only if more than half of all `count` Sentinels hold none that is younger: they
/// have been set up anew.
#[must_use]
pub(crate) fn best(opinions: &[Opinion], known: u64, count: usize) -> Option<&Opinion> {
    let latest = opinions.iter().map(|opinion| opinion.epoch).max()?;
    if latest < known && opinions.len() * 2 <= count {
        return None;
    }
    let latest = opinions.iter().filter(|opinion| opinion.epoch == latest);
    let votes = |master: &HostPort| {
        latest
            .clone()
            .filter(|other| other.master == *master)
            .count()
    };
    // Of equals the one that was heard first.
    latest
        .clone()
        .rev()
        .max_by_key(|opinion| votes(&opinion.master))
}

/// The Sentinels that watch one master.
pub(crate) struct Sentinels {
    /// What they call it.
    name: String,
    all: Vec<Sentinel>,
    /// Who answered first, the last time: the first to be asked.
    first: usize,
    /// Somebody has answered in this round.
    has_heard: bool,
}

struct Sentinel {
    address: String,
    dial: Dial,
    link: Option<Connection>,
    /// Not asked before.
    rests_until: Option<Instant>,
    /// Why it is of no use, if it is of none.
    fault: Option<Fault>,
    said_at: Option<Instant>,
}

impl Sentinels {
    /// Those at `addresses`, which call the master `name`. Asks nobody yet.
    #[must_use]
    pub(crate) fn new(name: String, addresses: impl Iterator<Item = (String, Dial)>) -> Self {
        let sentinel = |(address, dial)| Sentinel {
            address,
            dial,
            link: None,
            rests_until: None,
            fault: None,
            said_at: None,
        };
        Self {
            name,
            all: addresses.map(sentinel).collect(),
            first: 0,
            has_heard: false,
        }
    }

    /// How many there are.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// Where one is.
    #[must_use]
    pub(crate) fn address(&self, number: usize) -> &str {
        &self.all[number].address
    }

    /// Of each of them.
    pub(crate) fn status(&self) -> Vec<SentinelStatus> {
        let status = |one: &Sentinel| SentinelStatus {
            address: one.address.clone(),
            fault: one.fault.as_ref().map(Fault::to_string),
        };
        self.all.iter().map(status).collect()
    }

    /// Asks everyone who is worth asking. `hear` is told each answer as it comes, so that one who does
    /// not answer delays nobody else's; it returns false when no more are wanted.
    pub(crate) fn ask(&mut self, mut hear: impl FnMut(&Self, Opinion) -> bool) {
        self.has_heard = false;
        let mut goes_on = self.ask_connected(&mut hear);
        let count = self.all.len();
        let in_turn = (0..count).map(|turn| (self.first + turn) % count);
        for number in in_turn.collect::<Vec<_>>() {
            let now = clock::now();
            let one = &mut self.all[number];
            let rests = one.rests_until.is_some_and(|until| now < until);
            if !goes_on || one.link.is_some() || rests {
                continue;
            }
            let deadline = Deadline::after(now, ANSWER_LIMIT);
            let asked = one
                .connect(deadline)
                .and_then(|()| one.send(&self.name, deadline));
            let heard = asked.and_then(|()| one.hear(&self.name, deadline));
            goes_on = self.take(number, heard, &mut hear);
        }
    }

    /// The connected ones, all at once.
    fn ask_connected(&mut self, hear: &mut impl FnMut(&Self, Opinion) -> bool) -> bool {
        let deadline = Deadline::after(clock::now(), ANSWER_LIMIT);
        let mut asked = Vec::new();
        for number in 0..self.all.len() {
            if self.all[number].link.is_none() {
                continue;
            }
            match self.all[number].send(&self.name, deadline) {
                Ok(()) => asked.push(number),
                Err(fault) => drop(self.take(number, Err(fault), hear)),
            }
        }
        let mut goes_on = true;
        while !asked.is_empty() && goes_on {
            let answering = self.answering(&asked, deadline);
            if answering.is_empty() {
                break;
            }
            for number in answering {
                asked.retain(|&other| other != number);
                // The rest of an answer that has begun to come.
                let deadline = Deadline::after(clock::now(), ANSWER_LIMIT);
                let heard = self.all[number].hear(&self.name, deadline);
                goes_on &= self.take(number, heard, hear);
            }
        }
        for number in asked {
            goes_on &= self.take(number, Err(Fault::TimedOut(Step::Reply)), hear);
        }
        goes_on
    }

    /// Those of `asked` from whom something has come; waits for the first of them.
    fn answering(&self, asked: &[usize], deadline: Deadline) -> Vec<usize> {
        let links = asked
            .iter()
            .filter_map(|&number| Some((number, self.all[number].link.as_ref()?)));
        let (numbers, mut watched): (Vec<_>, Vec<_>) = links
            .map(|(number, link)| (number, PollFd::new(link.socket().as_ref(), PollFlags::IN)))
            .unzip();
        let left = Timespec::try_from(deadline.left(clock::now())).ok();
        // An error or an interruption is as good as nothing: they are all given up, and asked anew.
        if poll(&mut watched, left.as_ref()).is_err() {
            return Vec::new();
        }
        let ready = numbers.into_iter().zip(&watched);
        ready
            .filter(|(_, fd)| !fd.revents().is_empty())
            .map(|(number, _)| number)
            .collect()
    }

    /// What came of asking one of them.
    fn take(
        &mut self,
        number: usize,
        heard: Result<(HostPort, u64), Fault>,
        hear: &mut impl FnMut(&Self, Opinion) -> bool,
    ) -> bool {
        let now = clock::now();
        let name = &self.name;
        let one = &mut self.all[number];
        match heard {
            Ok((master, epoch)) => {
                one.is_well(name, now);
                if !std::mem::replace(&mut self.has_heard, true) {
                    self.first = number;
                }
                let by = number;
                hear(self, Opinion { by, master, epoch })
            }
            Err(fault) => {
                one.is_of_no_use(name, fault, now);
                true
            }
        }
    }
}

impl Sentinel {
    fn connect(&mut self, deadline: Deadline) -> Result<(), Fault> {
        let dial = &self.dial;
        let link = Connection::open(&dial.endpoint, &dial.handshake, deadline, |_| true)?;
        self.link = Some(link);
        Ok(())
    }

    fn link(&mut self) -> Result<&mut Connection, Fault> {
        self.link.as_mut().ok_or(Fault::NoConnection)
    }

    fn send(&mut self, name: &str, deadline: Deadline) -> Result<(), Fault> {
        let ask = |what: &str| {
            let mut command = redis::cmd("SENTINEL");
            command.arg(what).arg(name);
            command
        };
        let commands = [ask("GET-MASTER-ADDR-BY-NAME"), ask("MASTER")];
        self.link()?.send(&commands, deadline, Step::Reply)
    }

    fn hear(&mut self, name: &str, deadline: Deadline) -> Result<(HostPort, u64), Fault> {
        let replies = self
            .link()?
            .receive(2, REPLY_MAX_BYTES, deadline, Step::Reply)?;
        let mut replies = replies.into_iter();
        let master = match replies.next() {
            Some(Value::Array(parts)) => master(parts)?,
            Some(Value::Nil) => {
                return Err(Fault::Refused(format!("it knows no master {name}")));
            }
            Some(Value::ServerError(error)) => return Err(Fault::from_reply(&error)),
            _ => return Err(Fault::Protocol("not the address of a master".to_owned())),
        };
        Ok((master, replies.next().and_then(epoch).unwrap_or(0)))
    }

    fn is_well(&mut self, name: &str, now: Instant) {
        self.rests_until = None;
        if self.fault.take().is_some() && self.said_at.is_some() {
            info!("sentinel {} of {name} answers again", self.address);
            self.said_at = Some(now);
        }
    }

    fn is_of_no_use(&mut self, name: &str, fault: Fault, now: Instant) {
        if fault.costs_the_connection() {
            self.link = None;
        }
        let rest = match fault {
            Fault::TimedOut(_) => REST_AFTER_SILENCE,
            _ => REST_AFTER_REFUSAL,
        };
        self.rests_until = Some(now + rest);
        let address = &self.address;
        let is_news = self.fault.as_ref() != Some(&fault);
        let was_said = self
            .said_at
            .is_some_and(|at| now.saturating_duration_since(at) < QUIET);
        if is_news && !was_said {
            self.said_at = Some(now);
            if fault.is_misconfiguration() {
                error!(
                    "sentinel {address} of {name} refuses us: {fault}; check [redis] \
                     sentinel_username, sentinel_password_file and its ACL"
                );
            } else {
                warn!("sentinel {address} of {name} is of no use: {fault}");
            }
        }
        self.fault = Some(fault);
    }
}

/// Host and port, as two strings.
fn master(parts: Vec<Value>) -> Result<HostPort, Fault> {
    let mut parts = parts.into_iter().map(text);
    let (host, port) = (parts.next().flatten(), parts.next().flatten());
    let port = port.and_then(|port| port.parse().ok());
    match (host, port) {
        (Some(host), Some(port)) => named(host, port),
        _ => None,
    }
    .ok_or_else(|| Fault::Protocol("not the address of a master".to_owned()))
}

/// A server as another server names it, if that can be a host at all.
pub(crate) fn named(host: String, port: u16) -> Option<HostPort> {
    let is_of_a_host = |c: char| c.is_ascii_alphanumeric() || "._-:%".contains(c);
    let is_host = (1..=255).contains(&host.len()) && host.chars().all(is_of_a_host);
    (is_host && port != 0).then_some(HostPort { host, port })
}

/// `config-epoch` out of what SENTINEL MASTER tells: names and values in turn.
fn epoch(told: Value) -> Option<u64> {
    let parts = match told {
        Value::Array(parts) => parts,
        Value::Map(pairs) => pairs
            .into_iter()
            .flat_map(|(name, value)| [name, value])
            .collect(),
        _ => return None,
    };
    let mut parts = parts.into_iter().map(text);
    parts.find(|part| part.as_deref() == Some("config-epoch"))?;
    parts.next()??.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opinions(said: &[(&str, u64)]) -> Vec<Opinion> {
        let opinion = |(by, &(host, epoch)): (usize, &(&str, u64))| Opinion {
            by,
            master: named(host.to_owned(), 6379).expect("a host"),
            epoch,
        };
        said.iter().enumerate().map(opinion).collect()
    }

    fn followed(said: &[(&str, u64)], known: u64, count: usize) -> Option<String> {
        best(&opinions(said), known, count).map(|opinion| opinion.master.host.clone())
    }

    #[test]
    fn the_latest_epoch_is_followed_however_few_know_of_it() {
        let said = [("old", 3), ("new", 4), ("old", 3)];
        assert_eq!(followed(&said, 3, 3).as_deref(), Some("new"));
        assert_eq!(followed(&said, 0, 3).as_deref(), Some("new"));
    }

    #[test]
    fn without_epochs_it_is_what_most_say_and_of_equals_the_first() {
        let most = [("a", 0), ("b", 0), ("b", 0)];
        assert_eq!(followed(&most, 0, 3).as_deref(), Some("b"));
        assert_eq!(followed(&[("a", 0), ("b", 0)], 0, 3).as_deref(), Some("a"));
        assert_eq!(followed(&[], 0, 3), None);
    }

    #[test]
    fn an_old_opinion_is_followed_only_when_most_sentinels_are_that_old() {
        assert_eq!(followed(&[("old", 3)], 4, 3), None);
        assert_eq!(followed(&[("old", 3)], 4, 1).as_deref(), Some("old"));
        let anew = [("a", 0), ("a", 0)];
        assert_eq!(followed(&anew, 4, 3).as_deref(), Some("a"));
    }

    #[test]
    fn what_can_be_no_host_is_none() {
        assert!(named("fe80::1%eth0".to_owned(), 1).is_some());
        for host in ["", "a b", "a\n", "a/b", "\u{e4}"] {
            assert_eq!(named(host.to_owned(), 1), None, "{host:?}");
        }
        assert_eq!(named("a".to_owned(), 0), None);
    }

    #[test]
    fn the_epoch_is_found_among_what_else_is_told() {
        let told = b"*6\r\n$4\r\nname\r\n$1\r\nm\r\n$12\r\nconfig-epoch\r\n$1\r\n7\r\n$1\r\nx\r\n$1\r\n9\r\n";
        let told = redis::parse_redis_value(told).expect("a reply");
        assert_eq!(epoch(told), Some(7));
        let refused = redis::parse_redis_value(b"-NOPERM no\r\n").expect("a reply");
        assert_eq!(epoch(refused), None);
    }
}
