//! The breaker by example, and by property: any sequence of events.

use proptest::prelude::*;

use super::*;
use crate::base::clock;

fn settings(fail_max: u32) -> Settings {
    Settings {
        held: None,
        fail_max,
        trial_after: Some(Duration::from_secs(60)),
    }
}

fn probed(fail_max: u32) -> Settings {
    Settings {
        trial_after: None,
        ..settings(fail_max)
    }
}

fn classic(fail_max: u32, now: Instant) -> Arc<Breaker> {
    Arc::new(Breaker::new(settings(fail_max), now))
}

fn fail(breaker: &Arc<Breaker>, times: u32, now: Instant) -> Option<Transition> {
    (0..times).fold(None, |_, _| {
        breaker.permit(now).and_then(|permit| permit.failed(now))
    })
}

#[test]
fn opens_after_fail_max_consecutive_failures_and_then_refuses() {
    let now = clock::now();
    let breaker = classic(5, now);
    assert_eq!(fail(&breaker, 4, now), None);
    let opened = fail(&breaker, 1, now).expect("the fifth failure opens");
    assert_eq!((opened.from, opened.to), (State::Closed, State::Open));
    assert_eq!(opened.failures, 5);
    assert!(breaker.permit(now).is_none());
}

#[test]
fn a_success_between_failures_starts_the_count_again() {
    let now = clock::now();
    let breaker = classic(5, now);
    let _ = fail(&breaker, 4, now);
    assert_eq!(breaker.permit(now).expect("closed").succeeded(now), None);
    assert_eq!(fail(&breaker, 4, now), None);
    assert_eq!(breaker.state().0, State::Closed);
}

#[test]
fn after_reset_timeout_one_request_is_the_trial_and_closes_it() {
    let now = clock::now();
    let breaker = classic(1, now);
    let _ = fail(&breaker, 1, now);
    let later = now + Duration::from_secs(60);
    assert!(breaker.refuses(later - Duration::from_millis(1)));
    let trial = breaker.permit(later).expect("the trial");
    assert!(trial.is_trial());
    assert!(breaker.permit(later).is_none(), "one trial at a time");
    let closed = trial.succeeded(later).expect("a change");
    assert_eq!((closed.from, closed.to), (State::HalfOpen, State::Closed));
}

#[test]
fn a_failed_trial_opens_it_for_another_reset_timeout() {
    let now = clock::now();
    let breaker = classic(1, now);
    let _ = fail(&breaker, 1, now);
    let later = now + Duration::from_secs(60);
    let reopened = fail(&breaker, 1, later).expect("a change");
    assert_eq!((reopened.from, reopened.to), (State::HalfOpen, State::Open));
    assert!(breaker.refuses(later + Duration::from_secs(59)));
    assert!(!breaker.refuses(later + Duration::from_secs(60)));
}

#[test]
fn a_dropped_trial_gives_its_slot_back() {
    let now = clock::now();
    let breaker = classic(1, now);
    let _ = fail(&breaker, 1, now);
    let later = now + Duration::from_secs(60);
    drop(breaker.permit(later).expect("the trial"));
    assert!(breaker.permit(later).expect("the next trial").is_trial());
}

#[test]
fn a_trial_that_never_comes_back_does_not_keep_it_half_open() {
    let now = clock::now();
    let breaker = classic(1, now);
    let _ = fail(&breaker, 1, now);
    let half_open = now + Duration::from_secs(60);
    let lost = breaker.permit(half_open).expect("the trial");
    let over = half_open + Duration::from_secs(60);
    assert!(breaker.permit(over - Duration::from_millis(1)).is_none());
    let next = breaker.permit(over).expect("the next trial");
    assert!(next.is_trial() && breaker.permit(over).is_none());
    assert_eq!(lost.succeeded(over), None, "a late result is ignored");
    assert!(next.succeeded(over).is_some());
}

#[test]
fn a_result_from_before_a_change_of_state_is_ignored() {
    let now = clock::now();
    let breaker = classic(1, now);
    let early = breaker.permit(now).expect("closed");
    let _ = fail(&breaker, 1, now);
    assert_eq!(early.succeeded(now), None);
    assert_eq!(breaker.state().0, State::Open);
}

