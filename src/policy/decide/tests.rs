//! The policy's table, row by row; and what holds for every combination there can be.

use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::base::clock;

const MINUTE: Duration = Duration::from_secs(60);
const MAX_STALE: Duration = Duration::from_secs(3600);

/// What is held of a key: all cases between which [`decide`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Fresh,
    /// Near its end.
    FreshDue,
    /// The source failed for it a moment ago.
    FreshWaits,
    /// Redis was lost since it was fetched, and is back.
    FreshLost,
    FreshLostWaits,
    /// The same, more than a minute ago.
    FreshLostLongAgo,
    Stale,
    StaleWaits,
    StaleLost,
    TooOld,
    KnownAbsent,
    /// The time of the negative entry is over.
    NoLongerAbsent,
    Nothing,
}

use Case::{
    Fresh, FreshDue, FreshLost, FreshLostLongAgo, FreshLostWaits, FreshWaits, KnownAbsent,
    NoLongerAbsent, Nothing, Stale, StaleLost, StaleWaits, TooOld,
};

const CASES: [Case; 13] = [
    Fresh,
    FreshDue,
    FreshWaits,
    FreshLost,
    FreshLostWaits,
    FreshLostLongAgo,
    Stale,
    StaleWaits,
    StaleLost,
    TooOld,
    KnownAbsent,
    NoLongerAbsent,
    Nothing,
];

/// What is done, without the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    ServeRedis,
    ServeFresh,
    ServeFreshAndRefresh,
    ServeStale,
    ServeAndWriteBack,
    NotFound,
    Unavailable,
    Shed,
    Fetch,
    FetchWithACopy,
}

use Done::{
    Fetch, FetchWithACopy, NotFound, ServeAndWriteBack, ServeFresh, ServeFreshAndRefresh,
    ServeRedis, ServeStale, Shed, Unavailable,
};

fn done(step: &Step<'_>) -> Done {
    match step {
        Step::Serve(Served::Redis(_)) => ServeRedis,
        Step::Serve(Served::Fresh { refresh: false, .. }) => ServeFresh,
        Step::Serve(Served::Fresh { refresh: true, .. }) => ServeFreshAndRefresh,
        Step::Serve(Served::Stale(_)) => ServeStale,
        Step::ServeAndWriteBack(_) => ServeAndWriteBack,
        Step::NotFound => NotFound,
        Step::Refuse(Refusal::Unavailable) => Unavailable,
        Step::Refuse(Refusal::Shed) => Shed,
        Step::Fetch(None) => Fetch,
        Step::Fetch(Some(_)) => FetchWithACopy,
    }
}

/// What memory holds in a case, and since when Redis is back, at `now`.
fn set_up(case: Case, now: Instant) -> (Option<Kept>, Option<Instant>) {
    let ago = |age| now.checked_sub(age).expect("the machine is older");
    let copy = |age: Duration| CachedValue::fetched("v".into(), MINUTE, None, ago(age));
    let mut fresh = copy(MINUTE / 2);
    let mut stale = copy(2 * MINUTE);
    let wait = |copy: &mut CachedValue| copy.retry_at = Some(now + MINUTE);
    match case {
        FreshDue => fresh.due_at = Some(now),
        FreshWaits | FreshLostWaits => wait(&mut fresh),
        FreshLostLongAgo => fresh.ttl = 4 * MINUTE,
        StaleWaits => wait(&mut stale),
        _ => {}
    }
    if case == FreshLostLongAgo {
        fresh.fetched_at = ago(3 * MINUTE);
    }
    let back = match case {
        FreshLost | FreshLostWaits | StaleLost => Some(ago(MINUTE / 4)),
        FreshLostLongAgo => Some(ago(MINUTE)),
        _ => None,
    };
    let kept = match case {
        Stale | StaleWaits | StaleLost => Some(Kept::Value(stale)),
        TooOld => Some(Kept::Value(copy(MINUTE + MAX_STALE))),
        KnownAbsent => Some(Kept::Negative {
            until: now + MINUTE,
        }),
        NoLongerAbsent => Some(Kept::Negative { until: now }),
        Nothing => None,
        _ => Some(Kept::Value(fresh)),
    };
    (kept, back)
}

