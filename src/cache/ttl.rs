//! How long keys will live in Redis, asked with PTTL off the way of any client. An optional command:
//! where it is refused, nothing is known and nothing else changes.

use std::time::Duration;

use redis::Value;

use crate::base::clock::{self, Deadline};
use crate::cache::node::{CallOptions, Node, Reply};
use crate::cache::routing::fan_out::FanOut;
use crate::cache::routing::hash_slot::HashSlot;
use crate::cache::wire::connection::REPLY_MAX_BYTES;
use crate::cache::wire::fault::Fault;
use crate::cache::write::{Entry, Written};
use crate::cache::{RedisCache, Unusable};
use crate::observe::metrics::RedisOp;

/// What is left of a key's life in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyTtl {
    /// So much.
    Left(Duration),
    /// It does not expire.
    Endless,
    /// It is not there.
    Gone,
    /// Redis does not say.
    Unknown,
}

impl RedisCache {
    /// The lives of `keys`, asked on behalf of thread `caller`, each node's in one go. None: its node
    /// is not to be asked, or the call failed.
    pub fn lives(&self, caller: usize, keys: &[&str], deadline: Deadline) -> Vec<Option<KeyTtl>> {
        let mut lives = vec![None; keys.len()];
        let (mut parts, _) = FanOut::of(self, 0..keys.len(), |&at| HashSlot::of(keys[at]));
        while let Some(part) = parts.take() {
            let hops = part.hops();
            let own: Vec<_> = part.items.iter().map(|&at| keys[at]).collect();
            let options = CallOptions {
                caller,
                waiting: None,
                deadline,
                asking: part.asking,
            };
            let Ok(found) = part.node.lives(&own, options) else {
                continue;
            };
            let mut elsewhere = Vec::new();
            for (at, life) in part.items.into_iter().zip(found) {
                match life {
                    Reply::Here(life) => lives[at] = Some(life),
                    Reply::Elsewhere(redirect) => elsewhere.push((at, redirect)),
                    Reply::Nowhere => {}
                }
            }
            parts.send_on(self, hops, elsewhere);
        }
        lives
    }

    /// Writes those of `entries` that would live longer than what Redis has of the same key: what
    /// lives longer was written later, by us or by another service.
    pub fn write_unless_younger(
        &self,
        caller: usize,
        entries: &[Entry<'_>],
        deadline: Deadline,
    ) -> Written {
        let keys: Vec<&str> = entries.iter().map(|entry| entry.key).collect();
        let lives = self.lives(caller, &keys, deadline);
        let (mut older, mut places, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (entry, life)) in entries.iter().zip(lives).enumerate() {
            let is_older = match life {
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
                places.push(at);
            }
        }
        let written = match older.is_empty() {
            true => Written::default(),
            false => self.write(caller, &older, deadline),
        };
        refused.extend(written.refused.into_iter().map(|at| places[at]));
        Written {
            taken: written.taken,
            refused,
        }
    }
}

impl Node {
    fn lives(&self, keys: &[&str], options: CallOptions) -> Result<Vec<Reply<KeyTtl>>, Unusable> {
        let began = clock::now();
        let permit = self.permit_to_upkeep(began).ok_or(Unusable)?;
        let lives = self.on_a_connection(RedisOp::Life, options, |lease| {
            let commands = keys.iter().map(|key| pttl(key)).collect();
            let replies = Self::exchange(lease, commands, REPLY_MAX_BYTES, options)?.into_iter();
            let life = |reply: Value| life(&reply);
            replies.map(|reply| Reply::of(self, reply, life)).collect()
        });
        match lives {
            Ok(lives) => {
                self.upkeep_succeeded(permit, began);
                Ok(lives)
            }
            Err(fault) => {
                self.failed(permit, &fault);
                Err(Unusable)
            }
        }
    }
}

fn pttl(key: &str) -> redis::Cmd {
    let mut pttl = redis::cmd("PTTL");
    pttl.arg(key);
    pttl
}

fn life(reply: &Value) -> Result<KeyTtl, Fault> {
    match reply {
        Value::Int(-1) => Ok(KeyTtl::Endless),
        Value::Int(left_ms @ 0..) => Ok(KeyTtl::Left(Duration::from_millis(*left_ms as u64))),
        Value::Int(_) => Ok(KeyTtl::Gone),
        Value::ServerError(error) => match Fault::from_reply(error) {
            // A server that is not ready is not; one that knows or allows no PTTL is well.
            fault @ Fault::NotReady(_) => Err(fault),
            _ => Ok(KeyTtl::Unknown),
        },
        _ => Err(Fault::Protocol("PTTL not answered by a number".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life_of(reply: &[u8]) -> Result<KeyTtl, Fault> {
        life(&redis::parse_redis_value(reply).expect("a reply"))
    }

    #[test]
    fn a_refused_command_is_no_fault_and_a_server_that_is_not_ready_is() {
        assert_eq!(
            life_of(b":1500\r\n"),
            Ok(KeyTtl::Left(Duration::from_millis(1500)))
        );
        assert_eq!(life_of(b":-1\r\n"), Ok(KeyTtl::Endless));
        assert_eq!(life_of(b":-2\r\n"), Ok(KeyTtl::Gone));
        assert_eq!(
            life_of(b"-ERR unknown command 'PTTL'\r\n"),
            Ok(KeyTtl::Unknown)
        );
        assert_eq!(life_of(b"-NOPERM no\r\n"), Ok(KeyTtl::Unknown));
        assert!(matches!(
            life_of(b"-LOADING wait\r\n"),
            Err(Fault::NotReady(_))
        ));
        assert!(matches!(life_of(b"$1\r\na\r\n"), Err(Fault::Protocol(_))));
    }
}
