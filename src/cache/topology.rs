//! The thread that finds out which nodes there are: it asks the Sentinels, or the nodes of a cluster,
//! every now and then and whenever the bell rings, and puts a new table in force. It waits for servers
//! so that no lookup has to.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use log::{error, info, warn};

use super::Cache;
use super::bell::Bell;
use super::fault::Fault;
use super::prober::probe;
use super::sentinel::{self, Opinion, Sentinels};
use super::status::Guide;
use super::table::Table;
use crate::breaker::State;
use crate::clock;
use crate::config::{self, HostPort, RedisAddress, Servers};

/// Between two rounds, however often the bell rings.
const REST: Duration = Duration::from_millis(50);
/// Between two rounds while all is well.
const CALM: Duration = Duration::from_millis(500);
/// Between two rounds while something is wrong, in its first seconds.
const ALERT: Duration = Duration::from_millis(100);
/// How long something new that is wrong is looked at more often.
const ALERT_FOR: Duration = Duration::from_secs(15);

/// The topology thread; ends when dropped.
pub struct Topology {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

impl Topology {
    /// Starts it, if there is anything to find out. `probe_key` is read of a server before it is used.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(
        cache: &Arc<Cache>,
        redis: &config::Redis,
        probe_key: &str,
    ) -> std::io::Result<Option<Self>> {
        let Servers::Sentinel {
            nodes,
            master,
            login,
            ..
        } = &redis.servers
        else {
            return Ok(None);
        };
        let sentinels = nodes.iter().map(|node| {
            let dial = cache.blueprint.sentinel(node, login);
            (node.to_string(), dial)
        });
        let mut guided = Guided {
            cache: Arc::clone(cache),
            sentinels: Sentinels::new(master.clone(), sentinels),
            following: Following {
                name: master.clone(),
                probe_key: probe_key.to_owned(),
                master: None,
                epoch: 0,
                said: None,
            },
        };
        let bell = Arc::clone(&cache.blueprint.bell);
        let rung = Arc::clone(&bell);
        let thread = thread::Builder::new()
            .name("topology".to_owned())
            .spawn(move || run(&rung, || guided.round()))?;
        Ok(Some(Self {
            bell,
            thread: Some(thread),
        }))
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        self.bell.end();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Round after round; `round` tells whether all is well.
fn run(bell: &Bell, mut round: impl FnMut() -> bool) {
    let mut wrong_since: Option<Instant> = None;
    loop {
        let is_well = round();
        let now = clock::now();
        let pause = match is_well {
            true => {
                wrong_since = None;
                CALM
            }
            false => {
                let since = *wrong_since.get_or_insert(now);
                match now.saturating_duration_since(since) < ALERT_FOR {
                    true => ALERT,
                    false => CALM,
                }
            }
        };
        // Jitter of a tenth: many instances must not ask at once.
        if !bell.wait(REST, pause.mul_f64(0.9 + fastrand::f64() * 0.2)) {
            return;
        }
    }
}

/// A master that Sentinels name.
struct Guided {
    cache: Arc<Cache>,
    sentinels: Sentinels,
    following: Following,
}

/// What is followed of what they say.
struct Following {
    name: String,
    probe_key: String,
    /// The master in use.
    master: Option<HostPort>,
    /// Of the opinion that named it.
    epoch: u64,
    /// What was said last about a server that was named and cannot be used.
    said: Option<(HostPort, Fault)>,
}

impl Guided {
    /// Asks the Sentinels; whether the master is known and well.
    fn round(&mut self) -> bool {
        let (cache, following) = (&self.cache, &mut self.following);
        let mut opinions: Vec<Opinion> = Vec::new();
        let mut refused = None;
        self.sentinels.ask(|sentinels, opinion| {
            opinions.push(opinion);
            let best = sentinel::best(&opinions, following.epoch, sentinels.count());
            if let Some(best) = best.filter(|best| refused.as_ref() != Some(&best.master)) {
                let by = sentinels.address(best.by);
                if let Err(fault) = following.follow(cache, best, by) {
                    following.say(best, by, &fault);
                    refused = Some(best.master.clone());
                    cache.survey().fault = Some(format!("{} as the master: {fault}", best.master));
                }
            }
            !cache.blueprint.bell.is_over()
        });
        let guides = self.sentinels.faults().map(|(address, fault)| Guide {
            address: address.to_owned(),
            fault: fault.map(Fault::to_string),
        });
        let guides: Vec<_> = guides.collect();
        let mut survey = cache.survey();
        if opinions.is_empty() {
            survey.fault = Some(format!("no sentinel of {} answers", following.name));
        } else if refused.is_none() {
            survey.fault = None;
        }
        survey.guides = guides;
        drop(survey);
        refused.is_none() && cache.is_well()
    }
}

impl Following {
    /// Goes over to the master that `opinion` names, if it is another one and really is a master.
    fn follow(&mut self, cache: &Cache, opinion: &Opinion, by: &str) -> Result<(), Fault> {
        let master = &opinion.master;
        if self.master.as_ref() == Some(master) {
            self.epoch = opinion.epoch;
            return Ok(());
        }
        let node = cache.new_node(&RedisAddress::Tcp(master.clone()));
        probe(&node, &self.probe_key)?;
        self.epoch = opinion.epoch;
        self.said = None;
        let (name, epoch) = (&self.name, self.epoch);
        match self.master.replace(master.clone()) {
            None => info!("redis master of {name} is {master}, says sentinel {by}"),
            Some(before) => {
                node.takes_over(clock::now());
                let old = cache.table();
                let old = old.nodes().first();
                let (state, _) = old.map_or((State::Open, clock::now()), |old| old.breaker.state());
                let bypassed = old.map_or(0, |old| old.bypassed());
                warn!(
                    "redis master of {name} is now {master}, no longer {before} (breaker {}), says \
                     sentinel {by} in epoch {epoch}; {bypassed} lookups went without it",
                    state.word()
                );
            }
        }
        cache.put_in_force(Table::of_one(Arc::new(node)));
        Ok(())
    }

    /// Why a server that was named is not used, once.
    fn say(&mut self, opinion: &Opinion, by: &str, fault: &Fault) {
        let now = (opinion.master.clone(), fault.clone());
        let is_news = self.said.as_ref() != Some(&now);
        self.said = Some(now);
        if !is_news {
            return;
        }
        let (name, master) = (&self.name, &opinion.master);
        if fault.is_misconfiguration() {
            let (complaint, remedy) = fault.for_a_person();
            error!("redis at {master}, the master of {name}, {complaint}: {fault}; check {remedy}");
        } else {
            info!(
                "redis at {master}, the master of {name} to sentinel {by}, is not usable: {fault}"
            );
        }
    }
}
