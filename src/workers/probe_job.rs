//! The probe job: a few microseconds of work that any worker does between two batches, before whatever
//! waits. It shows that the workers work, and waits behind nothing that is only slow.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::base::queue::Job;
use crate::policy::Policy;

/// Work for the next worker that comes by. It is dropped without having been run by a queue that takes
/// no more.
pub(crate) struct ProbeJob(Job);

impl ProbeJob {
    /// `work` must not wait for anything.
    pub(crate) fn new(work: impl FnOnce() + Send + 'static) -> Self {
        // A panic in it costs the worker nothing; the hook has logged it.
        Self(Box::new(|| {
            let _ = catch_unwind(AssertUnwindSafe(work));
        }))
    }
}

/// Sends a probe job through the workers: a reader takes it, and hands it to a filler if one is at rest.
/// Readers are held by nothing longer than `[redis] timeout`; fillers may all be held by a source
/// that hangs, which is no fault of theirs, and then `Progress` tells whether they are stuck.
pub(crate) fn send(policy: &Arc<Policy>, job: ProbeJob) {
    let on = Arc::clone(policy);
    let through_reader = ProbeJob::new(move || {
        if let Err(job) = on.fills.send_to_idle(job.0) {
            job();
        }
    });
    // Refused is dropped: whoever waits for it hears of that.
    drop(policy.reads.send(through_reader.0));
}
