//! The threads that walk the lookups through the policy: readers, fillers, one writer, one for the
//! upkeep. Their number
//! is fixed by the configuration. Each takes from its queue until that is closed; a panic in one
//! costs the requests it held a 503 and nothing else.

pub(crate) mod probe_job;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use log::error;

use crate::base::clock;
use crate::observe::metrics::Metrics;
use crate::policy::Policy;

/// Values of one write to Redis, at most.
const WRITE_BATCH_MAX: usize = 64;
/// Keys whose lives are looked at in one go, at most.
const LIFE_BATCH_MAX: usize = 64;
/// Between two looks of the upkeep whether there is anything to do.
const UPKEEP_REST: Duration = Duration::from_millis(500);
/// The same, while values wait for a Redis that is away.
const RECOVER_LOOK: Duration = Duration::from_millis(100);

/// The running threads.
pub(crate) struct Workers {
    lookups: Arc<Policy>,
    threads: Vec<JoinHandle<()>>,
    progress: Arc<Progress>,
}

/// Since when each thread has been at what it does.
#[derive(Debug)]
pub(crate) struct Progress {
    born: Instant,
    names: Box<[String]>,
    /// Milliseconds since `born` at which the work began, plus one; 0: at rest.
    busy_since: Box<[AtomicU64]>,
    /// Pieces of work that all threads together have finished.
    finished: AtomicU64,
}

impl Progress {
    fn new(names: Box<[String]>) -> Self {
        Self {
            born: clock::now(),
            busy_since: names.iter().map(|_| AtomicU64::new(0)).collect(),
            names,
            finished: AtomicU64::new(0),
        }
    }

    fn begin(&self, thread: usize) {
        let since = clock::now()
            .saturating_duration_since(self.born)
            .as_millis() as u64
            + 1;
        self.busy_since[thread].store(since, Ordering::Relaxed);
    }

    fn end(&self, thread: usize) {
        self.busy_since[thread].store(0, Ordering::Relaxed);
        self.finished.fetch_add(1, Ordering::Relaxed);
    }

    /// How many pieces of work the threads have finished so far.
    #[must_use]
    pub(crate) fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }

    /// The thread that has been busy the longest, and how long. Nobody is busy: no time at all.
    #[must_use]
    pub(crate) fn longest(&self, now: Instant) -> (&str, Duration) {
        let elapsed = now.saturating_duration_since(self.born).as_millis() as u64 + 1;
        let since = self.busy_since.iter().map(|at| at.load(Ordering::Relaxed));
        let busy = self.names.iter().zip(since).filter(|&(_, at)| at > 0);
        let longest = busy.min_by_key(|&(_, at)| at);
        longest.map_or(("", Duration::ZERO), |(name, at)| {
            (name, Duration::from_millis(elapsed.saturating_sub(at)))
        })
    }
}

impl Workers {
    /// How many threads call Redis with so many readers: they, the writer and the upkeep.
    #[must_use]
    pub(crate) fn callers(readers: usize) -> usize {
        readers + 2
    }

    /// Starts `readers` readers, `fillers` fillers, the writer and the upkeep.
    ///
    /// # Errors
    /// When a thread is not to be had; those already started end with the returned error.
    pub(crate) fn start(
        lookups: &Arc<Policy>,
        metrics: &Arc<Metrics>,
        readers: usize,
        fillers: usize,
        batch_max: usize,
    ) -> io::Result<Self> {
        let names = (0..readers).map(|reader| format!("reader-{reader}"));
        let names = names.chain((0..fillers).map(|filler| format!("filler-{filler}")));
        let names = names.chain(["writer".to_owned(), "upkeep".to_owned()]);
        let mut workers = Self {
            lookups: Arc::clone(lookups),
            threads: Vec::with_capacity(readers + fillers + 2),
            progress: Arc::new(Progress::new(names.collect())),
        };
        let started = (|| {
            for reader in 0..readers {
                let mut batch = Vec::new();
                workers.spawn(metrics, move |lookups, work| {
                    let batch_max = lookups.cache().limits().batch_max(batch_max);
                    let Some(lane) = lookups.reads.take(batch_max, &mut batch) else {
                        return false;
                    };
                    work(&mut || lookups.read(reader, &mut batch));
                    // After a panic what is left of the batch is answered with 503 by being dropped.
                    batch.clear();
                    lookups.reads.done(lane);
                    true
                })?;
            }
            for _ in 0..fillers {
                workers.spawn(metrics, move |lookups, work| {
                    let Some((lane, fill)) = lookups.fills.take() else {
                        return false;
                    };
                    let began = clock::now();
                    let target = fill.target.clone();
                    let mut fill = Some(fill);
                    let finished = work(&mut || {
                        if let Some(fill) = fill.take() {
                            lookups.fetch(fill);
                        }
                    });
                    if !finished {
                        work(&mut || lookups.abandon(&target));
                    }
                    lookups
                        .fills
                        .done(lane, clock::now().saturating_duration_since(began));
                    true
                })?;
            }
            let mut batch = Vec::new();
            workers.spawn(metrics, move |lookups, work| {
                if !lookups.writes.take(WRITE_BATCH_MAX, &mut batch) {
                    return false;
                }
                work(&mut || lookups.write(readers, &mut batch));
                batch.clear();
                true
            })?;
            let (mut batch, mut rest) = (Vec::new(), UPKEEP_REST);
            workers.spawn(metrics, move |lookups, work| {
                let is_open = lookups.lives.take_within(LIFE_BATCH_MAX, &mut batch, rest);
                rest = UPKEEP_REST;
                if !is_open {
                    work(&mut || lookups.recover_at_the_end(readers + 1));
                } else if !batch.is_empty() || lookups.can_recover() {
                    work(&mut || rest = lookups.upkeep(readers + 1, &mut batch));
                } else if !lookups.recovery.is_empty() {
                    rest = RECOVER_LOOK;
                }
                lookups.report_outages();
                batch.clear();
                is_open
            })
        })();
        started.map(|()| workers)
    }

    /// How long each thread has been at what it does.
    #[must_use]
    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Starts the next thread, which calls `step` until it returns false. `step` runs its work through the
    /// function it is handed, which catches panics and tells whether there was none.
    fn spawn(
        &mut self,
        metrics: &Arc<Metrics>,
        mut step: impl FnMut(&Policy, &dyn Fn(&mut dyn FnMut()) -> bool) -> bool + Send + 'static,
    ) -> io::Result<()> {
        let number = self.threads.len();
        let lookups = Arc::clone(&self.lookups);
        let progress = Arc::clone(&self.progress);
        let metrics = Arc::clone(metrics);
        let name = progress.names[number].clone();
        let thread = thread::Builder::new().name(name).spawn(move || {
            let work = |work: &mut dyn FnMut()| {
                progress.begin(number);
                let finished = catch_unwind(AssertUnwindSafe(work)).is_ok();
                progress.end(number);
                if !finished {
                    metrics.panics.inc();
                    error!("a worker thread panicked; it lives on, its requests got a 503");
                }
                finished
            };
            while step(&lookups, &work) {}
        })?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Workers {
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
        self.lookups.reads.close();
        self.lookups.fills.close();
        self.lookups.writes.close();
        self.lookups.lives.close();
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
