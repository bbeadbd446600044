//! The master dies, hangs or is replaced; Sentinels hang or die. Every time a server that is a master
//! is used, and none that was one.

use std::time::{Duration, Instant};

use super::{SOURCE, assert_unharmed, connections_of_app, wait_until_used};
use crate::harness::{
    App, Config, Guarded, Load, MASTER, Origin, SOON, Undisturbed, alone, let_pass, wait_until,
};

fn configured(guarded: &Guarded) -> Config {
    App::configured()
        .set("redis", "mode", "sentinel")
        .set("redis", "nodes", &guarded.nodes())
        .set("redis", "master", MASTER)
}

#[test]
fn a_killed_master_is_replaced_and_comes_back_as_a_replica() {
    failover(
        |guarded| guarded.servers[0].kill(),
        |guarded| guarded.servers[0].start_again(),
    );
}

#[test]
fn a_frozen_master_is_replaced_and_not_used_when_it_thaws() {
    failover(
        |guarded| guarded.servers[0].freeze(),
        |guarded| guarded.servers[0].thaw(),
    );
}

#[test]
fn a_master_that_is_replaced_by_command_is_let_go() {
    failover(
        |guarded| guarded.sentinels[0].query::<()>(&["SENTINEL", "FAILOVER", MASTER]),
        |_| {},
    );
}

/// 32 clients, half of whose keys are new, before, during and after a failover.
fn failover(begin: impl Fn(&mut Guarded), end: impl Fn(&mut Guarded)) {
    alone();
    let (mut guarded, origin) = (Guarded::start(), Origin::slow(SOURCE));
    let app = configured(&guarded).origin(&origin).start();
    app.wait_for_redis();
    let undisturbed = Undisturbed::start(&origin);
    let load = Load::half_new(app.address());
    wait_until(SOON, "keys come from redis", || {
        app.figure("/answers/redis") > 200
    });
    let old = guarded.servers[0].address();
    begin(&mut guarded);
    wait_until(SOON, "a replica is promoted", || {
        guarded.promoted(old).is_some()
    });
    let promoted = Instant::now();
    let new = guarded.promoted(old).expect("it was a moment ago");
    wait_until_used(&app, new, promoted);
    assert_eq!(app.health()["redis"]["master"], new.address().to_string());
    end(&mut guarded);
    // It goes on calling itself a master until the Sentinels have seen that for eight seconds.
    let old = &guarded.servers[0];
    let asked = old.lookups();
    let_pass(Duration::from_secs(1));
    let report = load.stop().beside(&undisturbed.stop(), SOURCE);
    assert_unharmed(&report, 1, &app.log());
    assert_eq!(connections_of_app(old), [""; 0]);
    assert_eq!(old.lookups(), asked, "nobody asks it any more");
    assert!(app.redis_is_up(), "{}", app.health());
    let said = app.log_lines("redis master of mymaster is now");
    assert_eq!(said, 1, "{}", app.log());
    assert!(app.log().lines().count() < 20, "{}", app.log());
}
