//! The policy by example.

mod one_thread;
mod stage;

use super::*;
use crate::source::{Fetched, SourceError};
use stage::{Got, stage, value};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn what_is_not_known_is_fetched_and_remembered() {
    let stage = stage("");
    let first = stage.ask("k");
    assert!(first.try_recv().is_err(), "nobody has fetched yet");
    assert!(stage.fetch_next());
    assert_eq!(first.recv(), Ok(Got::Primary("v".to_owned(), false)));
    assert_eq!(stage.ask("k").recv(), Ok(Got::Cache("v".to_owned())));
}

#[test]
fn a_hundred_lookups_of_one_key_are_one_fetch() {
    let stage = stage("");
    let waiting: Vec<_> = (0..100).map(|_| stage.ask("k")).collect();
    assert_eq!(stage.policy.fills.len(), 1);
    assert!(stage.fetch_next());
    for (place, client) in waiting.iter().enumerate() {
        assert_eq!(client.recv(), Ok(Got::Primary("v".to_owned(), place > 0)));
    }
    assert_eq!(stage.metrics.source_calls(), 1);
}

#[test]
fn serves_stale_when_redis_and_source_are_down() {
    let stage = stage("");
    stage.source.says(Err(SourceError::TimedOut));
    stage.remember("k", "old", MINUTE, 2 * MINUTE);
    let client = stage.ask("k");
    assert!(stage.fetch_next());
    assert_eq!(client.recv(), Ok(Got::Stale("old".to_owned())));
}

#[test]
fn a_copy_older_than_ttl_and_max_stale_is_not_served() {
    let stage = stage("[route data]\nmax_stale = 30s");
    stage.source.says(Err(SourceError::TimedOut));
    stage.remember("k", "old", MINUTE, 2 * MINUTE);
    let client = stage.ask("k");
    assert!(stage.fetch_next());
    assert_eq!(client.recv(), Ok(Got::Unavailable));
}

#[test]
fn a_stale_copy_does_not_keep_the_source_from_being_asked() {
    let stage = stage("");
    stage.remember("k", "old", MINUTE, 2 * MINUTE);
    let client = stage.ask("k");
    assert!(stage.fetch_next());
    assert_eq!(client.recv(), Ok(Got::Primary("v".to_owned(), false)));
}

#[test]
fn fresh_copies_can_be_left_aside_while_redis_is_down() {
    let stage = stage("[memory]\nfresh_while_redis_is_down = false");
    stage.remember("k", "old", MINUTE, Duration::ZERO);
    let client = stage.ask("k");
    assert!(stage.fetch_next());
    assert_eq!(client.recv(), Ok(Got::Primary("v".to_owned(), false)));
}

#[test]
fn no_such_thing_is_said_and_the_copy_forgotten() {
    let stage = stage("");
    stage.source.says(Ok(Fetched::NoSuchThing));
    stage.remember("k", "old", MINUTE, 2 * MINUTE);
    let client = stage.ask("k");
    assert!(stage.fetch_next());
    assert_eq!(client.recv(), Ok(Got::NoSuchThing));
    let kept = stage.policy.memory.recall(0, "k");
    assert!(matches!(kept, Some(Kept::Negative { .. })));
}

#[test]
fn sheds_with_503_when_the_queue_is_full() {
    let stage = stage("[server]\nqueue = 2");
    let _waiting = (stage.ask("a"), stage.ask("b"));
    assert_eq!(stage.ask("c").recv(), Ok(Got::Shed));
    stage.remember("d", "old", MINUTE, 2 * MINUTE);
    assert_eq!(
        stage.ask("d").recv(),
        Ok(Got::Stale("old".to_owned())),
        "better than nothing"
    );
}

#[test]
fn a_fetch_that_waited_too_long_for_a_filler_is_shed() {
    let stage = stage("[server]\nqueue_timeout = 1s");
    let client = stage.ask("k");
    stage.advance(Duration::from_millis(900));
    assert!(client.try_recv().is_err());
    stage.advance(Duration::from_millis(200));
    assert_eq!(client.recv(), Ok(Got::Shed));
    assert_eq!(stage.policy.flights.count(), 0);
}

#[test]
fn who_is_overdue_is_answered_while_the_fetch_goes_on() {
    let stage = stage("[server]\nqueue_timeout = 4s");
    let hasty = stage.ask_within("k", Duration::from_millis(500));
    let patient = stage.ask("k");
    stage.advance(Duration::from_secs(1));
    assert_eq!(hasty.recv(), Ok(Got::Unavailable));
    assert!(patient.try_recv().is_err());
    assert!(stage.fetch_next());
    assert_eq!(patient.recv(), Ok(Got::Primary("v".to_owned(), false)));
}

#[test]
fn a_source_that_panics_costs_its_waiters_a_503_and_nothing_else() {
    let stage = stage("");
    let (first, second, other) = (stage.ask("panic"), stage.ask("panic"), stage.ask("k"));
    assert!(stage.fetch_next());
    assert!(stage.fetch_next());
    assert_eq!(first.recv(), Ok(Got::Unavailable));
    assert_eq!(second.recv(), Ok(Got::Unavailable));
    assert_eq!(other.recv(), Ok(Got::Primary("v".to_owned(), false)));
    assert_eq!(stage.metrics.panics.get(), 1);
}

#[test]
fn who_has_a_copy_waits_for_the_soft_time_out_only_and_the_fetch_goes_on() {
    let stage = stage("[source demo]\nsoft_timeout = 200ms");
    stage.remember("k", "old", MINUTE, 2 * MINUTE);
    let (with_copy, without) = (stage.ask("k"), stage.ask("other"));
    stage.advance(Duration::from_millis(150));
    assert!(with_copy.try_recv().is_err());
    stage.advance(Duration::from_millis(100));
    assert_eq!(with_copy.recv(), Ok(Got::Stale("old".to_owned())));
    assert!(without.try_recv().is_err());
    assert!(stage.fetch_next());
    assert_eq!(stage.ask("k").recv(), Ok(Got::Cache("v".to_owned())));
}

