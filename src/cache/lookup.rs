//! Looking keys up: which lane a key waits in, and what Redis says of the keys of a batch. Which node
//! serves a key, redirects, and batches for several nodes are settled here: whoever asks hears of each
//! key that it is there, that it is not, or that Redis cannot be used for it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::clock::{self, Deadline};
use crate::cache::RedisCache;
use crate::cache::node::{CallOptions, Node, Reply};
use crate::cache::routing::fan_out::{FanOut, NodeBatch};
use crate::cache::routing::hash_slot::{HashSlot, Redirect};

/// Larger values take long to hand on: they stand in nobody's way.
const LARGE_BYTES: usize = 64 * 1024;

/// What is asked of Redis for somebody who waits.
pub(crate) trait Question {
    /// Whole key, prefix included.
    fn key(&self) -> Cow<'_, str>;

    /// Since when somebody waits: all that Redis may cost is counted from then on.
    fn since(&self) -> Instant;
}

/// What Redis says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    Hit(&'a str),
    Miss,
    /// It was not asked or did not answer, and is not to be asked again for the same question.
    Unusable,
}

/// What Redis said, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told<'a> {
    pub said: Said<'a>,
    /// Before it was asked: what it says held at some moment since then.
    pub asked: Instant,
    /// When the answer was there; one look at the clock serves a whole batch.
    pub at: Instant,
}

/// One of the lanes in which questions wait, as it is now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lane {
    pub number: usize,
    /// How long a question may wait in it and still be answered in time.
    pub patience: Duration,
    /// Whether Redis is worth asking for what waits in it.
    pub is_usable: bool,
}

impl<'a> Told<'a> {
    /// Redis was not of use; that is known since `now`.
    pub(crate) fn unusable(now: Instant) -> Self {
        Self {
            said: Said::Unusable,
            asked: now,
            at: now,
        }
    }
}

impl RedisCache {
    /// Tells of each question in which lane it is to wait; none: Redis is not worth asking for it. The
    /// lanes are numbered from 1.
    pub(crate) fn choose_lanes<Q: Question>(
        &self,
        questions: impl Iterator<Item = Q>,
        now: Instant,
        mut told: impl FnMut(Q, Option<usize>),
    ) {
        let slot_map = self.slot_map();
        for question in questions {
            let node = slot_map.node(|| HashSlot::of(&question.key()));
            let usable = node.filter(|node| node.is_usable(now));
            if let (Some(node), None) = (node, usable) {
                node.count_bypassed(1);
            }
            told(question, usable.map(|node| node.place()));
        }
    }

    /// All lanes that there are.
    pub(crate) fn lanes(&self, now: Instant) -> Vec<Lane> {
        let lane = |node: &Arc<Node>| Lane {
            number: node.place(),
            patience: node.patience_in_queue(),
            is_usable: node.is_usable(now),
        };
        self.slot_map().nodes().iter().map(lane).collect()
    }

    /// Looks at the calls in flight, and gives up nodes that stall. `late` says of a lane how many of its
    /// questions have waited for too long.
    pub(crate) fn watch(&self, late: impl Fn(usize) -> usize, now: Instant) {
        for node in self.slot_map().nodes() {
            node.watch(late(node.place()), now);
        }
    }

    /// Questions of a lane are answered without Redis.
    pub(crate) fn count_bypassed(&self, lane: usize, count: usize) {
        let slot_map = self.slot_map();
        let mut nodes = slot_map.nodes().iter();
        if let Some(node) = nodes.find(|node| node.place() == lane) {
            node.count_bypassed(count);
        }
    }

