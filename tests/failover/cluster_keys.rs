//! A cluster without load: where keys of a slot on the move are, who may be asked what, and what is said of it.

use std::time::Duration;

use evenkeel::cache::routing::hash_slot::HashSlot;

use super::cluster::{configured, known};
use crate::harness::{
    Admits, App, Authority, Cluster, Origin, Redis, SOON, TlsRedis, free_address, let_pass,
    wait_until,
};

#[test]
#[ignore = "long: a whole cluster"]
fn keys_of_a_slot_on_the_move_are_read_and_written_where_they_are() {
    let (cluster, origin) = (Cluster::start(), Origin::start());
    let app = configured(&cluster)
        .origin(&origin)
        .without_memory()
        .connect();
    let mut keys = known().filter(|key| Cluster::was_of(0, key));
    let key = keys.next().expect("a key of the first master");
    let slot = HashSlot::of(&key).number();
    let (from, to) = (&cluster.masters[0], &cluster.masters[2]);
    from.set(&key, "moved");
    cluster.begin_to_move(slot, from, to);
    let in_redis = ("moved".to_owned(), "cache".to_owned());
    assert_eq!(app.value(&key), in_redis, "{}", app.log());
    // Of the same slot, and nowhere yet.
    let other = format!("%7B{key}%7D-other");
    assert_eq!(app.value(&other).1, "primary");
    let count =
        |node: &Redis| -> u64 { node.query(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]) };
    wait_until(SOON, "it is written where the slot goes", || count(to) == 2);
    assert_eq!(app.value(&other).1, "cache");
    assert_eq!(count(from), 0);
    cluster.end_to_move(slot, from, to);
    assert_eq!(
        app.value(&key),
        in_redis,
        "and so it is when the slot has moved"
    );
    assert_eq!(app.value(&other).1, "cache");
    assert_eq!(origin.calls(), 1);
    assert!(app.redis_is_up());
}

/// The servers are found without a command that finds them.
#[test]
#[ignore = "long: a whole cluster"]
fn a_user_that_may_get_and_set_alone_is_served_by_all_nodes() {
    let (cluster, origin) = (Cluster::start(), Origin::start());
    cluster.fill(known());
    let user = [
        "ACL", "SETUSER", "shop", "on", ">secret", "~*", "+get", "+set",
    ];
    cluster.nodes().for_each(|node| node.query::<()>(&user));
    let app = configured(&cluster)
        .set("redis", "username", "shop")
        .environment("EVENKEEL_REDIS_PASSWORD", "secret")
        .origin(&origin)
        .without_memory()
        .connect();
    let mut client = app.client();
    for key in known() {
        let value = client.get(&format!("/api/data/{key}")).value();
        assert_eq!(
            value,
            (Origin::value_of(&key), "cache".to_owned()),
            "{}",
            app.log()
        );
    }
    assert_eq!(origin.calls(), 0);
    assert_eq!(app.log_lines("grant our user"), 1, "{}", app.log());
    assert_eq!(app.log_lines("ERROR"), 0, "{}", app.log());
}

#[test]
#[ignore = "long: a whole cluster"]
fn a_node_of_a_cluster_that_is_taken_for_a_server_is_called_so() {
    let (cluster, origin) = (Cluster::start(), Origin::start());
    let app = App::with(&cluster.masters[0], &origin).start_in_outage();
    assert_eq!(app.value("known-0").1, "primary");
    assert_eq!(app.log_lines("is a node of a cluster"), 1, "{}", app.log());
}

#[test]
#[ignore = "long: a whole cluster"]
fn a_server_that_is_taken_for_a_cluster_is_called_so() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::configured()
        .set("redis", "mode", "cluster")
        .set("redis", "nodes", &redis.address().to_string())
        .origin(&origin)
        .start_in_outage();
    assert_eq!(app.value("a").1, "primary");
    wait_until(SOON, "it is said", || {
        app.log().contains("cluster support disabled")
    });
    let_pass(Duration::from_secs(1));
    assert!(app.log().lines().count() < 10, "{}", app.log());
}

/// One node is a cluster too; it does not know its own address, and tells its port for TLS.
#[test]
#[ignore = "long: a whole cluster"]
fn a_cluster_behind_tls_is_used() {
    let (authority, origin) = (Authority::new(), Origin::start());
    let certificate = authority.issue(&["127.0.0.1"]);
    let bus = free_address().port().to_string();
    let cluster = [
        "--cluster-enabled",
        "yes",
        "--tls-cluster",
        "yes",
        "--cluster-port",
        &bus,
    ];
    let server = TlsRedis::start_with(&certificate, &authority, Admits::Everybody, &cluster);
    let redis = &server.redis;
    redis.query::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    wait_until(SOON, "it serves", || {
        redis.try_query::<()>(&["SET", "a", "over TLS"]).is_ok()
    });
    let app = App::configured()
        .set("redis", "mode", "cluster")
        .set("redis", "nodes", &server.address().to_string())
        .set("redis", "tls", "true")
        .set("redis", "ca_file", &authority.file().to_string_lossy())
        .origin(&origin)
        .connect();
    assert_eq!(app.value("a"), ("over TLS".into(), "cache".into()));
    assert_eq!(
        app.health()["redis"]["nodes"][0]["address"],
        server.address().to_string()
    );
    assert_eq!(app.value("b").1, "primary");
    wait_until(SOON, "it is written", || redis.value("b").is_some());
}

#[test]
#[ignore = "long: a whole cluster"]
fn health_and_metrics_show_which_part_is_out() {
    let (mut cluster, origin) = (Cluster::start(), Origin::start());
    cluster.fill(known());
    // Nobody takes over.
    cluster.replicas[0].kill();
    let app = configured(&cluster).origin(&origin).connect();
    assert_eq!(app.figure("/redis/slots_covered"), 16_384);
    let (first, rest): (Vec<_>, Vec<_>) = known().partition(|key| Cluster::was_of(0, key));
    cluster.masters[0].kill();
    let mut n = 0;
    wait_until(SOON, "the outage is known", || {
        n += 1;
        let key = &first[n % first.len()];
        assert_eq!(app.value(key).0, Origin::value_of(key));
        app.health()["redis"]["status"] == "partly up"
    });
    let health = app.health();
    assert_eq!(health["status"], "degraded", "{health}");
    let address = cluster.masters[0].address().to_string();
    let nodes = health["redis"]["nodes"].as_array().expect("a list");
    for node in nodes {
        let state = match node["address"] == *address {
            true => "open",
            false => "closed",
        };
        assert_eq!(node["breaker"], state, "{health}");
    }
    assert_eq!(
        health["redis"]["address"], address,
        "the worst of them: {health}"
    );
    assert_eq!(app.metric("evenkeel_redis_nodes", &["state=\"down\""]), 1.0);
    for key in rest {
        wait_until(SOON, "what is well comes from redis", || {
            let response = app.get(&format!("/api/data/{key}"));
            response.field("cache-status") == Some("evenkeel; hit; detail=redis")
        });
    }
}
