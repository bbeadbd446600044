//! The memory on its own: what it gives back, what it forgets, and that its limit holds.

use super::*;
use crate::base::clock;
use crate::copies::memory::store::SLOT;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

const TTL: Duration = Duration::from_secs(60);

fn memory(max_bytes: u64) -> Memory {
    Memory::new(&config::Memory {
        enabled: true,
        max_bytes,
        fresh_while_redis_is_down: true,
    })
}

/// What a source gave, to be refreshed at nine tenths of its life.
fn keep(memory: &Memory, route: usize, key: &str, value: Arc<str>, ttl: Duration, now: Instant) {
    let copy = CachedValue::fetched(value, ttl, Some(ttl / 10 * 9), now);
    memory.remember(route, key, copy);
}

fn copy(memory: &Memory, route: usize, key: &str) -> Option<CachedValue> {
    match memory.recall(route, key)? {
        Kept::Value(copy) => Some(copy),
        Kept::Negative { .. } => None,
    }
}

fn recalled(memory: &Memory, route: usize, key: &str) -> Option<String> {
    copy(memory, route, key).map(|copy| copy.value.to_string())
}

#[test]
fn recalls_what_was_remembered_last_for_this_route_and_key() {
    let memory = memory(1 << 20);
    let now = clock::now();
    keep(&memory, 0, "k", "one".into(), TTL, now);
    keep(&memory, 1, "k", "other route".into(), TTL, now);
    keep(&memory, 0, "k", "".into(), TTL, now);
    assert_eq!(recalled(&memory, 0, "k").as_deref(), Some(""));
    assert_eq!(recalled(&memory, 1, "k").as_deref(), Some("other route"));
    assert_eq!(recalled(&memory, 2, "k"), None);
    assert_eq!(memory.entries(), 2);
    memory.forget(0, "k");
    assert_eq!(recalled(&memory, 0, "k"), None);
    assert_eq!(
        memory.evictions(),
        0,
        "replaced and forgotten is not evicted"
    );
}

#[test]
fn a_copy_is_fresh_for_its_ttl_and_servable_for_max_stale_after_it() {
    let memory = memory(1 << 20);
    let start = clock::now();
    keep(&memory, 0, "k", "v".into(), TTL, start);
    let copy = copy(&memory, 0, "k").unwrap();
    let last = start + TTL - Duration::from_nanos(1);
    assert!(copy.is_fresh(start) && copy.is_fresh(last));
    assert!(!copy.is_fresh(start + TTL));
    assert_eq!(copy.age(start + TTL), TTL);
    let max_stale = Duration::from_secs(10);
    assert!(copy.is_servable_stale(last + max_stale, max_stale));
    assert!(!copy.is_servable_stale(start + TTL + max_stale, max_stale));
    assert!(!copy.is_servable_stale(start + TTL, Duration::ZERO));
    assert!(copy.is_servable_stale(start + TTL, Duration::MAX));
    assert_eq!(copy.age(start - Duration::from_secs(1)), Duration::ZERO);
}

#[test]
fn a_hit_leaves_an_equal_fresh_copy_alone_and_replaces_any_other() {
    let memory = memory(1 << 20);
    let start = clock::now();
    memory.remember_hit(0, "k", "v", TTL, start);
    let first = copy(&memory, 0, "k").unwrap();
    memory.remember_hit(0, "k", "v", TTL, start + TTL / 2);
    let same = copy(&memory, 0, "k").unwrap();
    assert!(Arc::ptr_eq(&first.value, &same.value));
    assert_eq!(same.fetched_at, start);

    memory.remember_hit(0, "k", "v", TTL, start + TTL);
    let renewed = copy(&memory, 0, "k").unwrap();
    assert_eq!(renewed.fetched_at, start + TTL);
    memory.remember_hit(0, "k", "w", TTL, start + TTL);
    assert_eq!(recalled(&memory, 0, "k").as_deref(), Some("w"));
}

#[test]
fn a_value_first_seen_in_redis_is_to_be_looked_at_once() {
    let memory = memory(1 << 20);
    let start = clock::now();
    assert!(memory.remember_hit(0, "k", "v", TTL, start));
    assert!(!memory.remember_hit(0, "k", "v", TTL, start));
    assert!(!copy(&memory, 0, "k").unwrap().is_ttl_known);
    let due = start + TTL / LOOK_PART;
    assert!(memory.remember_hit(0, "k", "v", TTL, due), "nobody looked");
    assert!(!memory.remember_hit(0, "k", "v", TTL, due));
    assert!(
        memory.remember_hit(0, "k", "other", TTL, due),
        "written anew"
    );
}

#[test]
fn a_fetched_value_is_due_once_when_its_life_nears_its_end() {
    let memory = memory(1 << 20);
    let start = clock::now();
    keep(&memory, 0, "k", "v".into(), TTL, start);
    let due = start + TTL / 10 * 9;
    let early = due - Duration::from_millis(1);
    assert!(!memory.remember_hit(0, "k", "v", TTL, early));
    assert!(!memory.claim_refresh(0, "k", early));
    assert!(memory.remember_hit(0, "k", "v", TTL, due));
    assert!(!memory.claim_refresh(0, "k", due), "somebody looks");
    assert!(memory.claim_refresh(0, "k", due + TTL / LOOK_PART));
    assert!(!memory.claim_refresh(0, "other", due));
    memory.change(0, "k", |copy| copy.due_at = None);
    assert!(!memory.claim_refresh(0, "k", start + TTL * 2));
}

