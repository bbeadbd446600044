//! Reading values from one node, in one call within its budget.

use redis::Value;

use crate::base::breaker::Permit;
use crate::base::clock;
use crate::cache::node::pool::Lease;
use crate::cache::node::{CallOptions, Node, Unusable, elapsed};
use crate::cache::routing::redirect::Reply;
use crate::cache::wire::command::{Command, Get};
use crate::cache::wire::connection::{REPLY_MAX_BYTES, VALUE_MAX_BYTES};
use crate::cache::wire::fault::{Fault, is_about_a_key, is_out_of_reach};
use crate::observe::metrics::RedisOp;

/// What a node says to GET: a value, or that it has none that can be used.
pub(crate) type Found = Reply<Option<String>>;

/// A reply of so many bytes may take its time.
const LARGE_REPLY_BYTES: usize = 64 * 1024;

/// Looks `keys` up in one call to `node`. A value of the wrong type or not UTF-8 is missing.
///
/// # Errors
/// [`Unusable`] when the call failed; it has been counted and, where it changed something, logged.
pub(crate) fn read(
    node: &Node,
    permit: Permit,
    keys: &[&str],
    options: CallOptions,
) -> Result<Vec<Found>, Unusable> {
    let began = clock::now();
    let values = node.call(RedisOp::Read, options, |lease| {
        ask(node, lease, keys, options)
    });
    match values {
        Ok(values) => {
            let took = elapsed(began);
            let is_small = count(node, &values) < LARGE_REPLY_BYTES;
            if is_small {
                node.learn_read_time(took);
            }
            if took > node.limits.patience() && is_small {
                node.failed(permit, &Fault::Slow(took));
            } else {
                node.succeeded(permit);
            }
            Ok(values)
        }
        Err(fault) => {
            match fault {
                Fault::GivenUp => node.learn_read_time(elapsed(began)),
                Fault::TooLarge => node.limits.learn_too_large(),
                _ => {}
            }
            node.failed(permit, &fault);
            Err(Unusable)
        }
    }
}

/// Counts what was found, and learns from it; bytes of the values.
fn count(node: &Node, values: &[Found]) -> usize {
    let (mut hits, mut misses, mut bytes) = (0, 0, 0);
    for value in values {
        match value {
            Reply::Here(Some(value)) => {
                hits += 1;
                bytes += value.len();
            }
            Reply::Here(None) => misses += 1,
            Reply::Elsewhere(_) | Reply::Nowhere => {}
        }
    }
    node.limits.learn_sizes(hits, bytes);
    node.metrics.redis.hits.inc_by(hits as u64);
    node.metrics.redis.misses.inc_by(misses);
    bytes
}

/// With one MGET, where it may be used, else with a GET of each.
fn ask(
    node: &Node,
    lease: &mut Lease,
    keys: &[&str],
    options: CallOptions,
) -> Result<Vec<Found>, Fault> {
    if keys.len() > 1
        && node.may_mget()
        && let Some(found) = mget(node, lease, keys, options)?
    {
        return Ok(found);
    }
    let max_bytes = match keys.len() {
        1 => VALUE_MAX_BYTES,
        _ => REPLY_MAX_BYTES,
    };
    node.ask(lease, keys.iter().map(|key| Get(key)), max_bytes, options)
}

/// None: the server gives no MGET for these keys. One of them may be out of bounds for us, or MGET as such:
/// then GET alone is used from now on.
fn mget(
    node: &Node,
    lease: &mut Lease,
    keys: &[&str],
    options: CallOptions,
) -> Result<Option<Vec<Found>>, Fault> {
    let mut mget = redis::cmd("MGET");
    mget.arg(keys);
    let connection = lease.connection()?;
    let replies = connection.call(&[mget], REPLY_MAX_BYTES, options.deadline)?;
    match replies.into_iter().next() {
        Some(Value::Array(values)) if values.len() == keys.len() => {
            let found = values.into_iter().map(Get::decode);
            let found: Result<_, Fault> = found.map(|value| value.map(Reply::Here)).collect();
            found.map(Some)
        }
        Some(Value::ServerError(error)) if is_out_of_reach(&error) => {
            if !is_about_a_key(&error) {
                node.stop_using_mget(&error);
            }
            Ok(None)
        }
        Some(Value::ServerError(error)) => Err(Fault::from_reply(&error)),
        _ => Err(Fault::Protocol("MGET not answered by a list".to_owned())),
    }
}
