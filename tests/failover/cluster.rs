//! A master of a cluster dies, hangs or is replaced; slots move; nodes come and go. It is the concern
//! of the keys that it had: those of the others go on coming from Redis.

use std::time::{Duration, Instant};

use evenkeel::cache::routing::hash_slot::HashSlot;

use super::{SOURCE, Seen, connections_of_app, play, wait_until_used};
use crate::harness::{
    Admits, App, Authority, Cluster, Config, Load, Origin, Redis, Report, SOON, TlsRedis,
    Undisturbed, free_address, let_pass, wait_until,
};

/// How long those whose nodes are well may be without hits.
const GAP: Duration = Duration::from_millis(80);
/// Keys that are in Redis from the start.
const KNOWN: usize = 300;

fn configured(cluster: &Cluster) -> Config {
    App::configured()
        .set("redis", "mode", "cluster")
        .set("redis", "nodes", &cluster.seeds())
}

fn known() -> impl Iterator<Item = String> {
    (0..KNOWN).map(|n| format!("known-{n}"))
}

/// 12 clients that ask the first master, half of whose keys are new, and 20 that ask the others for
/// what they have.
struct Loads {
    victims: Load,
    others: Load,
}

impl Loads {
    fn start(app: &App) -> Self {
        let of = |is_first: bool| -> Vec<String> {
            known()
                .filter(|key| Cluster::was_of(0, key) == is_first)
                .collect()
        };
        let (first, rest) = (of(true), of(false));
        let new = |client: usize, n: usize| {
            let mut keys = (0..).map(|m| format!("new-{client}-{n}-{m}"));
            keys.find(|key| Cluster::was_of(0, key))
                .expect("a key of the first master")
        };
        let victims = Load::start(app.address(), 12, move |client, n| match n % 2 {
            0 => first[(n / 2 + client * 7) % first.len()].clone(),
            _ => new(client, n),
        });
        let others = Load::start(app.address(), 20, move |client, n| {
            rest[(n + client * 7) % rest.len()].clone()
        });
        Self { victims, others }
    }

    /// What the clients of the first master saw, and those of the others.
    fn stop(self, undisturbed: Undisturbed) -> (Report, Report) {
        let (victims, others) = (self.victims.stop(), self.others.stop());
        let undisturbed = undisturbed.stop();
        (
            victims.beside(&undisturbed, SOURCE),
            others.beside(&undisturbed, SOURCE),
        )
    }
}

/// How many slots a node serves, as far as the app knows.
fn slots_of(app: &App, node: &Redis) -> Option<u64> {
    let health = app.health();
    let mut nodes = health["redis"]["nodes"].as_array()?.iter();
    nodes.find(|known| known["address"] == node.address().to_string())?["slots"].as_u64()
}

impl Seen {
    /// Answers to requests sent since `began` came from Redis: all of them, but for what a busy machine
    /// does to servers that are well. If the keys of all were out with those of one, it would be half.
    fn served_from_redis(&mut self, report: &Report, began: Instant) {
        let answers = report.answers.iter().filter(|answer| answer.at > began);
        let hits = answers.clone().filter(|answer| answer.from_redis).count();
        let all = answers.count();
        assert!(all > 100, "no load");
        self.hold(hits * 4 > all * 3, format!("{hits} of {all} from redis"));
    }
}

#[test]
fn a_killed_master_is_an_outage_of_its_keys_only() {
    failover(
        |cluster| cluster.masters[0].kill(),
        |cluster| {
            cluster.masters[0].start_again();
        },
    );
}

#[test]
fn a_frozen_master_is_an_outage_of_its_keys_only() {
    failover(
        |cluster| cluster.masters[0].freeze(),
        |cluster| {
            cluster.masters[0].thaw();
        },
    );
}

#[test]
fn a_master_that_hands_over_is_let_go() {
    failover(
        |cluster| cluster.replicas[0].query::<()>(&["CLUSTER", "FAILOVER"]),
        |_| {},
    );
}

fn failover(begin: impl Fn(&mut Cluster), end: impl Fn(&mut Cluster)) {
    play(|| failover_once(&begin, &end));
}

