//! Writing values back to one node of Redis. It happens after the client was answered, so a refused write costs
//! no client anything: it is said once, and tried again after a pause.

use std::time::{Duration, Instant};

use crate::base::clock;
use crate::cache::node::{CallOptions, Node, Unusable, elapsed};
use crate::cache::routing::redirect::Reply;
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

/// Writes `entries` in one go; whether the node took each of them.
///
/// # Errors
/// [`Unusable`] when it is not to be asked, takes no writes now, or the call failed.
pub(crate) fn write_to_node(
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
