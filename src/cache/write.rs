//! Writing values back to Redis. It happens after the client was answered, so a refused write costs
//! nobody anything: it is said once, and tried again after a pause.

use std::time::{Duration, Instant};

use crate::base::clock::{self, Deadline};
use crate::cache::node::{CallOptions, Node, Unusable, elapsed};
use crate::cache::routing::fan_out::ask_each;
use crate::cache::routing::hash_slot::HashSlot;
use crate::cache::routing::redirect::Reply;
use crate::cache::routing::router::Router;
use crate::cache::ttl::{KeyTtl, ttls};
use crate::cache::wire::command::Set;
use crate::cache::wire::connection::REPLY_MAX_BYTES;
use crate::cache::wire::fault::{Fault, Step};
use crate::observe::metrics::RedisOp;

/// One value to be written.
#[derive(Debug, Clone)]
pub(crate) struct Entry<'a> {
    /// Whole key, prefix included.
    pub key: &'a str,
    /// The bare value.
    pub value: &'a str,
    /// What is left of its life; below a second nothing is written.
    pub ttl: Duration,
}

/// What became of entries that were to be written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// How many Redis took.
    pub taken: usize,
    /// Which of them are worth trying later, as indices.
    pub refused: Vec<usize>,
}

/// See [`RedisCache::write`](crate::cache::RedisCache::write).
pub(crate) fn write(
    router: &Router,
    caller: usize,
    entries: &[Entry<'_>],
    deadline: Deadline,
) -> Written {
    let slot = |entry: &Entry<'_>| HashSlot::of(entry.key);
    let taken = ask_each(router, entries, slot, |batch, own| {
        let options = CallOptions::unwaited(caller, deadline, batch.asking);
        write_to_node(&batch.node, own, options)
    });
    let refused = taken
        .iter()
        .enumerate()
        .filter(|(_, taken)| taken.is_none());
    Written {
        taken: taken.iter().filter(|taken| **taken == Some(true)).count(),
        refused: refused.map(|(at, _)| at).collect(),
    }
}

/// See [`RedisCache::write_unless_younger`](crate::cache::RedisCache::write_unless_younger).
pub(crate) fn write_unless_younger(
    router: &Router,
    caller: usize,
    entries: &[Entry<'_>],
    deadline: Deadline,
) -> Written {
    let keys: Vec<&str> = entries.iter().map(|entry| entry.key).collect();
    let ttls = ttls(router, caller, &keys, deadline);
    let (mut older, mut numbers, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for (at, (entry, ttl)) in entries.iter().zip(ttls).enumerate() {
        let is_older = match ttl {
            Some(KeyTtl::Left(left)) => left < entry.ttl,
            Some(KeyTtl::Endless) => false,
            Some(KeyTtl::Gone | KeyTtl::Unknown) => true,
            None => {
                refused.push(at);
                continue;
            }
        };
        if is_older {
            older.push(entry.clone());
            numbers.push(at);
        }
    }
    let written = match older.is_empty() {
        true => Written::default(),
        false => write(router, caller, &older, deadline),
    };
    refused.extend(written.refused.into_iter().map(|at| numbers[at]));
    Written {
        taken: written.taken,
        refused,
    }
}

/// Writes `entries` in one go; whether the node took each of them.
///
/// # Errors
/// [`Unusable`] when it is not to be asked, takes no writes now, or the call failed.
fn write_to_node(
    node: &Node,
    entries: &[&Entry<'_>],
    options: CallOptions,
) -> Result<Vec<Reply<bool>>, Unusable> {
    let began = clock::now();
    if !node.takes_writes(began) {
        return Err(Unusable);
    }
    let permit = node.permit(began).ok_or(Unusable)?;
    let taken = node.call(RedisOp::Write, options, |lease| {
        let sets: Vec<_> = entries.iter().filter_map(|entry| set(entry)).collect();
        let taken = node.ask(lease, sets.into_iter(), REPLY_MAX_BYTES, options)?;
        let mut taken = taken.into_iter();
        let of = |entry: &&Entry<'_>| match set(entry) {
            Some(_) => taken.next(),
            None => Some(Reply::Here(false)),
        };
        Ok(entries.iter().filter_map(of).collect())
    });
    let fault = match taken {
        Ok(taken) => {
            node.upkeep_succeeded(permit, began);
            node.writes.resume(clock::now());
            return Ok(taken);
        }
        Err(fault) => fault,
    };
    let is_about_writes = match &fault {
        Fault::WriteRefused(_) => true,
        Fault::ReadOnly(_) => {
            node.notify.notify();
            true
        }
        // Reads are well: what hangs are writes (CLIENT PAUSE WRITE, a blocked disk).
        Fault::TimedOut(Step::Reply) => reads_go_on(node, began),
        _ => false,
    };
    match is_about_writes {
        true => node
            .writes
            .pause(node.address(), &fault, entries.len(), clock::now()),
        false => node.failed(permit, &fault),
    }
    Err(Unusable)
}

/// The command for `entry`; none where too little of its life is left: `EX 0` is an error.
fn set<'a>(entry: &Entry<'a>) -> Option<Set<'a>> {
    let Entry { key, value, ttl } = *entry;
    let seconds = ttl.as_secs();
    (seconds > 0).then_some(Set {
        key,
        value,
        seconds,
    })
}

/// Whether something has succeeded since `began`, and a moment ago.
fn reads_go_on(node: &Node, began: Instant) -> bool {
    let patience = node.limits.patience();
    let last_success = node.log.last_success();
    last_success.is_some_and(|at| at > began && elapsed(at) < patience)
}
