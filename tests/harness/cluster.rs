//! A cluster (Redis 7 and later): masters with a replica each, real processes that were introduced to each other by the
//! commands that `redis-cli --cluster` would send, and without its waits.

use evenkeel::cache::routing::hash_slot::{HashSlot, SLOTS};

use super::{Origin, Redis, SOON, free_address, wait_until};

/// The nodes. All end when dropped.
pub struct Cluster {
    /// Each with the same share of the slots at the start, in their order.
    pub masters: Vec<Redis>,
    /// Of the master at the same place.
    pub replicas: Vec<Redis>,
}

/// Slots of each of `masters` masters at the start.
fn share(number: usize, masters: usize) -> std::ops::Range<usize> {
    SLOTS * number / masters..SLOTS * (number + 1) / masters
}

impl Cluster {
    /// Three masters with a replica each, which goes on serving what can be served when a part is gone.
    pub fn start() -> Self {
        Self::start_with(&["--cluster-require-full-coverage", "no"])
    }

    /// The same, started with these arguments.
    pub fn start_with(arguments: &[&str]) -> Self {
        let node = |_| Self::node(arguments);
        let masters: Vec<Redis> = (0..3).map(node).collect();
        let replicas: Vec<Redis> = (0..3).map(node).collect();
        for (number, master) in masters.iter().enumerate() {
            let slots = share(number, masters.len());
            let (begin, end) = (slots.start.to_string(), (slots.end - 1).to_string());
            master.query::<()>(&["CLUSTER", "ADDSLOTSRANGE", &begin, &end]);
            // Without an epoch of its own each, they would have to find out whose is whose.
            let epoch = (number + 1).to_string();
            master.query::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
        }
        let cluster = Self { masters, replicas };
        let all: Vec<&Redis> = cluster.nodes().collect();
        for node in &all {
            all.iter().for_each(|other| introduce(node, other));
        }
        wait_until(SOON, "every node knows every other", || {
            let known = |node: &&Redis| node.cluster_info("cluster_known_nodes") == "6";
            cluster.nodes().all(|node| known(&node))
        });
        for (master, replica) in cluster.masters.iter().zip(&cluster.replicas) {
            let id = id(master);
            wait_until(SOON, "a replica is taken on", || {
                replica
                    .try_query::<()>(&["CLUSTER", "REPLICATE", &id])
                    .is_ok()
            });
        }
        cluster.wait_until_well();
        cluster
    }

    /// A node that knows no other yet.
    pub fn node(arguments: &[&str]) -> Redis {
        // By default it is the other one and 10,000: the kernel gives such ports to outgoing connections.
        let bus = free_address().port().to_string();
        let all = [
            "--cluster-port",
            &bus,
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            "--repl-diskless-sync-delay",
            "0",
        ];
        Redis::start_in_memory(&[&all[..], arguments].concat())
    }

    /// Takes in an empty node.
    pub fn take_in(&self, node: &Redis) {
        introduce(node, &self.masters[0]);
        let everybody = || self.nodes().chain([node]);
        wait_until(SOON, "everybody knows the new node", || {
            let id = id(node);
            let knows = |other: &Redis| other.query::<String>(&["CLUSTER", "NODES"]).contains(&id);
            everybody().all(knows)
        });
        wait_until(SOON, "the new node knows the cluster", || {
            node.cluster_info("cluster_state") == "ok"
        });
    }

    /// Forgets a node that owns nothing.
    pub fn forget(&self, node: &Redis) {
        let id = id(node);
        self.nodes()
            .for_each(|other| other.query::<()>(&["CLUSTER", "FORGET", &id]));
    }

    /// Until every slot is served, and every replica follows.
    pub fn wait_until_well(&self) {
        wait_until(SOON, "the cluster is well", || {
            let is_well = |node: &Redis| {
                node.cluster_info("cluster_state") == "ok"
                    && node.cluster_info("cluster_slots_ok") == SLOTS.to_string()
            };
            self.nodes().all(is_well)
        });
        wait_until(SOON, "replicas follow", || {
            let follows = |node: &Redis| {
                node.info("replication", "master_link_status").as_deref() == Some("up")
            };
            self.replicas.iter().all(follows)
        });
    }

    /// For `[redis] nodes`: some of them.
    pub fn seeds(&self) -> String {
        let seeds = [&self.masters[1], &self.replicas[2]];
        seeds.map(|node| node.address().to_string()).join(", ")
    }

    /// Whether a key was of the master at `number` at the start.
    pub fn was_of(number: usize, key: &str) -> bool {
        share(number, 3).contains(&HashSlot::of(key).number())
    }

    /// Puts the origin's values of these keys where they belong at the start.
    pub fn fill(&self, keys: impl Iterator<Item = String>) {
        for key in keys {
            let number = (0..3).find(|&number| Self::was_of(number, &key));
            self.masters[number.expect("a share")].set(&key, &Origin::value_of(&key));
        }
    }

    /// Moves a slot from one node to another, as `redis-cli --cluster reshard` does.
    pub fn move_slot(&self, slot: usize, from: &Redis, to: &Redis) {
        self.begin_to_move(slot, from, to);
        self.end_to_move(slot, from, to);
    }

    /// The slot's keys are there, and the slot itself is still here.
    pub fn begin_to_move(&self, slot: usize, from: &Redis, to: &Redis) {
        let slot = slot.to_string();
        to.query::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)]);
        from.query::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)]);
        let port = to.address().port().to_string();
        loop {
            let keys: Vec<String> = from.query(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            if keys.is_empty() {
                break;
            }
            let migrate = [
                "MIGRATE",
                "127.0.0.1",
                &port,
                "",
                "0",
                "5000",
                "REPLACE",
                "KEYS",
            ];
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            from.query::<()>(&[&migrate[..], &keys].concat());
        }
    }

    /// The slot itself is there too.
    pub fn end_to_move(&self, slot: usize, from: &Redis, to: &Redis) {
        let (slot, id) = (slot.to_string(), id(to));
        for node in [to, from] {
            node.query::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
        }
    }

    /// All of them.
    pub fn nodes(&self) -> impl Iterator<Item = &Redis> {
        self.masters.iter().chain(&self.replicas)
    }
}

impl Redis {
    fn cluster_info(&self, field: &str) -> String {
        let info: String = self.try_query(&["CLUSTER", "INFO"]).unwrap_or_default();
        let fields = info.lines().filter_map(|line| line.split_once(':'));
        let mut found = fields.filter(|(name, _)| *name == field);
        found
            .next()
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    }
}

fn introduce(node: &Redis, other: &Redis) {
    let port = other.address().port();
    if port != node.address().port() {
        let bus: Vec<String> = other.query(&["CONFIG", "GET", "cluster-port"]);
        node.query::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port.to_string(), &bus[1]]);
    }
}

fn id(node: &Redis) -> String {
    node.query(&["CLUSTER", "MYID"])
}
