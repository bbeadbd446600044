//! Rule 1 in a cluster: what one node has lost or has not is told by that node alone.

use super::{CHANGED, assert_seen, hit, make_known, path};
use crate::harness::{App, Cluster, Monitor, Origin, Redis, SOON, wait_until};

/// Keys of the first master, and one of them.
const COUNT: usize = 20;

struct Scene {
    cluster: Cluster,
    origin: Origin,
    app: App,
    keys: Vec<String>,
}

impl Scene {
    /// The app knows these keys of the first master, and asked for all of them a moment ago.
    fn set() -> Self {
        let (cluster, origin) = (Cluster::start(), Origin::start());
        let all = (0..).map(|n| format!("k{n}"));
        let of_first = all.filter(|key| Cluster::was_of(0, key));
        let keys: Vec<String> = of_first.take(COUNT).collect();
        let app = App::configured()
            .set("redis", "mode", "cluster")
            .set("redis", "nodes", &cluster.seeds())
            .origin(&origin)
            .start();
        app.wait_for_redis();
        let texts = keys.iter().map(String::as_str);
        make_known(&app, &cluster.masters[0], texts);
        wait_until(SOON, "the replica has them", || {
            cluster.replicas[0].query::<usize>(&["DBSIZE"]) == COUNT
        });
        keys.iter().for_each(|key| hit(&app, key));
        Self {
            cluster,
            origin,
            app,
            keys,
        }
    }

    /// Another service changes a key of `node`.
    #[track_caller]
    fn is_seen(&self, node: &Redis) {
        let monitor = Monitor::start(node);
        let key = &self.keys[7];
        self.origin.put(key, CHANGED);
        node.query::<()>(&["DEL", key]);
        assert_seen(&self.app, node, &monitor, key, CHANGED);
    }
}

#[test]
fn a_del_is_seen_after_our_connections_to_all_nodes_were_killed() {
    let scene = Scene::set();
    for node in &scene.cluster.masters {
        node.query::<()>(&["CLIENT", "KILL", "TYPE", "normal"]);
    }
    scene.is_seen(&scene.cluster.masters[0]);
}

/// Another process answers, and it has what the first one had.
#[test]
fn a_del_at_a_replica_that_was_promoted_is_seen() {
    let mut scene = Scene::set();
    scene.cluster.masters[0].kill();
    let new = &scene.cluster.replicas[0];
    wait_until(SOON, "it is promoted and used", || {
        let before = new.lookups();
        scene.app.value(&scene.keys[0]);
        new.info("replication", "role").as_deref() == Some("master") && new.lookups() > before
    });
    scene.is_seen(new);
}

/// Back with nothing, and nobody else has taken its place.
#[test]
fn a_master_that_comes_back_empty_is_no_stampede_of_its_keys() {
    let mut scene = Scene::set();
    let stay = ["CONFIG", "SET", "cluster-replica-no-failover", "yes"];
    scene.cluster.replicas[0].query::<()>(&stay);
    let first = &mut scene.cluster.masters[0];
    first.kill();
    first.start_again();
    let (app, keys) = (&scene.app, &scene.keys);
    let calls = scene.origin.calls();
    let first = &scene.cluster.masters[0];
    assert_eq!(first.query::<usize>(&["DBSIZE"]), 0);
    for key in keys {
        assert_eq!(app.get(&path(key)).value().0, Origin::value_of(key));
    }
    wait_until(SOON, "they are written back", || {
        keys.iter().for_each(|key| drop(app.value(key)));
        first.query::<usize>(&["DBSIZE"]) == COUNT
    });
    assert_eq!(scene.origin.calls(), calls, "copies stood in");
}
