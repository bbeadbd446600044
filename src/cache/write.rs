//! Writing values back to Redis. It happens after the client was answered, so a refused write costs
//! nobody anything: it is said once, and tried again after a pause.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{info, warn};
use redis::Value;

use super::fault::{Fault, is_about_a_key};
use super::node::{Node, Terms};
use super::parts::Parts;
use super::slots::Slot;
use super::{Cache, Unusable};
use crate::clock::{self, Deadline};
use crate::metrics::RedisOp;

/// How long writes rest after Redis has refused one: reads go on meanwhile.
const PAUSE: Duration = Duration::from_secs(1);

/// One value to be written.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Whole key, prefix included.
    pub key: &'a str,
    /// The bare value.
    pub value: &'a str,
    /// Its remaining life; below a second nothing is written.
    pub ttl: Duration,
}

/// Whether a node takes writes.
#[derive(Debug, Default)]
pub struct Writes {
    /// Guards the state of being refused.
    refused: Mutex<Option<Refused>>,
}

#[derive(Debug)]
struct Refused {
    since: Instant,
    paused_until: Instant,
    count: u64,
}

impl Writes {
    fn lock(&self) -> MutexGuard<'_, Option<Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of entries that were to be written.
#[derive(Debug, Default)]
pub struct Written {
    /// How many Redis took.
    pub taken: usize,
    /// Places of those that were not to be had rid of now: worth trying later.
    pub refused: Vec<usize>,
}

impl Cache {
    /// Writes `entries` on behalf of thread `caller`, each node's in one go.
    pub fn write(&self, caller: usize, entries: &[Entry<'_>], deadline: Deadline) -> Written {
        let mut written = Written::default();
        let table = self.table();
        let (parts, unserved) =
            Parts::of(&table, 0..entries.len(), |&at| Slot::of(entries[at].key));
        written.refused = unserved;
        for part in parts {
            let own: Vec<_> = part.items.iter().map(|&at| &entries[at]).collect();
            match part.node.write(caller, &own, deadline) {
                Ok(taken) => written.taken += taken,
                Err(Unusable) => written.refused.extend(part.items),
            }
        }
        written
    }
}

impl Node {
    /// Whether a write would be tried now.
    #[must_use]
    pub fn takes_writes(&self, now: Instant) -> bool {
        let paused = matches!(&*self.writes.lock(), Some(refused) if now < refused.paused_until);
        !paused && self.is_usable(now)
    }

    /// Writes `entries` in one go on behalf of thread `caller`; returns how many it took.
    ///
    /// # Errors
    /// [`Unusable`] when it is not to be asked, takes no writes now, or the call failed.
    pub(super) fn write(
        &self,
        caller: usize,
        entries: &[&Entry<'_>],
        deadline: Deadline,
    ) -> Result<usize, Unusable> {
        let now = clock::now();
        if !self.takes_writes(now) {
            return Err(Unusable);
        }
        let commands: Vec<_> = entries.iter().filter_map(|entry| set(entry)).collect();
        let permit = self.permit(now).ok_or(Unusable)?;
        let terms = Terms {
            caller,
            lookups: 1,
            deadline,
        };
        let written = self.on_a_connection(RedisOp::Write, terms, |drawn| {
            taken(&drawn.link()?.call(&commands, deadline)?)
        });
        match written {
            Ok(written) => {
                self.succeeded(permit);
                self.writes_are_taken();
                Ok(written)
            }
            Err(fault @ (Fault::WriteRefused(_) | Fault::ReadOnly(_))) => {
                if matches!(fault, Fault::ReadOnly(_)) {
                    self.bell.ring();
                }
                self.writes_are_refused(&fault, commands.len());
                Err(Unusable)
            }
            Err(fault) => {
                self.failed(permit, &fault);
                Err(Unusable)
            }
        }
    }

    fn writes_are_refused(&self, fault: &Fault, count: usize) {
        let now = clock::now();
        let mut refused = self.writes.lock();
        match &mut *refused {
            Some(refused) => {
                refused.count += count as u64;
                refused.paused_until = now + PAUSE;
            }
            none => {
                *none = Some(Refused {
                    since: now,
                    paused_until: now + PAUSE,
                    count: count as u64,
                });
                warn!(
                    "redis at {} takes no writes: {fault}; hits are served from it all the same",
                    self.address
                );
            }
        }
    }

    fn writes_are_taken(&self) {
        if let Some(refused) = self.writes.lock().take() {
            info!(
                "redis takes writes again after {:.1} s; {} were refused",
                clock::now()
                    .saturating_duration_since(refused.since)
                    .as_secs_f64(),
                refused.count,
            );
        }
    }
}

/// `SET key value EX seconds`, or nothing for a life below a second: `EX 0` is an error.
fn set(entry: &Entry<'_>) -> Option<redis::Cmd> {
    let seconds = entry.ttl.as_secs();
    (seconds > 0).then(|| {
        let mut set = redis::cmd("SET");
        set.arg(entry.key).arg(entry.value).arg("EX").arg(seconds);
        set
    })
}

/// How many replies are OK; the first fault, if there is one.
fn taken(replies: &[Value]) -> Result<usize, Fault> {
    let mut written = 0;
    for reply in replies {
        match reply {
            Value::Okay => written += 1,
            // A key that is not ours to write; others may be.
            Value::ServerError(error) if error.code() == "NOPERM" && is_about_a_key(error) => {}
            Value::ServerError(error) => {
                return Err(match Fault::from_reply(error) {
                    // A user that may read alone is served all the same.
                    Fault::Misconfigured(reply) if error.code() == "NOPERM" => {
                        Fault::WriteRefused(reply)
                    }
                    fault => fault,
                });
            }
            _ => return Err(Fault::Protocol("SET not answered OK".to_owned())),
        }
    }
    Ok(written)
}