const HIT: Said<'static> = Said::Hit("v");
const MISS: Said<'static> = Said::Miss;
const UNUSABLE: Said<'static> = Said::Unusable;
const ANY: Option<bool> = None;
const YES: Option<bool> = Some(true);
const NO: Option<bool> = Some(false);

/// What Redis said, what is held, `fresh_while_redis_is_down`, whether the source refuses: what is done.
type Row = (
    &'static [Said<'static>],
    &'static [Case],
    Option<bool>,
    Option<bool>,
    Done,
);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    // A hit is a hit.
    (&[HIT], &CASES, ANY, ANY, ServeRedis),

    // Redis is away: copies keep that from the source, and are refreshed through it near their end.
    (&[UNUSABLE], &[Fresh, FreshWaits, FreshLost, FreshLostWaits, FreshLostLongAgo], YES, ANY, ServeFresh),
    (&[UNUSABLE], &[FreshDue],                                  YES, ANY, ServeFreshAndRefresh),
    (&[UNUSABLE], &[Fresh, FreshDue, FreshLost, FreshLostLongAgo], NO, NO,  FetchWithACopy),
    (&[UNUSABLE], &[Fresh, FreshDue, FreshLost, FreshLostLongAgo], NO, YES, ServeFresh),
    (&[UNUSABLE], &[FreshWaits, FreshLostWaits],                NO,  ANY, ServeFresh),

    // Redis has lost it: the copy stands in, for a minute.
    (&[MISS], &[FreshLost, FreshLostWaits],                     ANY, ANY, ServeAndWriteBack),

    // Redis does not have it: its life there is over, whatever is held.
    (&[MISS], &[Fresh, FreshDue, FreshLostLongAgo],             ANY, NO,  FetchWithACopy),
    (&[MISS], &[Fresh, FreshDue, FreshLostLongAgo],             ANY, YES, ServeFresh),
    (&[MISS], &[FreshWaits],                                    ANY, ANY, ServeFresh),

    // What is past its ttl stands by, and answers where the source is not asked.
    (&[MISS, UNUSABLE], &[Stale, StaleLost],                    ANY, NO,  FetchWithACopy),
    (&[MISS, UNUSABLE], &[Stale, StaleLost],                    ANY, YES, ServeStale),
    (&[MISS, UNUSABLE], &[StaleWaits],                          ANY, ANY, ServeStale),

    // Nothing is held, or only what is known not to be there.
    (&[MISS, UNUSABLE], &[KnownAbsent],                         ANY, ANY, NotFound),
    (&[MISS, UNUSABLE], &[TooOld, NoLongerAbsent, Nothing],     ANY, NO,  Fetch),
    (&[MISS, UNUSABLE], &[TooOld, NoLongerAbsent, Nothing],     ANY, YES, Unavailable),
];

#[test]
fn every_combination_has_one_row_and_does_what_it_says() {
    let now = clock::now();
    let bools = [false, true];
    for said in [HIT, MISS, UNUSABLE] {
        for case in CASES {
            for (fresh_while_redis_is_down, source_refuses) in
                bools.iter().flat_map(|&a| bools.map(|b| (a, b)))
            {
                let is_its = |row: &&Row| {
                    row.0.contains(&said)
                        && row.1.contains(&case)
                        && row.2.is_none_or(|is| is == fresh_while_redis_is_down)
                        && row.3.is_none_or(|is| is == source_refuses)
                };
                let rows: Vec<_> = TABLE.iter().filter(is_its).collect();
                let (kept, redis_back_since) = set_up(case, now);
                let conditions = Conditions {
                    fresh_while_redis_is_down,
                    source_refuses,
                    redis_back_since,
                };
                let step = decide(said, Held::of(kept, MAX_STALE, now), &conditions, now);
                let [row] = rows[..] else {
                    panic!("{said:?} {case:?} {conditions:?} has {} rows", rows.len());
                };
                assert_eq!(done(&step), row.4, "{said:?} {case:?} {conditions:?}");
            }
        }
    }
}

