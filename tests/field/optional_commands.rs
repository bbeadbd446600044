//! Rule 2: an error about one key or one command costs that key or that command. What a server or a proxy
//! refuses, in whatever words or by closing, and can be done without is done without: learnt once.

use std::time::{Duration, Instant};

use super::{RECOVERY, Together, before, is_hit_of_redis, loud_lines, outages, path};
use crate::harness::{
    Answer, App, Config, FakeRedis, MASTER, Origin, SOON, bulk, let_pass, wait_until,
};

/// Rounds of eight requests.
const ROUNDS: usize = 20;
/// Answers of them that a busy machine may have from elsewhere.
const SPARE: usize = 4;

fn fill(fake: &FakeRedis, keys: &[String]) {
    keys.iter()
        .for_each(|key| fake.set(key, &Origin::value_of(key)));
}

/// The first eight keys, and those of further rounds.
fn keys() -> Vec<String> {
    keys_of(0)
}

fn keys_of(round: usize) -> Vec<String> {
    (0..8).map(|n| format!("k{}", round * 8 + n)).collect()
}

/// All of them.
fn fill_with_all(fake: &FakeRedis) {
    (0..=ROUNDS).for_each(|round| fill(fake, &keys_of(round)));
}

/// One reader: what comes at the same time is asked for at once.
fn one_reader(config: Config) -> Config {
    config.set("redis", "readers", "1")
}

/// A server that answers `command` like that, and everything else as Redis does, is used as ever.
#[track_caller]
fn served_without(command: &'static str, answer: Answer, config: impl Fn(Config) -> Config) {
    let origin = Origin::start();
    let script = move |words: &[&str]| match words {
        [first, ..] if *first == command => answer.clone(),
        _ => Answer::Usual,
    };
    let fake = FakeRedis::start(script.clone());
    fill_with_all(&fake);
    let app = config(one_reader(before(&fake, &origin))).start();
    is_used(&app, &fake, command);
    // After an outage too, in which all ends.
    fake.follow(|_| Answer::Close);
    wait_until(SOON, "the outage is known", || {
        app.value("k0");
        !app.redis_is_up()
    });
    fake.follow(script);
    wait_until(RECOVERY * 2, "it is used again", || {
        is_hit_of_redis(&app.get(&path("k0")))
    });
}

/// All keys come from the server, it costs no outage, at most one line, and what is done without is not
/// tried again and again.
#[track_caller]
fn is_used(app: &App, fake: &FakeRedis, command: &str) {
    app.wait_for_redis();
    let mut together = Together::new(app, keys());
    wait_until(SOON, "everything comes from redis", || {
        together.ask().is_empty()
    });
    // What is asked for behind the answers comes within this time.
    let_pass(Duration::from_secs(1));
    let (calls, connects) = (fake.calls(command), fake.connects());
    // Keys that nobody has asked for yet: of each it is looked up how long it will live.
    let round = |round: usize| Together::new(app, keys_of(round)).ask().len();
    let others: usize = (1..=ROUNDS).map(round).sum();
    assert!(others <= SPARE, "{others} answers: {}", app.log());
    let_pass(Duration::from_secs(1));
    let new = fake.connects() - connects;
    assert!(new <= 2, "{new} new connections: {}", app.log());
    // Some are part of how a connection begins.
    let again = fake.calls(command) - calls;
    assert!(again <= 1 + new, "{command} was tried {again} times more");
    assert!(app.redis_is_up(), "{}", app.log());
    assert_eq!(outages(app), Vec::<serde_json::Value>::new());
    let lines = loud_lines(app);
    assert!(lines.len() <= 1, "{lines:#?}");
    assert_eq!(app.value("new").1, "primary");
    wait_until(SOON, "it is written", || fake.value("new").is_some());
}

fn as_is(config: Config) -> Config {
    config
}

#[test]
fn an_mget_that_is_refused_in_words_of_a_proxys_own_costs_mget_alone() {
    let refused = Answer::Error("unsupported: multi-key commands are off on this tier");
    served_without("MGET", refused, as_is);
}

#[test]
fn an_mget_that_is_refused_with_crossslot_costs_mget_alone() {
    let refused = Answer::Error("CROSSSLOT Keys in request don't hash to the same slot");
    served_without("MGET", refused, as_is);
}

#[test]
fn an_mget_on_which_the_server_closes_costs_mget_alone() {
    served_without("MGET", Answer::Close, as_is);
}

#[test]
fn a_ping_that_is_refused_costs_ping_alone() {
    served_without("PING", Answer::Error("not supported here"), as_is);
}

#[test]
fn a_ping_on_which_the_server_closes_costs_ping_alone() {
    served_without("PING", Answer::Close, as_is);
}