fn failover_once(begin: &impl Fn(&mut Cluster), end: &impl Fn(&mut Cluster)) -> Seen {
    let (mut cluster, origin) = (Cluster::start(), Origin::slow(SOURCE));
    cluster.fill(known());
    let app = configured(&cluster).origin(&origin).start();
    app.wait_for_redis();
    let undisturbed = Undisturbed::start(&origin, &app);
    let loads = Loads::start(&app);
    wait_until(SOON, "keys come from redis", || {
        app.figure("/answers/redis") > 1000
    });
    let began = Instant::now();
    begin(&mut cluster);
    let role = |redis: &Redis| redis.info("replication", "role");
    wait_until(SOON, "the replica is promoted", || {
        role(&cluster.replicas[0]).as_deref() == Some("master")
    });
    wait_until_used(&cluster.replicas[0], Instant::now());
    end(&mut cluster);
    wait_until(SOON, "the old master is a replica", || {
        role(&cluster.masters[0]).as_deref() == Some("slave")
    });
    let_pass(SOURCE * 10);
    let ended = Instant::now();
    let (victims, others) = loads.stop(undisturbed);
    let mut seen = Seen::of(&[&victims, &others]);
    seen.served_from_redis(&others, began);
    let gap = others.longest_without_redis(began, ended);
    seen.hold(gap < GAP, format!("{gap:?} without hits: {}", app.log()));
    assert_eq!(connections_of_app(&cluster.masters[0]), [""; 0]);
    app.wait_for_redis();
    let said = app.log_lines("has taken the place of");
    assert_eq!(said, 1, "{}", app.log());
    assert!(app.log().lines().count() < 30, "{}", app.log());
    seen
}

#[test]
fn a_thousand_slots_move_while_they_are_read_and_written() {
    play(a_thousand_slots_move);
}

fn a_thousand_slots_move() -> Seen {
    let (cluster, origin) = (Cluster::start(), Origin::slow(SOURCE));
    cluster.fill(known());
    let app = configured(&cluster).origin(&origin).start();
    app.wait_for_redis();
    let undisturbed = Undisturbed::start(&origin, &app);
    let loads = Loads::start(&app);
    wait_until(SOON, "keys come from redis", || {
        app.figure("/answers/redis") > 1000
    });
    let began = Instant::now();
    let slots = 0..1000;
    for slot in slots.clone() {
        cluster.move_slot(slot, &cluster.masters[0], &cluster.masters[1]);
    }
    wait_until(SOON, "the app knows", || {
        slots_of(&app, &cluster.masters[1]) == Some(5461 + slots.len() as u64)
    });
    let (victims, others) = loads.stop(undisturbed);
    let mut seen = Seen::of(&[&victims, &others]);
    seen.served_from_redis(&others, began);
    let hits = victims
        .answers
        .iter()
        .filter(|answer| answer.from_redis)
        .count();
    // Half of what they ask for has never been there.
    let asked = victims.answers.len() / 2;
    seen.hold(hits * 4 > asked * 3, format!("{hits} hits of {asked}"));
    app.wait_for_redis();
    assert!(app.log().lines().count() < 30, "{}", app.log());
    seen
}