#[test]
fn without_the_source_a_copy_is_better_than_a_refusal() {
    let now = clock::now();
    for (cases, expected) in [
        (&[Fresh, FreshDue, FreshWaits, FreshLost][..], ServeFresh),
        (&[Stale, StaleWaits, StaleLost], ServeStale),
        (&[KnownAbsent], NotFound),
        (&[TooOld, NoLongerAbsent, Nothing], Shed),
    ] {
        for &case in cases {
            let held = Held::of(set_up(case, now).0, MAX_STALE, now);
            let step = instead_of_source(held, Refusal::Shed);
            assert_eq!(done(&step), expected, "{case:?}");
        }
    }
    let step = instead_of_source(Held::Nothing, Refusal::Unavailable);
    assert_eq!(done(&step), Unavailable);
}

/// Milliseconds around a moment that lies an hour and more after the clock's beginning.
fn moments() -> impl Strategy<Value = u64> {
    prop_oneof![0..200_000_u64, Just(100_000)]
}

/// Everything that a copy can be.
fn copies(zero: Instant) -> impl Strategy<Value = CachedValue> {
    let at = move |ms| zero + Duration::from_millis(ms);
    let due = option::of(moments());
    (
        moments(),
        0..100_000_u64,
        any::<bool>(),
        due,
        option::of(moments()),
    )
        .prop_map(
            move |(fetched, ttl, is_ttl_known, due, retry)| CachedValue {
                value: "v".into(),
                fetched_at: at(fetched),
                ttl: Duration::from_millis(ttl),
                is_ttl_known,
                due_at: due.map(at),
                retry_at: retry.map(at),
            },
        )
}

fn kept(zero: Instant) -> impl Strategy<Value = Option<Kept>> {
    let negative = moments().prop_map(move |ms| Kept::Negative {
        until: zero + Duration::from_millis(ms),
    });
    option::of(prop_oneof![copies(zero).prop_map(Kept::Value), negative])
}

fn served(step: &Step<'_>) -> Option<CachedValue> {
    match step {
        Step::Serve(Served::Fresh { copy, .. } | Served::Stale(copy))
        | Step::ServeAndWriteBack(copy) => Some(copy.clone()),
        _ => None,
    }
}

thread_local! {
    static ZERO: Instant = clock::now();
}

proptest! {
    #[test]
    fn whatever_the_combination_the_promises_hold(
        said in prop_oneof![Just(HIT), Just(MISS), Just(UNUSABLE)],
        kept in kept(ZERO.with(|zero| *zero)),
        max_stale in prop_oneof![0..100_000_u64, Just(u64::MAX)].prop_map(Duration::from_millis),
        back_since in option::of(moments()),
        fresh_while_redis_is_down in any::<bool>(),
        source_refuses in any::<bool>(),
        now in moments(),
    ) {
        let zero = ZERO.with(|zero| *zero);
        let now = zero + Duration::from_millis(now);
        let back = back_since.map(|ms| zero + Duration::from_millis(ms));
        let conditions = Conditions { fresh_while_redis_is_down, source_refuses, redis_back_since: back };
        let is_absent = matches!(kept, Some(Kept::Negative { until }) if now < until);
        let held = || Held::of(kept.clone(), max_stale, now);
        let step = decide(said, held(), &conditions, now);
        for step in [&step, &instead_of_source(held(), Refusal::Shed)] {
            if let Some(copy) = served(step) {
                prop_assert!(copy.age(now) < copy.ttl.saturating_add(max_stale));
                let is_stale = matches!(step, Step::Serve(Served::Stale(_)));
                prop_assert_eq!(is_stale, !copy.is_fresh(now), "it says what it is");
            }
        }
        match &step {
            Step::Fetch(_) => prop_assert!(!is_absent && !source_refuses && said != HIT),
            Step::ServeAndWriteBack(copy) => {
                let back = back.expect("only where it was lost");
                prop_assert_eq!(said, MISS);
                prop_assert!(copy.is_fresh(now) && copy.fetched_at < back);
                prop_assert!(now.saturating_duration_since(back) < MINUTE);
            }
            Step::Serve(Served::Redis(_)) => prop_assert_eq!(said, HIT),
            Step::Serve(Served::Fresh { copy, refresh: true }) => {
                prop_assert!(said == UNUSABLE && copy.is_due(now));
            }
            Step::Refuse(refusal) => {
                prop_assert_eq!(*refusal, Refusal::Unavailable);
                prop_assert!(source_refuses && served(&step).is_none());
            }
            _ => {}
        }
    }
}