#[test]
fn a_pttl_that_is_refused_costs_pttl_alone() {
    served_without("PTTL", Answer::Error("upstream does not do that"), as_is);
}

#[test]
fn a_pttl_on_which_the_server_closes_costs_pttl_alone() {
    served_without("PTTL", Answer::Close, as_is);
}

#[test]
fn an_info_that_is_refused_costs_info_alone() {
    served_without("INFO", Answer::Error("forbidden by the operator"), as_is);
}

#[test]
fn an_info_on_which_the_server_closes_costs_info_alone() {
    served_without("INFO", Answer::Close, as_is);
}

fn resp3(config: Config) -> Config {
    config.set("redis", "protocol", "resp3")
}

#[test]
fn a_proxy_that_does_not_know_hello_is_spoken_to_in_resp2() {
    let refused = Answer::Error("unsupported command 'HELLO'");
    served_without("HELLO", refused, resp3);
}

#[test]
fn a_proxy_that_closes_on_hello_is_spoken_to_in_resp2() {
    served_without("HELLO", Answer::Close, resp3);
}

/// A Sentinel that names `master`, and knows of no other.
pub(super) fn sentinel_of(master: &FakeRedis) -> FakeRedis {
    let port = master.address().port().to_string();
    let array = |words: &[&str]| {
        let texts = words.iter().map(|word| bulk(Some(word)));
        format!("*{}\r\n{}", words.len(), texts.collect::<String>())
    };
    let address = array(&["127.0.0.1", &port]);
    let told = array(&["name", MASTER, "config-epoch", "1"]);
    FakeRedis::start(move |words| match words {
        ["SENTINEL", what, ..] if what.eq_ignore_ascii_case("MASTER") => Answer::Raw(told.clone()),
        ["SENTINEL", ..] => Answer::Raw(address.clone()),
        _ => Answer::Usual,
    })
}

#[track_caller]
fn master_served_without(answer: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static) {
    let (origin, master) = (
        Origin::start(),
        FakeRedis::start(move |words| answer(words[0]).unwrap_or(Answer::Usual)),
    );
    fill_with_all(&master);
    let sentinel = sentinel_of(&master);
    let config = App::configured()
        .set("redis", "mode", "sentinel")
        .set("redis", "nodes", &sentinel.address().to_string())
        .set("redis", "master", MASTER);
    let app = one_reader(config.origin(&origin)).start();
    is_used(&app, &master, "ROLE");
}

/// Both are asked for, and neither is needed.
#[test]
fn a_role_and_an_info_that_are_refused_cost_themselves_alone() {
    master_served_without(|command| match command {
        "ROLE" | "INFO" => Some(Answer::Error("no such command on this plan")),
        _ => None,
    });
}

#[test]
fn a_role_on_which_the_server_closes_costs_role_alone() {
    master_served_without(|command| (command == "ROLE").then_some(Answer::Close));
}

/// A proxy whose upstream of one key is gone: an element of MGET's array is an error.
#[test]
fn an_error_inside_the_reply_of_mget_costs_that_key_alone() {
    let origin = Origin::start();
    let of_key = |key: &str| match key {
        "bad" => Answer::Error("upstream failure"),
        _ => Answer::Usual,
    };
    let fake = FakeRedis::start(move |words| match words {
        ["MGET", keys @ ..] => Answer::Elements(keys.iter().map(|key| of_key(key)).collect()),
        ["GET" | "SET", key, ..] => of_key(key),
        _ => Answer::Usual,
    });
    fill(&fake, &keys());
    let app = one_reader(before(&fake, &origin)).connect();
    let bad = "bad".to_owned();
    let mut together = Together::new(&app, [bad.clone()].into_iter().chain(keys()));
    let began = Instant::now();
    let mut others = 0;
    let mut asked = 0;
    while began.elapsed() < Duration::from_secs(6) {
        others += together.ask().iter().filter(|key| **key != bad).count();
        asked += keys().len();
        let_pass(Duration::from_millis(20));
    }
    assert!(
        others * 50 <= asked,
        "{others} of {asked} good ones not from redis: {}",
        app.log()
    );
    let connects = fake.connects();
    assert!(connects <= 6, "{connects} connections: {}", app.log());
    assert!(app.redis_is_up(), "{}", app.log());
    assert_eq!(outages(&app), Vec::<serde_json::Value>::new());
    let lines = loud_lines(&app);
    assert!(lines.len() <= 2, "{lines:#?}");
    let of_good: usize = keys().iter().map(|key| origin.calls_of(key)).sum();
    assert!(of_good <= SPARE, "{of_good} calls for keys that are there");
}
