//! The master dies, hangs or is replaced; Sentinels hang or die. Every time a server that is a master
//! is used, and none that was one.

use std::time::{Duration, Instant};

use super::{SLOW, SOURCE, connections_of_app, play, verdict_of, wait_until_used};
use crate::harness::{
    App, Config, Control, Guarded, Load, MASTER, Origin, Redis, SOON, Verdict, let_pass, wait_until,
};

fn configured(guarded: &Guarded) -> Config {
    App::configured()
        .set("redis", "mode", "sentinel")
        .set("redis", "nodes", &guarded.nodes())
        .set("redis", "master", MASTER)
}

#[test]
#[ignore = "long: a failover under load"]
fn a_killed_master_is_replaced_and_comes_back_as_a_replica() {
    failover(
        "a killed master with sentinels",
        |guarded| guarded.servers[0].kill(),
        |guarded| guarded.servers[0].start_again(),
    );
}

#[test]
#[ignore = "long: a failover under load"]
fn a_frozen_master_is_replaced_and_not_used_when_it_thaws() {
    failover(
        "a frozen master with sentinels",
        |guarded| guarded.servers[0].freeze(),
        |guarded| guarded.servers[0].thaw(),
    );
}

#[test]
#[ignore = "long: a failover under load"]
fn a_master_that_is_replaced_by_command_is_let_go() {
    failover(
        "a master that sentinels replace by command",
        |guarded| guarded.sentinels[0].query::<()>(&["SENTINEL", "FAILOVER", MASTER]),
        |_| {},
    );
}

/// 32 clients, half of whose keys are new, before, during and after a failover.
fn failover(name: &str, begin: impl Fn(&mut Guarded), end: impl Fn(&mut Guarded)) {
    play(name, || failover_once(&begin, &end));
}

/// An app that serves 32 clients from Redis, and the control beside it.
fn under_load(guarded: &Guarded, origin: &Origin) -> (App, Control, Load) {
    let app = configured(guarded).origin(origin).connect();
    let control = Control::start(&app);
    let load = Load::half_new(app.address());
    wait_until(SOON, "keys come from redis", || {
        app.figure("/answers/redis") > 200
    });
    (app, control, load)
}

fn failover_once(begin: &impl Fn(&mut Guarded), end: &impl Fn(&mut Guarded)) -> Verdict {
    let (mut guarded, origin) = (Guarded::start(), Origin::slow(SOURCE));
    let (app, control, load) = under_load(&guarded, &origin);
    let old = guarded.servers[0].address();
    begin(&mut guarded);
    wait_until(SOON, "a replica is promoted", || {
        guarded.promoted(old).is_some()
    });
    let promoted = Instant::now();
    let new = guarded.promoted(old).expect("it was a moment ago");
    wait_until_used(new, promoted);
    assert_eq!(app.health()["redis"]["master"], new.address().to_string());
    end(&mut guarded);
    // It goes on calling itself a master until the Sentinels have seen that for eight seconds.
    let old = &guarded.servers[0];
    // What it had been sent before it was frozen it still does.
    let_pass(SOURCE * 5);
    let asked = old.lookups();
    let_pass(Duration::from_secs(1));
    let report = load.stop().beside(&control.stop());
    let verdict = verdict_of(&[&report]);
    assert_eq!(connections_of_app(old), [""; 0]);
    assert_eq!(old.lookups(), asked, "nobody asks it any more");
    app.wait_for_redis();
    let said = app.log_lines("redis master of mymaster is now");
    assert_eq!(said, 1, "{}", app.log());
    assert!(app.log().lines().count() < 20, "{}", app.log());
    verdict
}

#[test]
#[ignore = "long: a failover under load"]
fn two_sentinels_of_three_that_hang_cost_nobody_anything() {
    play("two sentinels of three hang", two_sentinels_hang);
}

fn two_sentinels_hang() -> Verdict {
    let (guarded, origin) = (Guarded::start(), Origin::slow(SOURCE));
    let (app, control, load) = under_load(&guarded, &origin);
    let began = Instant::now();
    guarded.sentinels[..2].iter().for_each(Redis::freeze);
    // One that starts now asks them first.
    let new = configured(&guarded).origin(&origin).connect();
    assert_eq!(new.health()["redis"]["sentinels"][0]["status"], "down");
    let_pass(Duration::from_secs(2).saturating_sub(began.elapsed()));
    let ended = Instant::now();
    guarded.sentinels[..2].iter().for_each(Redis::thaw);
    wait_until(SOON, "all sentinels answer again", || {
        app.log_lines("answers again") == 2
    });
    let report = load.stop().beside(&control.stop());
    let mut verdict = verdict_of(&[&report]);
    let gap = report.longest_without_redis(began, ended);
    verdict.hold_in_time(gap < SLOW, format!("no hits for {gap:?}: {}", app.log()));
    assert_eq!(app.log_lines("is of no use"), 2, "{}", app.log());
    verdict
}

