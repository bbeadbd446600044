//! A master of a cluster dies, hangs or is replaced under load; slots move; nodes come and go. It is the
//! concern of the keys that it had: those of the others go on coming from Redis.

use std::time::{Duration, Instant};

use super::{SOURCE, connections_of_app, play, verdict_of, wait_until_used};
use crate::harness::{
    App, Cluster, Config, Control, Load, Origin, Redis, Report, SOON, Verdict, let_pass, wait_until,
};

/// How long those whose nodes are well may be without hits.
const GAP: Duration = Duration::from_millis(80);
/// Keys that are in Redis from the start.
const KNOWN: usize = 300;

/// An app that is told some of the nodes.
pub fn configured(cluster: &Cluster) -> Config {
    App::configured()
        .set("redis", "mode", "cluster")
        .set("redis", "nodes", &cluster.seeds())
}

/// The keys that are in Redis from the start.
pub fn known() -> impl Iterator<Item = String> {
    (0..KNOWN).map(|n| format!("known-{n}"))
}

/// A cluster, an app that uses it, and its clients, which end first.
struct Scene {
    clients: Option<Clients>,
    app: App,
    cluster: Cluster,
    _origin: Origin,
}

/// 12 clients that ask the first master, half of whose keys are new, and 20 that ask the others for what they
/// have.
struct Clients {
    victims: Load,
    others: Load,
    control: Control,
}

impl Clients {
    fn start(app: &App) -> Self {
        let control = Control::start(app);
        let (first, rest): (Vec<_>, Vec<_>) = known().partition(|key| Cluster::was_of(0, key));
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
        Self {
            victims,
            others,
            control,
        }
    }
}

impl Scene {
    fn start(cluster: Cluster) -> Self {
        let origin = Origin::slow(SOURCE);
        cluster.fill(known());
        let app = configured(&cluster).origin(&origin).connect();
        Self {
            clients: Some(Clients::start(&app)),
            app,
            cluster,
            _origin: origin,
        }
    }

    /// The same, with all under way.
    fn under_way(cluster: Cluster) -> Self {
        let scene = Self::start(cluster);
        wait_until(SOON, "keys come from redis", || {
            scene.app.figure("/answers/redis") > 1000
        });
        scene
    }

    /// Ends the load; what was seen.
    fn stop(&mut self) -> Seen {
        let clients = self.clients.take().expect("it ends once");
        let (victims, others) = (clients.victims.stop(), clients.others.stop());
        let control = clients.control.stop();
        Seen {
            victims: victims.beside(&control),
            others: others.beside(&control),
        }
    }
}

/// What the clients of the first master saw, and those of the others.
struct Seen {
    victims: Report,
    others: Report,
}

impl Seen {
    fn verdict(&self) -> Verdict {
        verdict_of(&[&self.victims, &self.others])
    }

    /// The same. Those whose nodes are well had their answers since `began` from Redis: all of them, but for
    /// what a busy machine does to servers that are well. If the keys of all were out with those of one, it
    /// would be half.
    fn verdict_since(&self, began: Instant) -> Verdict {
        let mut verdict = self.verdict();
        let answers = self
            .others
            .answers
            .iter()
            .filter(|answer| answer.at > began);
        let hits = answers.clone().filter(|answer| answer.from_redis).count();
        let all = answers.count();
        verdict.hold(all > 100, "no load");
        let share = format!("{hits} of {all} from redis");
        verdict.hold_in_time(hits * 4 > all * 3, share);
        verdict
    }
}

/// How many slots a node serves, as far as the app knows.
fn slots_of(app: &App, node: &Redis) -> Option<u64> {
    let health = app.health();
    let mut nodes = health["redis"]["nodes"].as_array()?.iter();
    nodes.find(|known| known["address"] == node.address().to_string())?["slots"].as_u64()
}

/// What is said of all this is little.
#[track_caller]
fn assert_brief(app: &App) {
    assert!(app.log().lines().count() < 30, "{}", app.log());
}

#[test]
#[ignore = "long: a failover under load"]
fn a_killed_master_is_an_outage_of_its_keys_only() {
    failover(
        "a killed master of a cluster",
        |cluster| cluster.masters[0].kill(),
        |cluster| cluster.masters[0].start_again(),
    );
}

#[test]
#[ignore = "long: a failover under load"]
fn a_frozen_master_is_an_outage_of_its_keys_only() {
    failover(
        "a frozen master of a cluster",
        |cluster| cluster.masters[0].freeze(),
        |cluster| cluster.masters[0].thaw(),
    );
}

