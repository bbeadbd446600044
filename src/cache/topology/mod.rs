//! The thread that finds out which nodes there are: it asks the Sentinels, or the nodes of a cluster,
//! every now and then and whenever it is notified, and installs a new slot map. It waits for servers
//! so that no lookup has to.

pub(crate) mod cluster;
pub(crate) mod rounds;
pub(crate) mod sentinel;

use std::sync::Arc;

use crate::base::notify::{NotifiedThread, Notify};
use crate::cache::RedisCache;
use crate::cache::topology::cluster::ClusterTopology;
use crate::cache::topology::rounds::Discovery;
use crate::cache::topology::sentinel::SentinelTopology;
use crate::config::{self, Servers};

/// The topology thread; ends when dropped.
pub(crate) struct Topology {
    _thread: NotifiedThread,
}

impl Topology {
    /// Starts it, if there is anything to find out. `probe_key` is read of a server before it is used.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(
        cache: &RedisCache,
        redis: &config::Redis,
        probe_key: &str,
    ) -> std::io::Result<Option<Self>> {
        let router = Arc::clone(cache.router());
        let notify = Arc::clone(&router.factory.notify);
        let metrics = Arc::clone(&router.factory.metrics);
        let mut discovery: Box<dyn Discovery> = match &redis.servers {
            Servers::Single { .. } => return Ok(None),
            Servers::Sentinel {
                nodes,
                master,
                login,
                ..
            } => Box::new(SentinelTopology::new(
                router, nodes, login, master, probe_key,
            )),
            Servers::Cluster { nodes } => Box::new(ClusterTopology::new(router, nodes)),
        };
        let run = move |notify: &Notify| rounds::run(&mut *discovery, notify, &metrics);
        let _thread = NotifiedThread::spawn("topology", notify, run)?;
        Ok(Some(Self { _thread }))
    }
}