/// It was away during a failover, and the old master has not been told yet that it is none.
#[test]
#[ignore = "long: Sentinels and their servers"]
fn a_sentinel_with_an_old_opinion_is_not_believed() {
    let (mut guarded, origin) = (Guarded::start(), Origin::start());
    let app = configured(&guarded).origin(&origin).connect();
    let old = guarded.servers[0].address().to_string();
    assert_eq!(app.health()["redis"]["master"], old);
    guarded.sentinels[2].kill();
    guarded.sentinels[0].query::<()>(&["SENTINEL", "FAILOVER", MASTER]);
    wait_until(SOON, "the new master is used", || {
        app.health()["redis"]["master"] != old
    });
    guarded.sentinels[..2].iter().for_each(Redis::freeze);
    guarded.sentinels[2].start_again();
    let address = || {
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER];
        guarded.sentinels[2].query::<Vec<String>>(&words).join(":")
    };
    assert_eq!(address(), old, "it believes what was");
    let role = || guarded.servers[0].info("replication", "role");
    assert_eq!(
        role().as_deref(),
        Some("master"),
        "and so does the old master"
    );
    let asked = guarded.servers[0].lookups();
    // The others do not answer: the old opinion is the only one that is heard.
    wait_until(SOON, "only one sentinel answers", || {
        let sentinels = app.health()["redis"]["sentinels"].clone();
        let is_up = |n: usize| sentinels[n]["status"] == "up";
        !is_up(0) && !is_up(1) && is_up(2)
    });
    for n in 0..200 {
        assert_eq!(app.value(&format!("k{n}")).0, format!("value of k{n}"));
        assert_ne!(app.health()["redis"]["master"], old);
    }
    assert_eq!(guarded.servers[0].lookups(), asked);
}

/// Nobody is left to say where the master is, and the old one says that it is none.
#[test]
#[ignore = "long: Sentinels and their servers"]
fn a_master_that_turns_replica_unseen_by_its_sentinels_is_left_alone() {
    let (guarded, origin) = (Guarded::start(), Origin::start());
    let app = configured(&guarded).origin(&origin).connect();
    guarded.sentinels.iter().for_each(Redis::freeze);
    let old = &guarded.servers[0];
    let port = guarded.servers[1].address().port().to_string();
    old.query::<()>(&["REPLICAOF", "127.0.0.1", &port]);
    old.query::<()>(&["CLIENT", "KILL", "TYPE", "normal"]);
    let mut n = 0;
    wait_until(SOON, "it is not used any more", || {
        n += 1;
        assert_eq!(app.value(&format!("k{n}")).0, format!("value of k{n}"));
        !app.redis_is_up()
    });
    assert!(
        app.log().contains("not a master: its role is slave"),
        "{}",
        app.log()
    );
    old.query::<()>(&["REPLICAOF", "NO", "ONE"]);
    guarded.sentinels.iter().for_each(Redis::thaw);
    app.wait_for_redis();
}

#[test]
#[ignore = "long: Sentinels and their servers"]
fn without_any_sentinel_it_serves_and_finds_the_master_when_they_come() {
    let (mut guarded, origin) = (Guarded::start(), Origin::start());
    guarded.sentinels.iter_mut().for_each(Redis::kill);
    let app = configured(&guarded).origin(&origin).start_in_outage();
    assert_eq!(app.value("a"), ("value of a".into(), "primary".into()));
    let fault = app.health()["redis"]["last_fault"].to_string();
    assert!(fault.contains("no sentinel of mymaster answers"), "{fault}");
    guarded.sentinels[1].start_again();
    app.wait_for_redis();
    wait_until(SOON, "values are written to it", || {
        app.value("b");
        guarded.servers[0].value("b").is_some()
    });
    assert_eq!(app.log_lines("redis master of mymaster is"), 1);
}

#[test]
#[ignore = "long: Sentinels and their servers"]
fn sentinels_that_know_no_such_master_or_refuse_us_are_told_of_once() {
    let (guarded, origin) = (Guarded::start(), Origin::start());
    guarded.sentinels[0].query::<()>(&["ACL", "SETUSER", "default", ">secret"]);
    let app = configured(&guarded)
        .set("redis", "master", "other")
        .origin(&origin)
        .start_in_outage();
    wait_until(SOON, "it is said", || {
        app.log_lines("it knows no master other") == 2 && app.log_lines("refuses us") == 1
    });
    let_pass(Duration::from_secs(1));
    assert_eq!(app.value("a"), ("value of a".into(), "primary".into()));
    assert!(app.log().lines().count() < 10, "{}", app.log());
}
