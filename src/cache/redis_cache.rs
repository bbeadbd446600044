//! Redis, as one process sees it: what others ask of it. Every decision about one server is its node's.

use std::sync::Arc;
use std::time::Instant;

use crate::base::clock::Deadline;
use crate::cache::limits::Limits;
use crate::cache::lookup::look_up;
use crate::cache::node::factory::NodeFactory;
use crate::cache::node::{CallOptions, Node};
use crate::cache::port::{Cache, Lane, Question, Told};
use crate::cache::routing::fan_out::ask_each;
use crate::cache::routing::hash_slot::HashSlot;
use crate::cache::routing::router::Router;
use crate::cache::status::Status;
use crate::cache::ttl::{KeyTtl, ttls_of_node};
use crate::cache::write::{Entry, Written, write_to_node};
use crate::config;
use crate::observe::metrics::Metrics;

pub(crate) struct RedisCache {
    router: Arc<Router>,
}

impl RedisCache {
    /// For `callers` threads that make calls. Opens no connection. Where the nodes have to be found
    /// first, it has none until [`Topology`](crate::cache::topology::Topology) has found them.
    pub(crate) fn new(
        redis: &config::Redis,
        breaker: &config::Breaker,
        callers: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        let factory = NodeFactory::new(redis, breaker, callers, metrics);
        Self {
            router: Arc::new(Router::new(&redis.servers, factory)),
        }
    }

    /// Who serves what, for those who ask the nodes themselves.
    pub(crate) fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// What is known, without asking anybody.
    pub(crate) fn status(&self, now: Instant) -> Status {
        self.router.status(now)
    }
}

impl Cache for RedisCache {
    fn limits(&self) -> &Limits {
        &self.router.factory.limits
    }

    fn choose_lanes<Q: Question>(
        &self,
        questions: impl Iterator<Item = Q>,
        now: Instant,
        mut told: impl FnMut(Q, Option<usize>),
    ) {
        let slot_map = self.router.slot_map();
        for question in questions {
            let node = slot_map.node(|| HashSlot::of(&question.key()));
            let usable = node.filter(|node| node.is_usable(now));
            if let (Some(node), None) = (node, usable) {
                node.count_bypassed(1);
            }
            told(question, usable.map(|node| node.id()));
        }
    }

    fn lanes(&self, now: Instant) -> Vec<Lane> {
        let lane = |node: &Arc<Node>| Lane {
            number: node.id(),
            patience: node.patience_in_queue(),
            is_usable: node.is_usable(now),
        };
        self.router.slot_map().nodes().iter().map(lane).collect()
    }

    fn watch(&self, late: impl Fn(usize) -> usize, now: Instant) {
        for node in self.router.slot_map().nodes() {
            node.watch(late(node.id()), now);
        }
    }

    fn count_bypassed(&self, lane: usize, count: usize) {
        let slot_map = self.router.slot_map();
        let mut nodes = slot_map.nodes().iter();
        if let Some(node) = nodes.find(|node| node.id() == lane) {
            node.count_bypassed(count);
        }
    }

    fn is_calling(&self) -> bool {
        let slot_map = self.router.slot_map();
        slot_map.nodes().iter().any(|node| node.is_calling())
    }

    fn read<Q: Question>(
        &self,
        caller: usize,
        questions: impl Iterator<Item = Q>,
        told: impl FnMut(Q, Told<'_>),
    ) {
        look_up(&self.router, caller, questions, told);
    }

    fn back_since(&self, key: &str) -> Option<Instant> {
        let slot_map = self.router.slot_map();
        slot_map.node(|| HashSlot::of(key))?.log.back_since()
    }

    fn takes_writes(&self, key: &str, now: Instant) -> bool {
        let slot_map = self.router.slot_map();
        let node = slot_map.node(|| HashSlot::of(key));
        node.is_some_and(|node| node.takes_writes(now))
    }

    fn takes_any_writes(&self, now: Instant) -> bool {
        let slot_map = self.router.slot_map();
        slot_map.nodes().iter().any(|node| node.takes_writes(now))
    }

    fn write(&self, caller: usize, entries: &[Entry<'_>], deadline: Deadline) -> Written {
        let slot = |entry: &Entry<'_>| HashSlot::of(entry.key);
        let answers = ask_each(&self.router, entries, slot, |batch, own| {
            let options = CallOptions::unwaited(caller, deadline, batch.asking);
            write_to_node(&batch.node, own, options)
        });
        let mut written = Written::default();
        for (at, answer) in answers.into_iter().enumerate() {
            match answer {
                Some(taken) => written.taken += usize::from(taken),
                None => written.refused.push(at),
            }
        }
        written
    }

    fn write_unless_younger(
        &self,
        caller: usize,
        entries: &[Entry<'_>],
        deadline: Deadline,
    ) -> Written {
        let keys: Vec<&str> = entries.iter().map(|entry| entry.key).collect();
        let ttls = self.ttls(caller, &keys, deadline);
        let (mut older, mut numbers, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (entry, ttl)) in entries.iter().zip(ttls).enumerate() {
            let is_older = match ttl {
                Some(KeyTtl::Left(left)) => left < entry.ttl,
                Some(KeyTtl::Endless) => false,
                Some(KeyTtl::Gone | KeyTtl::Unknown) => true,
                None => {
                    refused.push(at);
                    continue;
                }
            };
            if is_older {
                older.push(entry.clone());
                numbers.push(at);
            }
        }
        let written = self.write(caller, &older, deadline);
        refused.extend(written.refused.into_iter().map(|at| numbers[at]));
        Written {
            taken: written.taken,
            refused,
        }
    }

    fn ttls(&self, caller: usize, keys: &[&str], deadline: Deadline) -> Vec<Option<KeyTtl>> {
        let slot = |key: &&str| HashSlot::of(key);
        ask_each(&self.router, keys, slot, |batch, own| {
            let options = CallOptions::unwaited(caller, deadline, batch.asking);
            ttls_of_node(&batch.node, own, options)
        })
    }
}
