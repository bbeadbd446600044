//! Writing values back to Redis. It happens after the client was answered, so a refused write costs
//! nobody anything: it is said once, and tried again after a pause.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{info, warn};
use redis::{Cmd, Value};

use crate::base::clock::{self, Deadline};
use crate::cache::node::{CallOptions, Node, Reply, elapsed};
use crate::cache::routing::fan_out::FanOut;
use crate::cache::routing::hash_slot::HashSlot;
use crate::cache::wire::connection::REPLY_MAX_BYTES;
use crate::cache::wire::fault::{Fault, Step, is_about_a_key};
use crate::cache::{RedisCache, Unusable};
use crate::observe::metrics::RedisOp;

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
pub(crate) struct Writes {
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

impl RedisCache {
    /// Writes `entries` on behalf of thread `caller`, each node's in one go.
    pub fn write(&self, caller: usize, entries: &[Entry<'_>], deadline: Deadline) -> Written {
        let (mut parts, unserved) =
            FanOut::of(self, 0..entries.len(), |&at| HashSlot::of(entries[at].key));
        let mut written = Written {
            taken: 0,
            refused: unserved,
        };
        while let Some(part) = parts.take() {
            let hops = part.hops();
            let own: Vec<_> = part.items.iter().map(|&at| &entries[at]).collect();
            let options = CallOptions {
                caller,
                waiting: None,
                deadline,
                asking: part.asking,
            };
            let Ok(taken) = part.node.write(&own, options) else {
                written.refused.extend(part.items);
                continue;
            };
            let mut elsewhere = Vec::new();
            for (at, taken) in part.items.into_iter().zip(taken) {
                match taken {
                    Reply::Here(taken) => written.taken += usize::from(taken),
                    Reply::Elsewhere(redirect) => elsewhere.push((at, redirect)),
                    Reply::Nowhere => written.refused.push(at),
                }
            }
            written.refused.extend(parts.send_on(self, hops, elsewhere));
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

    /// Whether it refused the last write that was tried.
    #[must_use]
    pub fn refuses_writes(&self) -> bool {
        self.writes.lock().is_some()
    }

    /// Writes `entries` in one go; whether it took each of them.
    ///
    /// # Errors
    /// [`Unusable`] when it is not to be asked, takes no writes now, or the call failed.
    fn write(
        &self,
        entries: &[&Entry<'_>],
        options: CallOptions,
    ) -> Result<Vec<Reply<bool>>, Unusable> {
        let now = clock::now();
        if !self.takes_writes(now) {
            return Err(Unusable);
        }
        let permit = self.permit(now).ok_or(Unusable)?;
        let commands: Vec<_> = entries.iter().map(|entry| set(entry)).collect();
        let written = self.on_a_connection(RedisOp::Write, options, |lease| {
            let sent = commands.iter().flatten().cloned().collect();
            let mut replies = Self::exchange(lease, sent, REPLY_MAX_BYTES, options)?.into_iter();
            let outcome = |command: &Option<Cmd>| match command {
                Some(_) => Reply::of(self, replies.next().unwrap_or(Value::Nil), taken),
                None => Ok(Reply::Here(false)),
            };
            commands.iter().map(outcome).collect()
        });
        match written {
            Ok(written) => {
                self.upkeep_succeeded(permit, now);
                self.writes_are_taken();
                Ok(written)
            }
            Err(fault @ (Fault::WriteRefused(_) | Fault::ReadOnly(_))) => {
                if matches!(fault, Fault::ReadOnly(_)) {
                    self.notify.notify();
                }
                self.writes_are_refused(&fault, commands.len());
                Err(Unusable)
            }
            // Reads are well: what hangs are writes (CLIENT PAUSE WRITE, a blocked disk).
            Err(fault @ Fault::TimedOut(Step::Reply)) if self.reads_go_on(now) => {
                self.writes_are_refused(&fault, commands.len());
                Err(Unusable)
            }
            Err(fault) => {
                self.failed(permit, &fault);
                Err(Unusable)
            }
        }
    }

    /// Whether something has succeeded since `began`, and a moment ago.
    fn reads_go_on(&self, began: Instant) -> bool {
        let last_success = self.report().last_success;
        let patience = self.limits.patience();
        last_success.is_some_and(|at| at > began && elapsed(at) < patience)
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
                "redis takes writes again after {:.1} s, in which {} were tried and refused; what waited \
                 for it is written now",
                elapsed(refused.since).as_secs_f64(),
                refused.count,
            );
        }
    }
}

/// `SET key value EX seconds`, or nothing for a life below a second: `EX 0` is an error.
fn set(entry: &Entry<'_>) -> Option<Cmd> {
    let seconds = entry.ttl.as_secs();
    (seconds > 0).then(|| {
        let mut set = redis::cmd("SET");
        set.arg(entry.key).arg(entry.value).arg("EX").arg(seconds);
        set
    })
}

/// Whether it was taken: what a reply to SET means.
fn taken(reply: Value) -> Result<bool, Fault> {
    match reply {
        Value::Okay => Ok(true),
        // A key that is not ours to write; others may be.
        Value::ServerError(error) if error.code() == "NOPERM" && is_about_a_key(&error) => {
            Ok(false)
        }
        Value::ServerError(error) => Err(match Fault::from_reply(&error) {
            // A user that may read alone is served all the same.
            Fault::Misconfigured(reply) if error.code() == "NOPERM" => Fault::WriteRefused(reply),
            fault => fault,
        }),
        _ => Err(Fault::Protocol("SET not answered OK".to_owned())),
    }
}