#[test]
fn a_key_whose_fetch_failed_is_served_stale_and_not_asked_again_for_a_while() {
    let stage = stage("[route data]\nstale_retry = 1h");
    stage.source.says(Err(SourceError::TimedOut));
    stage.remember("k", "old", MINUTE, 2 * MINUTE);
    let client = stage.ask("k");
    assert!(stage.fetch_next());
    let old = || Ok(Got::Stale("old".to_owned()));
    assert_eq!(client.recv(), old());
    (0..5).for_each(|_| assert_eq!(stage.ask("k").recv(), old()));
    assert_eq!(stage.metrics.source_calls(), 1);
    stage.advance(Duration::from_secs(3600));
    stage.source.says(value("new"));
    let client = stage.ask("k");
    assert!(stage.fetch_next());
    assert_eq!(client.recv(), Ok(Got::Primary("new".to_owned(), false)));
}

#[test]
fn without_a_copy_a_failing_source_is_asked_until_its_breaker_opens() {
    let stage = stage("[source demo]\nfail_max = 3\nreset_timeout = 1h");
    stage.source.says(Err(SourceError::Status(500)));
    stage.remember("kept", "old", MINUTE, 2 * MINUTE);
    for n in 0..3 {
        let client = stage.ask(&format!("k{n}"));
        assert!(stage.fetch_next());
        assert_eq!(client.recv(), Ok(Got::Unavailable));
    }
    assert_eq!(stage.ask("k9").recv(), Ok(Got::Unavailable), "at once");
    assert_eq!(stage.ask("kept").recv(), Ok(Got::Stale("old".to_owned())));
    assert_eq!(stage.metrics.source_calls(), 3);
    assert_eq!(stage.policy.fills.len(), 0);
}

#[test]
fn after_its_reset_time_out_one_fetch_is_the_trial_of_a_source() {
    let stage = stage("[source demo]\nfail_max = 1\nreset_timeout = 1ms");
    stage.source.says(Err(SourceError::TimedOut));
    let client = stage.ask("a");
    assert!(stage.fetch_next());
    assert_eq!(client.recv(), Ok(Got::Unavailable));
    stage.source.says(value("v"));
    assert_eq!(stage.ask("a").recv(), Ok(Got::Unavailable), "too early");
    stage.advance(Duration::from_millis(1));
    let (trial, other) = (stage.ask("b"), stage.ask("c"));
    assert!(stage.fetch_next());
    assert!(stage.fetch_next());
    assert_eq!(trial.recv(), Ok(Got::Primary("v".to_owned(), false)));
    assert_eq!(other.recv(), Ok(Got::Primary("v".to_owned(), false)));
}

#[test]
fn what_is_wrong_with_one_key_does_not_open_the_breaker_of_its_source() {
    let stage = stage("[source demo]\nfail_max = 1");
    for error in [SourceError::Status(400), SourceError::NotUtf8] {
        stage.source.says(Err(error));
        let client = stage.ask("k");
        assert!(stage.fetch_next());
        assert_eq!(client.recv(), Ok(Got::Unavailable));
    }
    stage.source.says(value("v"));
    let client = stage.ask("k");
    assert!(stage.fetch_next());
    assert_eq!(client.recv(), Ok(Got::Primary("v".to_owned(), false)));
}

#[test]
fn that_there_is_no_such_thing_is_remembered_for_its_time() {
    let stage = stage("");
    stage.source.says(Ok(Fetched::NoSuchThing));
    let client = stage.ask("k");
    assert!(stage.fetch_next());
    assert_eq!(client.recv(), Ok(Got::NoSuchThing));
    assert_eq!(stage.ask("k").recv(), Ok(Got::NoSuchThing));
    assert_eq!(stage.metrics.source_calls(), 1);
    assert_eq!(stage.metrics.route(0).negative_hits.get(), 1);
}

#[test]
fn with_no_negative_ttl_it_is_asked_again() {
    let stage = stage("[route data]\nnegative_ttl = 0");
    stage.source.says(Ok(Fetched::NoSuchThing));
    for _ in 0..2 {
        let client = stage.ask("k");
        assert!(stage.fetch_next());
        assert_eq!(client.recv(), Ok(Got::NoSuchThing));
    }
    assert_eq!(stage.metrics.source_calls(), 2);
}

#[test]
fn the_first_request_near_the_end_of_a_life_refreshes_it_and_waits_for_nothing() {
    let stage = stage("");
    stage.remember("k", "old", MINUTE, MINUTE / 100 * 95);
    let old = || Ok(Got::Cache("old".to_owned()));
    (0..5).for_each(|_| assert_eq!(stage.ask("k").recv(), old()));
    assert_eq!(stage.policy.fills.len(), 1, "one refresh");
    assert!(stage.fetch_next());
    assert_eq!(stage.ask("k").recv(), Ok(Got::Cache("v".to_owned())));
    assert_eq!(stage.metrics.route(0).refreshes.get(), 1);
}

#[test]
fn what_is_fetched_while_redis_is_away_waits_for_it_newest_first_per_key() {
    let stage = stage("[route data]\nttl = 1s");
    for text in ["one", "two"] {
        stage.source.says(value(text));
        stage.policy.memory.forget(0, "k");
        let client = stage.ask("k");
        assert!(stage.fetch_next());
        assert_eq!(client.recv(), Ok(Got::Primary(text.to_owned(), false)));
    }
    assert_eq!(stage.policy.recovery.len().0, 1);
}
