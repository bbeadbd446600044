//! Reading values from one node, in one call within its budget.

use std::sync::atomic::Ordering;

use log::warn;
use redis::Value;

use super::Unusable;
use super::fault::{Fault, is_about_a_key, is_out_of_reach};
use super::node::{Node, Terms};
use super::pool::Drawn;
use crate::breaker::Permit;
use crate::clock::{self, Deadline};
use crate::metrics::RedisOp;

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
        terms: Terms,
    ) -> Result<Vec<Option<String>>, Unusable> {
        let began = clock::now();
        let values = self.on_a_connection(RedisOp::Read, terms, |drawn| {
            self.ask(drawn, keys, terms.deadline)
        });
        match values {
            Ok(values) => {
                let took = clock::now().saturating_duration_since(began);
                let found = values.iter().flatten();
                let bytes: usize = found.clone().map(String::len).sum();
                if took > self.limits.patience() && bytes < LARGE_REPLY_BYTES {
                    self.failed(permit, &Fault::Slow(took));
                } else {
                    self.succeeded(permit);
                }
                let hits = found.count();
                self.limits.learn_size(hits, bytes);
                self.metrics.redis.hits.inc_by(hits as u64);
                let misses = values.len() - hits;
                self.metrics.redis.misses.inc_by(misses as u64);
                Ok(values)
            }
            Err(fault) => {
                if fault == Fault::TooLarge {
                    self.limits.learn_too_large(keys.len());
                }
                self.failed(permit, &fault);
                Err(Unusable)
            }
        }
    }

    fn ask(
        &self,
        drawn: &mut Drawn,
        keys: &[&str],
        deadline: Deadline,
    ) -> Result<Vec<Option<String>>, Fault> {
        let link = drawn.link()?;
        if keys.len() > 1 && self.may_mget.load(Ordering::Relaxed) {
            let mut mget = redis::cmd("MGET");
            mget.arg(keys);
            match link.call(&[mget], deadline)?.pop() {
                Some(Value::Array(values)) if values.len() == keys.len() => {
                    return values.into_iter().map(text).collect();
                }
                Some(Value::ServerError(error)) if is_out_of_reach(&error) => {
                    self.mget_is_refused(&error);
                }
                Some(Value::ServerError(error)) => return Err(Fault::from_reply(&error)),
                _ => return Err(Fault::Protocol("MGET not answered by a list".to_owned())),
            }
        }
        let gets: Vec<_> = keys.iter().map(|key| get(key)).collect();
        link.call(&gets, deadline)?.into_iter().map(text).collect()
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
pub(super) fn get(key: &str) -> redis::Cmd {
    let mut get = redis::cmd("GET");
    get.arg(key);
    get
}

/// What a reply to GET means: a value, or nothing that can be used.
pub(super) fn text(reply: Value) -> Result<Option<String>, Fault> {
    match reply {
        Value::BulkString(bytes) => Ok(String::from_utf8(bytes).ok()),
        Value::Nil => Ok(None),
        Value::ServerError(error) if error.code() == "WRONGTYPE" => Ok(None),
        Value::ServerError(error) if error.code() == "NOPERM" && is_about_a_key(&error) => Ok(None),
        Value::ServerError(error) => Err(Fault::from_reply(&error)),
        _ => Err(Fault::Protocol("GET not answered by a string".to_owned())),
    }
}
