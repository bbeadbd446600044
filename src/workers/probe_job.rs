//! A probe job: a few microseconds of work that any worker does between two items, before whatever
//! waits. It shows that the workers work, and waits behind nothing that is only slow.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::policy::Policy;

/// Work for the next worker that comes by. Dropped without having been run by a queue that takes no
/// more.
pub(crate) struct ProbeJob(Box<dyn FnOnce() + Send>);

impl ProbeJob {
    /// That runs `work`, which must not wait for anything.
    #[must_use]
    pub(crate) fn new(work: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(work))
    }

    /// Runs it. A panic in it costs the worker nothing; the hook has logged it.
    pub(crate) fn run(self) {
        let _ = catch_unwind(AssertUnwindSafe(self.0));
    }
}

impl fmt::Debug for ProbeJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProbeJob")
    }
}

/// Sends `probe job` through the workers: a reader takes it, and hands it to a filler if one is at rest.
/// Readers are held by nothing longer than `[redis] timeout`; fillers may all be held by a source
/// that hangs, which is no fault of theirs, and then `Progress` tells whether they are stuck.
pub(crate) fn send(lookups: &Arc<Policy>, job: ProbeJob) {
    let on = Arc::clone(lookups);
    let through_reader = ProbeJob::new(move || {
        if let Err(job) = on.fills.send(job) {
            job.run();
        }
    });
    // Refused is dropped: whoever waits for it hears of that.
    drop(lookups.reads.send(through_reader));
}
