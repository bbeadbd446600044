//! The threads that walk the lookups through the policy: readers, fillers, one writer, one for the
//! upkeep. Their number is fixed by the configuration. Each takes from its queue until that is closed; a
//! panic in one costs the requests it held a 503 and nothing else.

pub(crate) mod probe_job;
mod progress;
mod work;

#[cfg(test)]
mod tests;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use log::error;

use crate::base::clock;
use crate::base::queue::Taken;
use crate::observe::metrics::Metrics;
use crate::policy::Policy;
use work::{Filler, Reader, Upkeep, Work, Writer};

pub(crate) use progress::Progress;

/// The running threads.
pub(crate) struct Workers {
    policy: Arc<Policy>,
    threads: Vec<JoinHandle<()>>,
    progress: Arc<Progress>,
}

/// What a worker thread knows of itself.
struct Thread {
    number: usize,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
}

impl Workers {
    /// How many threads call Redis with so many readers: they, the writer and the upkeep.
    pub(crate) fn callers(readers: usize) -> usize {
        readers + 2
    }

    /// Starts `readers` readers, `fillers` fillers, the writer and the upkeep.
    ///
    /// # Errors
    /// When a thread is not to be had; those already started end with the returned error.
    pub(crate) fn start(
        policy: &Arc<Policy>,
        metrics: &Arc<Metrics>,
        readers: usize,
        fillers: usize,
        batch_max: usize,
    ) -> io::Result<Self> {
        let names = (0..readers).map(|reader| format!("reader-{reader}"));
        let names = names.chain((0..fillers).map(|filler| format!("filler-{filler}")));
        let names = names.chain(["writer".to_owned(), "upkeep".to_owned()]);
        let mut workers = Self {
            policy: Arc::clone(policy),
            threads: Vec::with_capacity(readers + fillers + 2),
            progress: Arc::new(Progress::new(names.collect(), clock::now())),
        };
        let policy = || Arc::clone(policy);
        for caller in 0..readers {
            let reader = Reader {
                policy: policy(),
                caller,
                batch_max,
            };
            workers.spawn(metrics, reader)?;
        }
        for _ in 0..fillers {
            let filler = Filler {
                policy: policy(),
                target: None,
            };
            workers.spawn(metrics, filler)?;
        }
        let writer = Writer {
            policy: policy(),
            caller: readers,
        };
        workers.spawn(metrics, writer)?;
        let upkeep = Upkeep {
            policy: policy(),
            caller: readers + 1,
            pause: None,
        };
        workers.spawn(metrics, upkeep)?;
        Ok(workers)
    }

    /// How long each thread has been at what it does.
    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Starts the next thread.
    fn spawn(&mut self, metrics: &Arc<Metrics>, work: impl Work) -> io::Result<()> {
        let thread = Thread {
            number: self.threads.len(),
            progress: Arc::clone(&self.progress),
            metrics: Arc::clone(metrics),
        };
        let name = self.progress.name(thread.number).to_owned();
        let handle = thread::Builder::new()
            .name(name)
            .spawn(move || thread.walk(work))?;
        self.threads.push(handle);
        Ok(())
    }

    /// Takes no more work and waits for what is under way, but not beyond `limit`: a thread that a
    /// source holds is left to the end of the process.
    pub(crate) fn end(mut self, limit: Instant) {
        self.close();
        while clock::now() < limit && self.threads.iter().any(|thread| !thread.is_finished()) {
            thread::park_timeout(Duration::from_millis(5));
        }
        self.threads.retain(|thread| thread.is_finished());
    }

    fn close(&self) {
        self.policy.reads.close();
        self.policy.fills.close();
        self.policy.writes.close();
        self.policy.ttls.close();
    }
}

impl Drop for Workers {
    /// Closes the queues and waits for the threads to finish what they have.
    fn drop(&mut self) {
        self.close();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Thread {
    /// Does `work` until its queue is closed.
    fn walk<W: Work>(&self, mut work: W) {
        let mut batch = Vec::new();
        loop {
            let rest = work.rest();
            let taken = work.queue().take(work.batch_max(), rest, &mut batch);
            match taken {
                Taken::From(_) => {}
                Taken::Nothing if work.is_due() => {}
                Taken::Nothing => continue,
                Taken::Closed => {
                    self.turn(|| work.end());
                    return;
                }
            }
            let began = clock::now();
            if !self.turn(|| work.run(&mut batch)) {
                self.turn(|| work.broke_off());
            }
            batch.clear();
            if let Taken::From(lane) = taken {
                let took = clock::now().saturating_duration_since(began);
                work.queue().done(lane, took);
            }
        }
    }

    /// Does one piece of work; false: it has panicked.
    fn turn(&self, work: impl FnOnce()) -> bool {
        self.progress.begin(self.number, clock::now());
        let finished = catch_unwind(AssertUnwindSafe(work)).is_ok();
        self.progress.end(self.number);
        if !finished {
            self.metrics.panics.inc();
            error!("a worker thread panicked; it lives on, its requests got a 503");
        }
        finished
    }
}
