//! The commands about keys: what is sent for each, and what its reply means.

use std::time::Duration;

use redis::{Cmd, Value};

use crate::cache::wire::fault::{Fault, is_about_a_key};

/// A command with one reply.
pub(crate) trait Command {
    /// What the reply means.
    type Answer;

    fn encode(&self) -> Cmd;

    /// # Errors
    /// The [`Fault`] that the reply tells of.
    fn decode(reply: Value) -> Result<Self::Answer, Fault>;
}

/// The command of these words.
pub(crate) fn command(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    for word in words {
        command.arg(word);
    }
    command
}

/// `GET key`: a value, or nothing that can be used, which a value of another type or not UTF-8 is too.
pub(crate) struct Get<'a>(pub &'a str);

/// `SET key value EX seconds`: whether the server took it. `seconds` is never 0, which is an error.
pub(crate) struct Set<'a> {
    pub key: &'a str,
    pub value: &'a str,
    pub seconds: u64,
}

/// `PTTL key`. Optional: where it is refused, nothing is known and nothing else changes.
pub(crate) struct Pttl<'a>(pub &'a str);

/// What is left of a key's life in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyTtl {
    Left(Duration),
    /// The key does not expire.
    Endless,
    /// The key is not there.
    Gone,
    /// Redis does not say.
    Unknown,
}

impl Command for Get<'_> {
    type Answer = Option<String>;

    fn encode(&self) -> Cmd {
        command(&["GET", self.0])
    }

    fn decode(reply: Value) -> Result<Self::Answer, Fault> {
        match reply {
            Value::BulkString(bytes) => Ok(String::from_utf8(bytes).ok()),
            Value::Nil => Ok(None),
            Value::ServerError(error) => match error.code() {
                "WRONGTYPE" => Ok(None),
                "NOPERM" if is_about_a_key(&error) => Ok(None),
                _ => Err(Fault::from_reply(&error)),
            },
            _ => Err(Fault::Protocol("GET not answered by a string".to_owned())),
        }
    }
}

impl Command for Set<'_> {
    type Answer = bool;

    fn encode(&self) -> Cmd {
        let mut set = command(&["SET", self.key, self.value, "EX"]);
        set.arg(self.seconds);
        set
    }

    fn decode(reply: Value) -> Result<bool, Fault> {
        match reply {
            Value::Okay => Ok(true),
            // A key that is not ours to write; others may be.
            Value::ServerError(error) if error.code() == "NOPERM" && is_about_a_key(&error) => {
                Ok(false)
            }
            Value::ServerError(error) => Err(match Fault::from_reply(&error) {
                // A user that may only read is served all the same.
                Fault::Misconfigured(reply) if error.code() == "NOPERM" => {
                    Fault::WriteRefused(reply)
                }
                fault => fault,
            }),
            _ => Err(Fault::Protocol("SET not answered OK".to_owned())),
        }
    }
}

impl Command for Pttl<'_> {
    type Answer = KeyTtl;

    fn encode(&self) -> Cmd {
        command(&["PTTL", self.0])
    }

    fn decode(reply: Value) -> Result<KeyTtl, Fault> {
        match reply {
            Value::Int(-1) => Ok(KeyTtl::Endless),
            Value::Int(left_ms @ 0..) => Ok(KeyTtl::Left(Duration::from_millis(left_ms as u64))),
            Value::Int(_) => Ok(KeyTtl::Gone),
            Value::ServerError(error) => match Fault::from_reply(&error) {
                // A server that is not ready is not well; one that knows or allows no PTTL is.
                fault @ Fault::NotReady(_) => Err(fault),
                _ => Ok(KeyTtl::Unknown),
            },
            _ => Err(Fault::Protocol("PTTL not answered by a number".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ttl(reply: &[u8]) -> Result<KeyTtl, Fault> {
        Pttl::decode(redis::parse_redis_value(reply).expect("a reply"))
    }

    #[test]
    fn a_refused_pttl_is_no_fault_and_a_server_that_is_not_ready_is() {
        let left = KeyTtl::Left(Duration::from_millis(1500));
        assert_eq!(ttl(b":1500\r\n"), Ok(left));
        assert_eq!(ttl(b":-1\r\n"), Ok(KeyTtl::Endless));
        assert_eq!(ttl(b":-2\r\n"), Ok(KeyTtl::Gone));
        let unknown = b"-ERR unknown command 'PTTL'\r\n";
        assert_eq!(ttl(unknown), Ok(KeyTtl::Unknown));
        assert_eq!(ttl(b"-NOPERM no\r\n"), Ok(KeyTtl::Unknown));
        assert!(matches!(ttl(b"-LOADING wait\r\n"), Err(Fault::NotReady(_))));
        assert!(matches!(ttl(b"$1\r\na\r\n"), Err(Fault::Protocol(_))));
    }
}