#[test]
fn keys_of_a_slot_on_the_move_are_read_and_written_where_they_are() {
    let (cluster, origin) = (Cluster::start(), Origin::start());
    let app = configured(&cluster)
        .origin(&origin)
        .without_memory()
        .start();
    app.wait_for_redis();
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

#[test]
fn a_node_comes_and_goes() {
    play(a_node_is_taken_in_and_forgotten);
}

fn a_node_is_taken_in_and_forgotten() -> Seen {
    let (cluster, origin) = (Cluster::start(), Origin::slow(SOURCE));
    cluster.fill(known());
    let app = configured(&cluster).origin(&origin).start();
    app.wait_for_redis();
    let undisturbed = Undisturbed::start(&origin, &app);
    let loads = Loads::start(&app);
    // Or it would become somebody's replica as soon as it has no slots.
    let mut node = Cluster::node(&["--cluster-allow-replica-migration", "no"]);
    cluster.take_in(&node);
    let began = Instant::now();
    let slots = 0..100;
    let nodes = || {
        app.health()["redis"]["nodes"]
            .as_array()
            .map_or(0, Vec::len)
    };
    for slot in slots.clone() {
        cluster.move_slot(slot, &cluster.masters[0], &node);
    }
    wait_until(SOON, "the new node is used", || {
        nodes() == 4 && node.lookups() > 10
    });
    for slot in slots {
        cluster.move_slot(slot, &node, &cluster.masters[0]);
    }
    wait_until(SOON, "the new node is let go", || nodes() == 3);
    cluster.forget(&node);
    assert_eq!(connections_of_app(&node), [""; 0]);
    node.kill();
    let_pass(SOURCE * 5);
    let (victims, others) = loads.stop(undisturbed);
    let mut seen = Seen::of(&[&victims, &others]);
    seen.served_from_redis(&others, began);
    assert!(app.log().lines().count() < 30, "{}", app.log());
    seen
}

/// As a cluster is set up when nobody thinks of it: a part that is gone closes all of it, until a replica
/// has taken over.
#[test]
fn a_cluster_that_closes_when_a_part_is_gone_costs_no_client_an_error() {
    play(a_part_closes_all_of_it);
}

fn a_part_closes_all_of_it() -> Seen {
    let (mut cluster, origin) = (Cluster::start_with(&[]), Origin::slow(SOURCE));
    cluster.fill(known());
    let app = configured(&cluster).origin(&origin).start();
    app.wait_for_redis();
    let undisturbed = Undisturbed::start(&origin, &app);
    let loads = Loads::start(&app);
    wait_until(SOON, "keys come from redis", || {
        app.figure("/answers/redis") > 1000
    });
    cluster.masters[0].kill();
    wait_until(SOON, "the replica is promoted", || {
        cluster.replicas[0].info("replication", "role").as_deref() == Some("master")
    });
    wait_until_used(&cluster.replicas[0], Instant::now());
    wait_until(Duration::from_secs(2), "all of it is used", || {
        app.redis_is_up()
    });
    let (victims, others) = loads.stop(undisturbed);
    Seen::of(&[&victims, &others])
}

/// The servers are found without a command that finds them.
#[test]
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
        .start();
    app.wait_for_redis();
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
fn a_node_of_a_cluster_that_is_taken_for_a_server_is_called_so() {
    let (cluster, origin) = (Cluster::start(), Origin::start());
    let app = App::start(&cluster.masters[0], &origin);
    app.wait_for_outage();
    assert_eq!(app.value("known-0").1, "primary");
    assert_eq!(app.log_lines("is a node of a cluster"), 1, "{}", app.log());
}

#[test]
fn a_server_that_is_taken_for_a_cluster_is_called_so() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::configured()
        .set("redis", "mode", "cluster")
        .set("redis", "nodes", &redis.address().to_string())
        .origin(&origin)
        .start();
    app.wait_for_outage();
    assert_eq!(app.value("a").1, "primary");
    wait_until(SOON, "it is said", || {
        app.log().contains("cluster support disabled")
    });
    let_pass(Duration::from_secs(1));
    assert!(app.log().lines().count() < 10, "{}", app.log());
}

/// One node is a cluster too; it does not know its own address, and tells its port for TLS.
#[test]
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
        .start();
    app.wait_for_redis();
    assert_eq!(app.value("a"), ("over TLS".into(), "cache".into()));
    assert_eq!(
        app.health()["redis"]["nodes"][0]["address"],
        server.address().to_string()
    );
    assert_eq!(app.value("b").1, "primary");
    wait_until(SOON, "it is written", || redis.value("b").is_some());
}

#[test]
fn health_and_metrics_show_which_part_is_out() {
    let (mut cluster, origin) = (Cluster::start(), Origin::start());
    cluster.fill(known());
    // Nobody takes over.
    cluster.replicas[0].kill();
    let app = configured(&cluster).origin(&origin).start();
    app.wait_for_redis();
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