#[test]
fn a_negative_entry_is_no_copy_and_gives_way_to_one() {
    let memory = memory(1 << 20);
    let now = clock::now();
    keep(&memory, 0, "k", "v".into(), TTL, now);
    memory.remember_negative(0, "k", now + TTL);
    assert!(recalled(&memory, 0, "k").is_none());
    let kept = memory.recall(0, "k");
    assert!(matches!(kept, Some(Kept::Negative { until }) if until == now + TTL));
    assert!(memory.recall(1, "k").is_none());
    assert_eq!(memory.change(0, "k", |_| ()), None);
    memory.remember_hit(0, "k", "w", TTL, now);
    assert_eq!(recalled(&memory, 0, "k").as_deref(), Some("w"));
}

#[test]
fn a_change_of_what_is_not_there_leaves_nothing_behind() {
    let memory = memory(1 << 20);
    assert_eq!(memory.change(0, "k", |_| ()), None);
    assert_eq!((memory.entries(), memory.bytes()), (0, 0));
    keep(&memory, 0, "k", "v".into(), TTL, clock::now());
    assert_eq!(recalled(&memory, 0, "k").as_deref(), Some("v"));
}

#[test]
fn a_fetched_value_replaces_an_equal_fresh_copy() {
    let memory = memory(1 << 20);
    let start = clock::now();
    keep(&memory, 0, "k", "v".into(), TTL, start);
    keep(&memory, 0, "k", "v".into(), TTL, start + TTL / 2);
    assert_eq!(copy(&memory, 0, "k").unwrap().fetched_at, start + TTL / 2);
}

#[test]
fn a_value_over_an_eighth_is_not_kept_and_takes_the_older_copy_with_it() {
    for max_bytes in [16 << 10, 1 << 20, 64 << 20] {
        let memory = memory(max_bytes);
        let now = clock::now();
        let largest = "x".repeat(usize::try_from(max_bytes / 8).unwrap());
        keep(&memory, 0, "k", largest.as_str().into(), TTL, now);
        assert_eq!(
            recalled(&memory, 0, "k").map(|v| v.len()),
            Some(largest.len())
        );
        keep(&memory, 0, "k", (largest + "x").into(), TTL, now);
        assert_eq!(recalled(&memory, 0, "k"), None);
    }
}

#[test]
fn switched_off_it_keeps_nothing() {
    let memory = Memory::new(&config::Memory {
        enabled: false,
        max_bytes: 1 << 20,
        fresh_while_redis_is_down: true,
    });
    let now = clock::now();
    keep(&memory, 0, "k", "v".into(), TTL, now);
    memory.remember_hit(0, "k", "v", TTL, now);
    memory.forget(0, "k");
    assert!(recalled(&memory, 0, "k").is_none());
    assert_eq!(
        (memory.bytes(), memory.entries(), memory.limit()),
        (0, 0, 0)
    );
}

#[test]
fn a_slot_is_counted_with_what_it_takes_in_the_cache() {
    let memory = memory(64 << 20);
    let cache = memory.cache.as_ref().unwrap();
    let value: Arc<str> = "v".into();
    for number in 0..10_000 {
        keep(
            &memory,
            0,
            &number.to_string(),
            value.clone(),
            TTL,
            clock::now(),
        );
    }
    let used = cache.memory_used();
    let slot = (used.entries + used.map) as u64 / 10_000;
    // The table doubles, so what a slot of it takes lies between 5.7 and 11.4 bytes.
    assert!(slot.abs_diff(SLOT) <= 4, "{slot}");
}

#[test]
fn what_is_dropped_for_want_of_room_is_counted() {
    let memory = memory(256 << 10);
    for number in 0..10_000 {
        keep(
            &memory,
            0,
            &number.to_string(),
            "v".into(),
            TTL,
            clock::now(),
        );
    }
    assert_eq!(memory.entries() as u64 + memory.evictions(), 10_000);
    assert!(memory.bytes() <= memory.limit());
    assert!(memory.bytes() > memory.limit() * 9 / 10);
}

#[derive(Debug, Clone)]
enum Step {
    Fetched(usize, String, usize),
    Hit(usize, String, usize),
    Forget(usize, String),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = (0..3_usize, "[a-d]{0,2}", 0..3000_usize);
    let step = (0..5, at).prop_map(|(kind, (route, key, size))| match kind {
        0 => Step::Forget(route, key),
        1 | 2 => Step::Hit(route, key, size),
        _ => Step::Fetched(route, key, size),
    });
    vec(step, 0..300)
}

proptest! {
    #[test]
    fn stays_within_its_limit_and_never_recalls_anything_but_the_last(
        steps in steps(),
        max_bytes in 0..40_000_u64,
    ) {
        let memory = memory(max_bytes);
        let mut last = HashMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            let now = clock::now();
            let value = |size| format!("{number}:{}", "x".repeat(size));
            let at = match step {
                Step::Fetched(route, key, size) => {
                    keep(&memory, route, &key, value(size).into(), TTL, now);
                    last.insert((route, key.clone()), value(size));
                    (route, key)
                }
                Step::Hit(route, key, size) => {
                    memory.remember_hit(route, &key, &value(size), TTL, now);
                    last.insert((route, key.clone()), value(size));
                    (route, key)
                }
                Step::Forget(route, key) => {
                    memory.forget(route, &key);
                    last.remove(&(route, key.clone()));
                    (route, key)
                }
            };
            let found = recalled(&memory, at.0, &at.1);
            prop_assert!(found.is_none() || found.as_ref() == last.get(&at));
            prop_assert!(memory.bytes() <= max_bytes);
        }
        for ((route, key), value) in last {
            let found = recalled(&memory, route, &key);
            prop_assert!(found.is_none() || found == Some(value));
        }
    }
}
