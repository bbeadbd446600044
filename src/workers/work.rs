//! The four kinds of workers: what each takes from which queue, and which step of the policy it does
//! with it.

use std::sync::Arc;
use std::time::Duration;

use crate::base::queue::Queue;
use crate::cache::port::Cache;
use crate::policy::flight::Target;
use crate::policy::{Fill, Policy, Read, WriteBack};

/// Values of one write to Redis, at most.
const WRITE_BATCH_MAX: usize = 64;
/// Keys whose ttl is asked for in one go, at most.
const TTL_BATCH_MAX: usize = 64;
/// Between two looks of the upkeep whether there is anything to do.
const UPKEEP_REST: Duration = Duration::from_millis(500);
/// The same, while values wait for a Redis that is away.
const RECOVER_LOOK: Duration = Duration::from_millis(100);

/// What a thread does, batch after batch of its queue, until that is closed.
pub(super) trait Work: Send + 'static {
    type Item;

    fn queue(&self) -> &Queue<Self::Item>;

    /// Items that it takes at once, at most.
    fn batch_max(&self) -> usize;

    /// Does what was taken. Whatever it leaves of it is dropped.
    fn run(&mut self, batch: &mut Vec<Self::Item>);

    /// [`Self::run`] has panicked.
    fn broke_off(&mut self) {}

    /// Called between two turns: how long to wait for items before [`Self::is_due`] is asked.
    fn rest(&mut self) -> Duration {
        Duration::MAX
    }

    /// Whether [`Self::run`] has something to do without items.
    fn is_due(&self) -> bool {
        false
    }

    /// The queue is closed and empty.
    fn end(&mut self) {}
}

/// Asks Redis for batches of lookups.
pub(super) struct Reader {
    pub policy: Arc<Policy>,
    /// Its number among the threads that call Redis.
    pub caller: usize,
    pub batch_max: usize,
}

impl Work for Reader {
    type Item = Read;

    fn queue(&self) -> &Queue<Read> {
        &self.policy.reads
    }

    fn batch_max(&self) -> usize {
        self.policy.cache().limits().batch_max(self.batch_max)
    }

    /// After a panic what is left of the batch is answered with 503 by being dropped.
    fn run(&mut self, batch: &mut Vec<Read>) {
        self.policy.read(self.caller, batch);
    }
}

/// Asks a source for one key at a time.
pub(super) struct Filler {
    pub policy: Arc<Policy>,
    /// What it is at.
    pub target: Option<Target>,
}

impl Work for Filler {
    type Item = Fill;

    fn queue(&self) -> &Queue<Fill> {
        &self.policy.fills
    }

    fn batch_max(&self) -> usize {
        1
    }

    fn run(&mut self, batch: &mut Vec<Fill>) {
        for fill in batch.drain(..) {
            self.target = Some(fill.target.clone());
            self.policy.fetch(fill);
        }
    }

    fn broke_off(&mut self) {
        if let Some(target) = self.target.take() {
            self.policy.abandon(&target);
        }
    }
}

/// Writes to Redis what was fetched.
pub(super) struct Writer {
    pub policy: Arc<Policy>,
    pub caller: usize,
}

impl Work for Writer {
    type Item = WriteBack;

    fn queue(&self) -> &Queue<WriteBack> {
        &self.policy.writes
    }

    fn batch_max(&self) -> usize {
        WRITE_BATCH_MAX
    }

    fn run(&mut self, batch: &mut Vec<WriteBack>) {
        self.policy.write(self.caller, batch);
    }
}

/// Looks after what nears its end in Redis, and after what a Redis that is back has missed.
pub(super) struct Upkeep {
    pub policy: Arc<Policy>,
    pub caller: usize,
    /// How long it has to rest after what it did last.
    pub pause: Option<Duration>,
}

impl Work for Upkeep {
    type Item = Target;

    fn queue(&self) -> &Queue<Target> {
        &self.policy.ttls
    }

    fn batch_max(&self) -> usize {
        TTL_BATCH_MAX
    }

    fn run(&mut self, batch: &mut Vec<Target>) {
        if !batch.is_empty() {
            self.policy.refresh_due(self.caller, batch);
        }
        self.pause = Some(self.policy.recover(self.caller));
    }

    fn rest(&mut self) -> Duration {
        self.policy.report_outages();
        match self.pause.take() {
            Some(pause) => pause,
            None if !self.policy.recovery.is_empty() => RECOVER_LOOK,
            None => UPKEEP_REST,
        }
    }

    fn is_due(&self) -> bool {
        self.policy.can_recover()
    }

    fn end(&mut self) {
        self.policy.recover_at_the_end(self.caller);
        self.policy.report_outages();
    }
}
