//! A master, two replicas and three Sentinels that watch it: real processes that know each other from
//! the start.

use std::net::SocketAddr;

use super::{Redis, SOON, wait_until};

/// What the Sentinels call the master.
pub const MASTER: &str = "mymaster";

/// After how long a master that does not answer is down.
const DOWN_AFTER_MS: u32 = 1000;

/// The processes. All end when dropped.
pub struct Guarded {
    /// The master first, as it was at the start.
    pub servers: Vec<Redis>,
    /// Who watch it.
    pub sentinels: Vec<Redis>,
}

impl Guarded {
    /// Starts them and waits until everybody knows everybody.
    pub fn start() -> Self {
        let fast = ["--repl-diskless-sync-delay", "0"];
        let master = Redis::start_with(&fast);
        let port = master.address().port().to_string();
        let replica = |_| {
            let of = ["--replicaof", "127.0.0.1", port.as_str()];
            Redis::start_with(&[&of[..], &fast[..]].concat())
        };
        let mut servers = vec![master];
        servers.extend((0..2).map(replica));
        for replica in &servers[1..] {
            wait_until(SOON, "a replica follows", || {
                replica.info("replication", "master_link_status").as_deref() == Some("up")
            });
        }
        let mut guarded = Self {
            sentinels: (0..3).map(|_| Redis::not_started()).collect(),
            servers,
        };
        for number in 0..guarded.sentinels.len() {
            let settings = guarded.settings(number);
            let sentinel = &mut guarded.sentinels[number];
            sentinel.set_settings(&settings);
            sentinel.set_arguments(&["--sentinel"]);
            sentinel.start_again();
        }
        wait_until(SOON, "the sentinels agree on who there is", || {
            let knows =
                |sentinel: &Redis| sentinel.try_query::<String>(&["SENTINEL", "CKQUORUM", MASTER]);
            guarded
                .sentinels
                .iter()
                .all(|sentinel| knows(sentinel).is_ok())
        });
        guarded
    }

    /// For `[redis] nodes`.
    pub fn nodes(&self) -> String {
        let addresses = self.sentinels.iter().map(|one| one.address().to_string());
        addresses.collect::<Vec<_>>().join(", ")
    }

    /// Which of the servers is a master by its own word, beside the one that was.
    pub fn promoted(&self, before: SocketAddr) -> Option<&Redis> {
        let mut others = self
            .servers
            .iter()
            .filter(|server| server.address() != before);
        others.find(|server| server.info("replication", "role").as_deref() == Some("master"))
    }

    /// What the file of a Sentinel says: where the others are, so that nobody has to be discovered.
    fn settings(&self, number: usize) -> String {
        let master = self.servers[0].address().port();
        let mut settings = format!(
            "sentinel myid {}\nsentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}\n\
             sentinel failover-timeout {MASTER} 10000\n\
             sentinel parallel-syncs {MASTER} 2\n",
            id(number),
        );
        for replica in &self.servers[1..] {
            let port = replica.address().port();
            settings.push_str(&format!(
                "sentinel known-replica {MASTER} 127.0.0.1 {port}\n"
            ));
        }
        let others = (0..self.sentinels.len()).filter(|&other| other != number);
        for other in others {
            let port = self.sentinels[other].address().port();
            let id = id(other);
            settings.push_str(&format!(
                "sentinel known-sentinel {MASTER} 127.0.0.1 {port} {id}\n"
            ));
        }
        settings
    }
}

fn id(number: usize) -> String {
    format!("{number:040x}")
}
