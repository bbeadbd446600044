//! Reading values from one node, in one call within its budget.

use std::sync::atomic::Ordering;

use log::warn;
use redis::Value;

use crate::base::breaker::Permit;
use crate::base::clock;
use crate::cache::Unusable;
use crate::cache::node::pool::Lease;
use crate::cache::node::{CallOptions, Node, Reply, elapsed};
use crate::cache::wire::connection::{REPLY_MAX_BYTES, VALUE_MAX_BYTES};
use crate::cache::wire::fault::{Fault, is_about_a_key, is_out_of_reach};
use crate::observe::metrics::RedisOp;

/// What a node says to GET: a value, or that it has none that can be used.
pub(crate) type Found = Reply<Option<String>>;

/// A reply of so many bytes may take its time.
const LARGE_REPLY_BYTES: usize = 64 * 1024;

impl Node {
    /// Looks `keys` up in one call. A value of the wrong type or not UTF-8 is missing.
    ///
    /// # Errors
    /// [`Unusable`] when the call failed; it has been counted and, where it changed something, logged.
    pub fn read(
        &self,
        permit: Permit,
        keys: &[&str],
        options: CallOptions,
    ) -> Result<Vec<Found>, Unusable> {
        let began = clock::now();
        let values = self.on_a_connection(RedisOp::Read, options, |lease| {
            self.ask(lease, keys, options)
        });
        match values {
            Ok(values) => {
                let took = elapsed(began);
                let bytes = self.count(&values);
                let is_small = bytes < LARGE_REPLY_BYTES;
                if is_small {
                    self.learn_read_time(took);
                }
                if took > self.limits.patience() && is_small {
                    self.failed(permit, &Fault::Slow(took));
                } else {
                    self.succeeded(permit);
                }
                Ok(values)
            }
            Err(fault) => {
                match fault {
                    Fault::GivenUp => self.learn_read_time(elapsed(began)),
                    Fault::TooLarge => self.limits.learn_too_large(),
                    _ => {}
                }
                self.failed(permit, &fault);
                Err(Unusable)
            }
        }
    }

    /// Counts what was found, and learns from it; bytes of the values.
    fn count(&self, values: &[Found]) -> usize {
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
        self.limits.learn_sizes(hits, bytes);
        self.metrics.redis.hits.inc_by(hits as u64);
        self.metrics.redis.misses.inc_by(misses);
        bytes
    }

    fn ask(
        &self,
        lease: &mut Lease,
        keys: &[&str],
        options: CallOptions,
    ) -> Result<Vec<Found>, Fault> {
        if keys.len() > 1 && self.may_mget.load(Ordering::Relaxed) {
            let mut mget = redis::cmd("MGET");
            mget.arg(keys);
            match lease
                .link()?
                .call(&[mget], REPLY_MAX_BYTES, options.deadline)?
                .pop()
            {
                Some(Value::Array(values)) if values.len() == keys.len() => {
                    let values = values.into_iter().map(text);
                    return values.map(|value| value.map(Reply::Here)).collect();
                }
                Some(Value::ServerError(error)) if is_out_of_reach(&error) => {
                    self.mget_is_refused(&error);
                }
                Some(Value::ServerError(error)) => return Err(Fault::from_reply(&error)),
                _ => return Err(Fault::Protocol("MGET not answered by a list".to_owned())),
            }
        }
        let gets = keys.iter().map(|key| get(key)).collect();
        let max_bytes = match keys.len() {
            1 => VALUE_MAX_BYTES,
            _ => REPLY_MAX_BYTES,
        };
        let replies = Self::exchange(lease, gets, max_bytes, options)?.into_iter();
        replies.map(|reply| Reply::of(self, reply, text)).collect()
    }

    /// One key of a batch may be out of bounds for us, or MGET as such: then GET alone is used.
    fn mget_is_refused(&self, error: &redis::ServerError) {
        if !is_about_a_key(error) && self.may_mget.swap(false, Ordering::Relaxed) {
            let why = Fault::from_reply(error);
            warn!("redis gives no MGET, so keys are read one by one with GET: {why}");
        }
    }
}

/// `GET key`.
pub(crate) fn get(key: &str) -> redis::Cmd {
    let mut get = redis::cmd("GET");
    get.arg(key);
    get
}

/// What a reply to GET means: a value, or nothing that can be used.
pub(crate) fn text(reply: Value) -> Result<Option<String>, Fault> {
    match reply {
        Value::BulkString(bytes) => Ok(String::from_utf8(bytes).ok()),
        Value::Nil => Ok(None),
        Value::ServerError(error) if error.code() == "WRONGTYPE" => Ok(None),
        Value::ServerError(error) if error.code() == "NOPERM" && is_about_a_key(&error) => Ok(None),
        Value::ServerError(error) => Err(Fault::from_reply(&error)),
        _ => Err(Fault::Protocol("GET not answered by a string".to_owned())),
    }
}