#[test]
fn with_a_prober_only_a_probe_closes_it() {
    let now = clock::now();
    let breaker = Arc::new(Breaker::new(probed(1), now));
    let _ = fail(&breaker, 1, now);
    let much_later = now + Duration::from_secs(3600);
    assert!(breaker.permit(much_later).is_none());
    let closed = breaker.probe_succeeded(much_later).expect("a change");
    assert_eq!((closed.from, closed.to), (State::Open, State::Closed));
    assert_eq!(breaker.probe_succeeded(much_later), None, "already closed");
}

#[test]
fn held_open_or_closed_by_hand_nothing_moves_it() {
    let now = clock::now();
    let held = |state| Settings {
        held: Some(state),
        ..settings(1)
    };
    let open = Arc::new(Breaker::new(held(State::Open), now));
    assert_eq!(open.probe_succeeded(now), None);
    assert!(open.permit(now + Duration::from_secs(3600)).is_none());
    let closed = Arc::new(Breaker::new(held(State::Closed), now));
    assert_eq!(fail(&closed, 100, now), None);
    assert_eq!(closed.trip(now), None);
    assert!(closed.permit(now).is_some());
}

/// One thing that happens to a breaker; indices choose among the permits that are out.
#[derive(Debug, Clone)]
enum Event {
    Permit,
    Succeed(usize),
    Fail(usize),
    Drop(usize),
    Trip,
    Probe,
    Wait(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => Just(Event::Permit),
        2 => (0usize..8).prop_map(Event::Succeed),
        3 => (0usize..8).prop_map(Event::Fail),
        1 => (0usize..8).prop_map(Event::Drop),
        1 => Just(Event::Trip),
        1 => Just(Event::Probe),
        2 => (1u64..70_000).prop_map(Event::Wait),
    ];
    proptest::collection::vec(event, 0..200)
}

proptest! {
    #[test]
    fn any_sequence_of_events_keeps_the_promises(
        events in events(), fail_max in 1u32..4, prober in any::<bool>(),
    ) {
        let mut now = clock::now();
        let settings = if prober { probed(fail_max) } else { settings(fail_max) };
        let breaker = Arc::new(Breaker::new(settings, now));
        let mut out: Vec<Permit> = Vec::new();
        for event in events {
            let (before, since) = breaker.state();
            let generation = breaker.lock().generation;
            match event {
                Event::Permit => {
                    let refused = breaker.refuses(now);
                    let permit = breaker.permit(now);
                    prop_assert_eq!(permit.is_none(), refused);
                    if before == State::Open {
                        let rested = now - since >= Duration::from_secs(60);
                        prop_assert_eq!(permit.is_some(), rested && !prober, "open refuses");
                    }
                    out.extend(permit);
                }
                Event::Succeed(n) | Event::Fail(n) | Event::Drop(n) if n < out.len() => {
                    let permit = out.swap_remove(n);
                    let late = permit.generation != generation;
                    let changed = match event {
                        Event::Succeed(_) => permit.succeeded(now),
                        Event::Fail(_) => permit.failed(now),
                        _ => { drop(permit); None }
                    };
                    if late {
                        prop_assert_eq!(changed, None);
                        prop_assert_eq!(breaker.state(), (before, since), "late results change nothing");
                    }
                }
                Event::Trip => { let _ = breaker.trip(now); }
                Event::Probe => { let _ = breaker.probe_succeeded(now); }
                Event::Wait(ms) => now += Duration::from_millis(ms),
                _ => {}
            }
            let machine = breaker.lock();
            let trials = out.iter().filter(|p| p.trial && p.generation == machine.generation).count();
            prop_assert!(trials <= 1, "never more than one trial");
            prop_assert_eq!(trials == 1, machine.trial_is_out, "no slot is lost");
        }
        // Never stuck: with everything that is out lost, it lets a call through in the end.
        let mut let_through = false;
        for _ in 0..4 {
            now += Duration::from_secs(61);
            if prober { let _ = breaker.probe_succeeded(now); }
            let_through |= breaker.permit(now).is_some();
        }
        prop_assert!(let_through, "never stuck");
    }
}
