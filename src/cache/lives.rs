//! How long keys will live in Redis, asked with PTTL off the way of any client. An optional command:
//! where it is refused, nothing is known and nothing else changes.

use std::time::Duration;

use redis::Value;

use super::fault::Fault;
use super::link::REPLY_MAX_BYTES;
use super::write::Entry;
use super::{Cache, Unusable};
use crate::clock::{self, Deadline};
use crate::metrics::RedisOp;

/// What is left of a key's life in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// So much.
    Left(Duration),
    /// It does not expire.
    Endless,
    /// It is not there.
    Gone,
    /// Redis does not say.
    Unknown,
}

impl Cache {
    /// The lives of `keys`, asked in one go on behalf of thread `caller`.
    ///
    /// # Errors
    /// [`Unusable`] when Redis is not to be asked or the call failed.
    pub fn lives(
        &self,
        caller: usize,
        keys: &[&str],
        deadline: Deadline,
    ) -> Result<Vec<Life>, Unusable> {
        let began = clock::now();
        let permit = self.permit_to_upkeep(began).ok_or(Unusable)?;
        let commands: Vec<_> = keys.iter().map(|key| pttl(key)).collect();
        let lives = self.in_the_background(RedisOp::Life, caller, deadline, |drawn| {
            let replies = drawn.link()?.call(&commands, REPLY_MAX_BYTES, deadline)?;
            replies.iter().map(life).collect::<Result<Vec<_>, _>>()
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

    /// Writes those of `entries` that would live longer than what Redis has of the same key: what
    /// lives longer was written later, by us or by another service. Returns how many were written.
    ///
    /// # Errors
    /// As [`Cache::write`].
    pub fn write_unless_younger(
        &self,
        caller: usize,
        entries: &[Entry<'_>],
        deadline: Deadline,
    ) -> Result<usize, Unusable> {
        let keys: Vec<&str> = entries.iter().map(|entry| entry.key).collect();
        let lives = self.lives(caller, &keys, deadline)?;
        let is_older = |(entry, life): &(&Entry<'_>, &Life)| match life {
            Life::Left(left) => *left < entry.ttl,
            Life::Endless => false,
            Life::Gone | Life::Unknown => true,
        };
        let older = entries.iter().zip(&lives).filter(is_older);
        let older: Vec<_> = older.map(|(entry, _)| entry.clone()).collect();
        match older.is_empty() {
            true => Ok(0),
            false => self.write(caller, &older, deadline),
        }
    }
}

fn pttl(key: &str) -> redis::Cmd {
    let mut pttl = redis::cmd("PTTL");
    pttl.arg(key);
    pttl
}

fn life(reply: &Value) -> Result<Life, Fault> {
    match reply {
        Value::Int(-1) => Ok(Life::Endless),
        Value::Int(left_ms @ 0..) => Ok(Life::Left(Duration::from_millis(*left_ms as u64))),
        Value::Int(_) => Ok(Life::Gone),
        Value::ServerError(error) => match Fault::from_reply(error) {
            // A server that is not ready is not; one that knows or allows no PTTL is well.
            fault @ Fault::NotReady(_) => Err(fault),
            _ => Ok(Life::Unknown),
        },
        _ => Err(Fault::Protocol("PTTL not answered by a number".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life_of(reply: &[u8]) -> Result<Life, Fault> {
        life(&redis::parse_redis_value(reply).expect("a reply"))
    }

    #[test]
    fn a_refused_command_is_no_fault_and_a_server_that_is_not_ready_is() {
        assert_eq!(
            life_of(b":1500\r\n"),
            Ok(Life::Left(Duration::from_millis(1500)))
        );
        assert_eq!(life_of(b":-1\r\n"), Ok(Life::Endless));
        assert_eq!(life_of(b":-2\r\n"), Ok(Life::Gone));
        assert_eq!(
            life_of(b"-ERR unknown command 'PTTL'\r\n"),
            Ok(Life::Unknown)
        );
        assert_eq!(life_of(b"-NOPERM no\r\n"), Ok(Life::Unknown));
        assert!(matches!(
            life_of(b"-LOADING wait\r\n"),
            Err(Fault::NotReady(_))
        ));
        assert!(matches!(life_of(b"$1\r\na\r\n"), Err(Fault::Protocol(_))));
    }
}
