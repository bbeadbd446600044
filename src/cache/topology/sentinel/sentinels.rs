//! The Sentinels of one master, each asked for it within a few hundred milliseconds and all
//! within a bound (the redis crate's discovery has no time-outs: docs/DEPENDENCIES.md). They are asked again and again
//! rather than listened to: the Sentinel that leads a failover knows the new master seconds before
//! the others publish it.

use std::time::{Duration, Instant};

use log::{error, info, warn};
use redis::Value;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::base::clock::{self, Deadline};
use crate::cache::status::SentinelStatus;
use crate::cache::topology::sentinel::opinion::{self, Opinion};
use crate::cache::wire::command::command;
use crate::cache::wire::connection::{Connection, REPLY_MAX_BYTES};
use crate::cache::wire::dial::Dial;
use crate::cache::wire::fault::{Fault, Step};
use crate::config::HostPort;

/// What one Sentinel may take to be connected to and to answer.
const ANSWER_LIMIT: Duration = Duration::from_millis(300);
/// One that refuses is left alone for so long.
const REST_AFTER_REFUSAL: Duration = Duration::from_millis(500);
/// One that does not answer at all holds the round up, and is left alone for longer.
const REST_AFTER_SILENCE: Duration = Duration::from_secs(5);
/// Between two lines about the same Sentinel.
const QUIET: Duration = Duration::from_secs(10);

/// The Sentinels that watch one master.
pub(crate) struct Sentinels {
    /// What they call it.
    name: String,
    all: Vec<Sentinel>,
    /// The one that answered first in the last round: the first to be asked.
    first: usize,
    /// One has answered in this round.
    has_heard: bool,
}

struct Sentinel {
    address: String,
    dial: Dial,
    connection: Option<Connection>,
    /// It is not asked before.
    rests_until: Option<Instant>,
    /// Why it is of no use, if it is of none.
    fault: Option<Fault>,
    said_at: Option<Instant>,
}

impl Sentinels {
    /// Those at `addresses`, which call the master `name`. Asks none yet.
    pub(crate) fn new(name: String, addresses: impl Iterator<Item = (String, Dial)>) -> Self {
        let sentinel = |(address, dial)| Sentinel {
            address,
            dial,
            connection: None,
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

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// Of the one with this index.
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

    /// Asks all that are worth asking. `hear` is told each answer as it comes, so that one that does not
    /// answer delays no other's; it returns false when no more are wanted.
    pub(crate) fn ask(&mut self, mut hear: impl FnMut(&Self, Opinion) -> bool) {
        self.has_heard = false;
        let mut goes_on = self.ask_connected(&mut hear);
        let count = self.all.len();
        let in_turn = (0..count).map(|turn| (self.first + turn) % count);
        for number in in_turn.collect::<Vec<_>>() {
            let now = clock::now();
            let one = &mut self.all[number];
            let rests = one.rests_until.is_some_and(|until| now < until);
            if !goes_on || one.connection.is_some() || rests {
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
            if self.all[number].connection.is_none() {
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

    /// Those of `asked` from which something has come; waits for the first of them.
    fn answering(&self, asked: &[usize], deadline: Deadline) -> Vec<usize> {
        let connections = asked
            .iter()
            .filter_map(|&number| Some((number, self.all[number].connection.as_ref()?)));
        let (numbers, mut watched): (Vec<_>, Vec<_>) = connections
            .map(|(number, one)| (number, PollFd::new(one.socket().as_ref(), PollFlags::IN)))
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
                one.mark_well(name, now);
                if !std::mem::replace(&mut self.has_heard, true) {
                    self.first = number;
                }
                let by = number;
                hear(self, Opinion { by, master, epoch })
            }
            Err(fault) => {
                one.set_aside(name, fault, now);
                true
            }
        }
    }
}

impl Sentinel {
    fn connect(&mut self, deadline: Deadline) -> Result<(), Fault> {
        self.connection = Some(self.dial.connect(deadline)?);
        Ok(())
    }

    fn connection(&mut self) -> Result<&mut Connection, Fault> {
        self.connection.as_mut().ok_or(Fault::NoConnection)
    }

    fn send(&mut self, name: &str, deadline: Deadline) -> Result<(), Fault> {
        let asked = ["GET-MASTER-ADDR-BY-NAME", "MASTER"];
        let commands = asked.map(|what| command(&["SENTINEL", what, name]));
        self.connection()?.send(&commands, Step::Reply.by(deadline))
    }

    fn hear(&mut self, name: &str, deadline: Deadline) -> Result<(HostPort, u64), Fault> {
        let connection = self.connection()?;
        let replies = connection.receive(2, REPLY_MAX_BYTES, Step::Reply.by(deadline))?;
        let mut replies = replies.into_iter();
        let master = match replies.next() {
            Some(Value::Array(parts)) => opinion::master(parts)?,
            Some(Value::Nil) => {
                return Err(Fault::Refused(format!("it knows no master {name}")));
            }
            Some(Value::ServerError(error)) => return Err(Fault::from_reply(&error)),
            _ => return Err(Fault::Protocol("not the address of a master".to_owned())),
        };
        Ok((master, replies.next().and_then(opinion::epoch).unwrap_or(0)))
    }

    /// It has answered.
    fn mark_well(&mut self, name: &str, now: Instant) {
        self.rests_until = None;
        if self.fault.take().is_some() && self.said_at.is_some() {
            info!("sentinel {} of {name} answers again", self.address);
            self.said_at = Some(now);
        }
    }

    /// It is not asked for a while because of `fault`.
    fn set_aside(&mut self, name: &str, fault: Fault, now: Instant) {
        if fault.costs_the_connection() {
            self.connection = None;
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
