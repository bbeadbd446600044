//! Asking Redis for the keys of a batch: each node is asked for its own in one call, and whoever asks
//! hears of each key as soon as something is known of it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Instant;

use crate::base::clock::{self, Deadline};
use crate::cache::node::{CallOptions, Node};
use crate::cache::port::{Question, Said, Told};
use crate::cache::read::read;
use crate::cache::routing::fan_out::{NodeBatch, Turn, fan_out};
use crate::cache::routing::hash_slot::HashSlot;
use crate::cache::routing::redirect::{Redirect, Reply};
use crate::cache::routing::router::Router;

/// Larger values take long to hand on: they stand in nobody's way.
const LARGE_BYTES: usize = 64 * 1024;

/// Asks on behalf of thread `caller`, and tells what is said of each question, of large values last.
/// Whatever goes wrong, no question costs more than the budget of one.
pub(crate) fn look_up<Q: Question>(
    router: &Router,
    caller: usize,
    questions: impl Iterator<Item = Q>,
    mut told: impl FnMut(Q, Told<'_>),
) {
    let slot = |question: &Q| HashSlot::of(&question.key());
    fan_out(router, questions, slot, |turn| match turn {
        Turn::Ask(batch) => ask(router, caller, batch, &mut told),
        Turn::GiveUp(questions) => {
            tell_unusable(questions, clock::now, &mut told);
            Vec::new()
        }
    });
}

/// One node is asked for what it serves. Returns what it sends elsewhere; the others are told first.
fn ask<Q: Question>(
    router: &Router,
    caller: usize,
    batch: NodeBatch<Q>,
    told: &mut impl FnMut(Q, Told<'_>),
) -> Vec<(Q, Redirect)> {
    let asked = clock::now();
    let limits = &router.factory.limits;
    let asking = batch.asking;
    let (node, mut questions) = (batch.node, batch.items);
    let Some(permit) = node.permit(asked) else {
        tell_bypassed(&node, questions, asked, told);
        return Vec::new();
    };
    // What has waited for as long as Redis may take has too little time left to spend on it.
    let patience = limits.patience();
    let is_late = |question: &mut Q| asked.saturating_duration_since(question.since()) >= patience;
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
        deadline: Deadline::after(oldest, limits.timeout),
        asking,
    };
    let (values, indices) = {
        let (keys, indices) = distinct_keys(&questions);
        let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
        (read(&node, permit, &keys, options), indices)
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
