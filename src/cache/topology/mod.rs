//! The thread that finds out which nodes there are: it asks the Sentinels, or the nodes of a cluster,
//! every now and then and whenever the notify rings, and puts a new table in force. It waits for servers
//! so that no lookup has to.

pub(crate) mod cluster;
pub(crate) mod sentinel;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use log::error;

use crate::base::clock;
use crate::base::notify::Notify;
use crate::cache::RedisCache;
use crate::cache::topology::cluster::ClusterTopology;
use crate::cache::topology::sentinel::SentinelTopology;
use crate::config::{self, Servers};
use crate::observe::metrics::Metrics;

/// How long something new that is wrong is looked at more often.
const ALERT_FOR: Duration = Duration::from_secs(15);

/// How much time there is between two rounds.
pub(crate) struct Pace {
    /// However often the notify rings.
    pub rest: Duration,
    /// While all is well.
    pub calm: Duration,
    /// While something is wrong, in its first seconds.
    pub alert: Duration,
    /// While something has been wrong for long.
    pub patient: Duration,
}

/// What goes round.
pub(crate) trait Discovery: Send {
    /// How often.
    fn pace(&self) -> Pace;

    /// Asks, and puts in force what it has learned. Whether all is well.
    fn refresh(&mut self) -> bool;
}

/// The topology thread; ends when dropped.
pub(crate) struct Topology {
    notify: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Topology {
    /// Starts it, if there is anything to find out. `probe_key` is read of a server before it is used.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(
        cache: &Arc<RedisCache>,
        redis: &config::Redis,
        probe_key: &str,
    ) -> std::io::Result<Option<Self>> {
        let cache = Arc::clone(cache);
        let notify = Arc::clone(&cache.factory.notify);
        let metrics = Arc::clone(&cache.factory.metrics);
        let mut rounds: Box<dyn Discovery> = match &redis.servers {
            Servers::Single { .. } => return Ok(None),
            Servers::Sentinel {
                nodes,
                master,
                login,
                ..
            } => Box::new(SentinelTopology::new(
                cache, nodes, login, master, probe_key,
            )),
            Servers::Cluster { nodes } => Box::new(ClusterTopology::new(cache, nodes)),
        };
        let rung = Arc::clone(&notify);
        let thread = thread::Builder::new()
            .name("topology".to_owned())
            .spawn(move || run(&rung, &metrics, &mut *rounds))?;
        Ok(Some(Self {
            notify,
            thread: Some(thread),
        }))
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        self.notify.end();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Round after round.
fn run(notify: &Notify, metrics: &Metrics, rounds: &mut dyn Discovery) {
    let pace = rounds.pace();
    let mut wrong_since: Option<Instant> = None;
    loop {
        let is_well = catch_unwind(AssertUnwindSafe(|| rounds.refresh())).unwrap_or_else(|_| {
            metrics.panics.inc();
            error!("the topology thread panicked; it lives on");
            false
        });
        let now = clock::now();
        let pause = if is_well {
            wrong_since = None;
            pace.calm
        } else {
            let since = *wrong_since.get_or_insert(now);
            match now.saturating_duration_since(since) < ALERT_FOR {
                true => pace.alert,
                false => pace.patient,
            }
        };
        // Jitter of a tenth: many instances must not ask at once.
        if !notify.wait(pace.rest, pause.mul_f64(0.9 + fastrand::f64() * 0.2)) {
            return;
        }
    }
}