#[test]
#[ignore = "long: a failover under load"]
fn a_master_that_hands_over_is_let_go() {
    failover(
        "a master of a cluster hands over",
        |cluster| cluster.replicas[0].query::<()>(&["CLUSTER", "FAILOVER"]),
        |_| {},
    );
}

fn failover(name: &str, begin: impl Fn(&mut Cluster), end: impl Fn(&mut Cluster)) {
    play(name, || failover_once(&begin, &end));
}

fn failover_once(begin: &impl Fn(&mut Cluster), end: &impl Fn(&mut Cluster)) -> Verdict {
    let mut scene = Scene::under_way(Cluster::start());
    let began = Instant::now();
    begin(&mut scene.cluster);
    wait_until_promoted(&scene.cluster);
    wait_until_used(&scene.cluster.replicas[0], Instant::now());
    end(&mut scene.cluster);
    wait_until(SOON, "the old master is a replica", || {
        scene.cluster.masters[0]
            .info("replication", "role")
            .as_deref()
            == Some("slave")
    });
    let_pass(SOURCE * 10);
    let ended = Instant::now();
    let seen = scene.stop();
    let (app, cluster) = (&scene.app, &scene.cluster);
    let mut verdict = seen.verdict_since(began);
    let gap = seen.others.longest_without_redis(began, ended);
    verdict.hold_in_time(gap < GAP, format!("{gap:?} without hits: {}", app.log()));
    assert_eq!(connections_of_app(&cluster.masters[0]), [""; 0]);
    app.wait_for_redis();
    let said = app.log_lines("has taken the place of");
    assert_eq!(said, 1, "{}", app.log());
    assert_brief(app);
    verdict
}

fn wait_until_promoted(cluster: &Cluster) {
    wait_until(SOON, "the replica is promoted", || {
        cluster.replicas[0].info("replication", "role").as_deref() == Some("master")
    });
}

#[test]
#[ignore = "long: a failover under load"]
fn a_thousand_slots_move_while_they_are_read_and_written() {
    play("a thousand slots move", a_thousand_slots_move);
}

fn a_thousand_slots_move() -> Verdict {
    let mut scene = Scene::under_way(Cluster::start());
    let masters = &scene.cluster.masters;
    let began = Instant::now();
    let slots = 0..1000;
    for slot in slots.clone() {
        scene.cluster.move_slot(slot, &masters[0], &masters[1]);
    }
    wait_until(SOON, "the app knows", || {
        slots_of(&scene.app, &masters[1]) == Some(5461 + slots.len() as u64)
    });
    let seen = scene.stop();
    let mut verdict = seen.verdict_since(began);
    let answers = &seen.victims.answers;
    let hits = answers.iter().filter(|answer| answer.from_redis).count();
    // Half of what they ask for has never been there.
    let asked = answers.len() / 2;
    verdict.hold_in_time(hits * 4 > asked * 3, format!("{hits} hits of {asked}"));
    scene.app.wait_for_redis();
    assert_brief(&scene.app);
    verdict
}

#[test]
#[ignore = "long: a failover under load"]
fn a_node_comes_and_goes() {
    play("a node comes and goes", a_node_is_taken_in_and_forgotten);
}

fn a_node_is_taken_in_and_forgotten() -> Verdict {
    let mut scene = Scene::start(Cluster::start());
    let (app, cluster) = (&scene.app, &scene.cluster);
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
    let verdict = scene.stop().verdict_since(began);
    assert_brief(&scene.app);
    verdict
}

/// As a cluster is set up when nobody thinks of it: a part that is gone closes all of it, until a replica
/// has taken over.
#[test]
#[ignore = "long: a failover under load"]
fn a_cluster_that_closes_when_a_part_is_gone_costs_no_client_an_error() {
    play("a part closes all of a cluster", a_part_closes_all_of_it);
}

fn a_part_closes_all_of_it() -> Verdict {
    let mut scene = Scene::under_way(Cluster::start_with(&[]));
    scene.cluster.masters[0].kill();
    wait_until_promoted(&scene.cluster);
    wait_until_used(&scene.cluster.replicas[0], Instant::now());
    wait_until(Duration::from_secs(2), "all of it is used", || {
        scene.app.redis_is_up()
    });
    scene.stop().verdict()
}