    /// Asks Redis on behalf of thread `caller`, each node in one call, and tells what it says of each
    /// question as soon as that is known, of large values last. Whatever goes wrong, no question costs
    /// more than the budget of one.
    pub(crate) fn read<Q: Question>(
        &self,
        caller: usize,
        questions: impl Iterator<Item = Q>,
        mut told: impl FnMut(Q, Told<'_>),
    ) {
        let slot = |question: &Q| HashSlot::of(&question.key());
        let (mut parts, unserved) = FanOut::of(self, questions, slot);
        tell_unusable(unserved, clock::now, &mut told);
        while let Some(part) = parts.take() {
            let hops = part.hops();
            let elsewhere = self.ask(caller, part, &mut told);
            let stuck = parts.send_on(self, hops, elsewhere);
            tell_unusable(stuck, clock::now, &mut told);
        }
    }

    /// One node is asked for what it serves. Returns what it sends elsewhere; the others are told first.
    fn ask<Q: Question>(
        &self,
        caller: usize,
        part: NodeBatch<Q>,
        told: &mut impl FnMut(Q, Told<'_>),
    ) -> Vec<(Q, Redirect)> {
        let asked = clock::now();
        let asking = part.asking;
        let (node, mut questions) = (part.node, part.items);
        let Some(permit) = node.permit(asked) else {
            tell_bypassed(&node, questions, asked, told);
            return Vec::new();
        };
        // Who has waited for as long as Redis may take has too little left to spend on it.
        let patience = self.limits().patience();
        let is_late =
            |question: &mut Q| asked.saturating_duration_since(question.since()) >= patience;
        let mut others: Vec<_> = questions.extract_if(.., is_late).collect();
        if permit.is_trial() && questions.len() > 1 {
            others.extend(questions.drain(1..));
        }
        tell_bypassed(&node, others, asked, told);
        let Some(oldest) = questions.iter().map(Question::since).min() else {
            return Vec::new();
        };
        let options = CallOptions {
            caller,
            waiting: Some((questions.len(), oldest)),
            deadline: Deadline::after(oldest, self.limits().timeout),
            asking,
        };
        let (values, indices) = {
            let (keys, indices) = distinct_keys(&questions);
            let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
            (node.read(permit, &keys, options), indices)
        };
        let at = clock::now();
        let Ok(values) = values else {
            tell_bypassed(&node, questions, at, told);
            return Vec::new();
        };
        let (mut elsewhere, mut large) = (Vec::new(), Vec::new());
        for (question, index) in questions.into_iter().zip(indices) {
            let mut tell = |question, said| told(question, Told { said, asked, at });
            match &values[index] {
                Reply::Here(Some(value)) if value.len() > LARGE_BYTES => {
                    large.push((question, value));
                }
                Reply::Here(Some(value)) => tell(question, Said::Hit(value)),
                Reply::Here(None) => tell(question, Said::Miss),
                Reply::Elsewhere(redirect) => elsewhere.push((question, redirect.clone())),
                Reply::Nowhere => tell(question, Said::Unusable),
            }
        }
        for (question, value) in large {
            let (said, at) = (Said::Hit(value), clock::now());
            told(question, Told { said, asked, at });
        }
        elsewhere
    }
}

/// These go on without the node that would have served them.
fn tell_bypassed<Q>(
    node: &Node,
    questions: Vec<Q>,
    now: Instant,
    told: &mut impl FnMut(Q, Told<'_>),
) {
    if !questions.is_empty() {
        node.count_bypassed(questions.len());
        tell_unusable(questions, || now, told);
    }
}

fn tell_unusable<Q>(
    questions: Vec<Q>,
    now: impl Fn() -> Instant,
    told: &mut impl FnMut(Q, Told<'_>),
) {
    for question in questions {
        told(question, Told::unusable(now()));
    }
}

/// The distinct keys of a batch, and for each question the index of its own among them.
fn distinct_keys<Q: Question>(questions: &[Q]) -> (Vec<Cow<'_, str>>, Vec<usize>) {
    let mut keys = Vec::with_capacity(questions.len());
    let mut seen: HashMap<Cow<'_, str>, usize> = HashMap::with_capacity(questions.len());
    let mut indices = Vec::with_capacity(questions.len());
    for question in questions {
        let index = *seen.entry(question.key()).or_insert_with_key(|key| {
            keys.push(key.clone());
            keys.len() - 1
        });
        indices.push(index);
    }
    (keys, indices)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Asked(&'static str);

    impl Question for Asked {
        fn key(&self) -> Cow<'_, str> {
            format!("p:{}", self.0).into()
        }

        fn since(&self) -> Instant {
            clock::now()
        }
    }

    #[test]
    fn a_batch_asks_for_each_key_once() {
        let batch = [Asked("a"), Asked("b"), Asked("a")];
        let (keys, indices) = distinct_keys(&batch);
        assert_eq!(keys, ["p:a", "p:b"]);
        assert_eq!(indices, [0, 1, 0]);
    }
}
