//! Discovery with Sentinels: the master that they name is installed, once it says itself that it is one.

pub(crate) mod opinion;
pub(crate) mod sentinels;

use std::sync::Arc;
use std::time::Duration;

use log::{error, info, warn};

use crate::base::breaker::State;
use crate::base::clock;
use crate::cache::node::Node;
use crate::cache::prober::probe;
use crate::cache::routing::router::Router;
use crate::cache::routing::slot_map::SlotMap;
use crate::cache::topology::rounds::{Discovery, Pace};
use crate::cache::topology::sentinel::opinion::Opinion;
use crate::cache::topology::sentinel::sentinels::Sentinels;
use crate::cache::wire::fault::Fault;
use crate::config::{HostPort, Login, RedisAddress};

pub(crate) struct SentinelTopology {
    router: Arc<Router>,
    sentinels: Sentinels,
    following: Following,
}

/// Which master is followed, of those that the Sentinels name.
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

impl SentinelTopology {
    /// The master `name` of the Sentinels at `nodes`, which want `login`.
    pub(crate) fn new(
        router: Arc<Router>,
        nodes: &[HostPort],
        login: &Login,
        name: &str,
        probe_key: &str,
    ) -> Self {
        let sentinels = nodes.iter().map(|node| {
            let dial = router.factory.sentinel(node, login);
            (node.to_string(), dial)
        });
        Self {
            sentinels: Sentinels::new(name.to_owned(), sentinels),
            router,
            following: Following {
                name: name.to_owned(),
                probe_key: probe_key.to_owned(),
                master: None,
                epoch: 0,
                said: None,
            },
        }
    }
}

impl Discovery for SentinelTopology {
    fn pace(&self) -> Pace {
        Pace {
            rest: Duration::from_millis(50),
            calm: Duration::from_millis(500),
            alert: Duration::from_millis(100),
            patient: Duration::from_millis(500),
        }
    }

    /// Asks the Sentinels; whether the master is known and well.
    fn refresh(&mut self) -> bool {
        let (router, following) = (&*self.router, &mut self.following);
        let mut opinions: Vec<Opinion> = Vec::new();
        let mut refused = None;
        self.sentinels.ask(|sentinels, opinion| {
            opinions.push(opinion);
            let best = opinion::best(&opinions, following.epoch, sentinels.count());
            if let Some(best) = best.filter(|best| refused.as_ref() != Some(&best.master)) {
                let by = sentinels.address(best.by);
                if let Err(fault) = following.follow(router, best, by) {
                    following.say(best, by, &fault);
                    refused = Some(best.master.clone());
                    router.discovery().fault =
                        Some(format!("{} as the master: {fault}", best.master));
                }
            }
            !router.factory.notify.is_closed()
        });
        let sentinels = self.sentinels.status();
        let mut discovery = router.discovery();
        if opinions.is_empty() {
            discovery.fault = Some(format!("no sentinel of {} answers", following.name));
        } else if refused.is_none() {
            discovery.fault = None;
        }
        discovery.sentinels = sentinels;
        drop(discovery);
        refused.is_none() && router.is_well()
    }
}

impl Following {
    /// Goes over to the master that `opinion` names, if it is another one and really is a master.
    fn follow(&mut self, router: &Router, opinion: &Opinion, by: &str) -> Result<(), Fault> {
        let master = &opinion.master;
        if self.master.as_ref() == Some(master) {
            self.epoch = opinion.epoch;
            return Ok(());
        }
        let id = router.slot_map().free_id();
        let address = RedisAddress::Tcp(master.clone());
        let node = Node::new(id, &address, &router.factory);
        probe(&node, &self.probe_key)?;
        node.claim_first_probe();
        self.epoch = opinion.epoch;
        self.said = None;
        let (name, epoch) = (&self.name, self.epoch);
        match self.master.replace(master.clone()) {
            None => info!("redis master of {name} is {master}, says sentinel {by}"),
            Some(before) => {
                node.take_over(clock::now());
                node.metrics.redis.failovers.inc();
                let old = router.slot_map();
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
        let node = Arc::new(node);
        router.install(|_| SlotMap::of_one(Arc::clone(&node)));
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
