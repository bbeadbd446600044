//! Rule 7: what is dead does not hide what is alive. Addresses that drop packets silently, of servers, of
//! seeds, of one name: the others are asked at the same time, and names are resolved anew.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::{is_hit_of_redis, path};
use crate::harness::{
    Addresses, Answer, App, Cluster, Config, Dropping, FakeRedis, MASTER, Origin, PODS, Redis,
    SOON, bulk, command, free_address, wait_until,
};

/// Where the pods are after they were rescheduled.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// By when a server that is alive is found among many that are dead.
const FOUND: Duration = Duration::from_secs(5);
/// What no request may take, whatever Redis does: half of `[redis] timeout`, and what a busy machine adds.
const LATE: Duration = Duration::from_millis(250 + 250);

/// Every key is answered at once, and at last by Redis.
#[track_caller]
fn wait_until_used(app: &App, limit: Duration) {
    let mut client = app.client();
    let mut slowest = Duration::ZERO;
    wait_until(limit, "redis is used", || {
        let began = Instant::now();
        let answers = (0..9).map(|n| client.get(&path(&format!("k{n}"))));
        let hits = answers.filter(is_hit_of_redis).count();
        slowest = slowest.max(began.elapsed() / 9);
        hits == 9
    });
    assert!(slowest < LATE, "nine requests took {slowest:?} each");
}

/// Asks the server at the port of `node`, at its new address.
fn ask<T: redis::FromRedisValue>(node: &Redis, words: &[&str]) -> redis::RedisResult<T> {
    let address = SocketAddr::new(ELSEWHERE, node.address().port());
    let client = redis::Client::open(format!("redis://{address}/"))?;
    command(words).query(&mut client.get_connection_with_timeout(SOON)?)
}

fn tell(node: &Redis, words: &[&str]) {
    wait_until(SOON, "it is told", || {
        ask::<redis::Value>(node, words).is_ok()
    });
}

/// Three masters and six replicas; all of them get other addresses at the same time, the old ones drop
/// packets, and the name of the seed leads to a new one.
#[test]
fn a_cluster_whose_addresses_have_all_changed_is_found_by_the_name_of_its_seed() {
    let both = ["--bind", "127.0.0.1", "127.0.0.2"];
    let full = ["--cluster-require-full-coverage", "no"];
    let arguments = [&both[..], &full].concat();
    let mut cluster = Cluster::start_with(&arguments);
    for n in 0..3 {
        let replica = Cluster::node(&arguments);
        cluster.take_in(&replica);
        let id: String = cluster.masters[n].query(&["CLUSTER", "MYID"]);
        replica.query::<()>(&["CLUSTER", "REPLICATE", &id]);
        cluster.replicas.push(replica);
    }
    cluster.wait_until_well();
    // A replica is told of once it has shown how far it has got.
    wait_until(SOON, "every node tells of nine", || {
        let ports = |node: &Redis| {
            let told: redis::Value = node.query(&["CLUSTER", "SLOTS"]);
            let told = format!("{told:?}");
            let is_told = |other: &&Redis| told.contains(&other.address().port().to_string());
            cluster.nodes().filter(is_told).count()
        };
        cluster.nodes().all(|node| ports(node) == 9)
    });
    cluster.fill((0..9).map(|n| format!("k{n}")));
    let names = Addresses::new("127.0.0.1");
    let seed = format!("{PODS}:{}", cluster.masters[0].address().port());
    let origin = Origin::start();
    let config = App::configured()
        .set("redis", "mode", "cluster")
        .set("redis", "nodes", &seed)
        .origin(&origin);
    let app = names.of(config).connect();
    wait_until_used(&app, SOON);
    let _old: Vec<Dropping> = cluster
        .nodes()
        .map(|node| {
            node.query::<()>(&["CONFIG", "SET", "bind", "127.0.0.2"]);
            tell(node, &["CLIENT", "KILL", "TYPE", "normal"]);
            Dropping::at(node.address())
        })
        .collect();
    for node in cluster.nodes() {
        tell(node, &["CONFIG", "SET", "cluster-announce-ip", "127.0.0.2"]);
    }
    wait_until(SOON, "the outage is known", || {
        app.value("k0");
        !app.redis_is_up()
    });
    wait_until(SOON, "the nodes know where they are", || {
        let knows = |node: &Redis| {
            let told = ask::<String>(node, &["CLUSTER", "NODES"]);
            told.is_ok_and(|told| !told.contains("127.0.0.1"))
        };
        cluster.nodes().all(knows)
    });
    names.say("127.0.0.2");
    wait_until_used(&app, SOON);
    assert!(app.log().lines().count() < 20, "{}", app.log());
}

/// So many dead ones stand before the one that is alive.
const DEAD: usize = 8;

fn behind_dead_ones(alive: SocketAddr) -> (Vec<Dropping>, String) {
    let addresses: Vec<_> = (0..DEAD).map(|_| free_address()).collect();
    let dead = addresses.iter().map(|&address| Dropping::at(address));
    let dead = dead.collect();
    let all = addresses.iter().chain([&alive]);
    let all: Vec<String> = all.map(SocketAddr::to_string).collect();
    (dead, all.join(", "))
}

/// A node that owns every slot and names no other.
pub(super) fn whole_cluster(address: SocketAddr, owner: SocketAddr) -> FakeRedis {
    let host = bulk(Some(&owner.ip().to_string()));
    let node = format!("*3\r\n{host}:{}\r\n{}", owner.port(), bulk(Some("id")));
    let slots = format!("*1\r\n*3\r\n:0\r\n:16383\r\n{node}");
    FakeRedis::start_at(address, move |words| match words {
        ["CLUSTER", what] if what.eq_ignore_ascii_case("SLOTS") => Answer::Raw(slots.clone()),
        ["CLUSTER", what] if what.eq_ignore_ascii_case("INFO") => {
            let info = "cluster_state:ok\r\ncluster_current_epoch:1\r\n";
            Answer::Raw(bulk(Some(info)))
        }
        _ => Answer::Usual,
    })
}

pub(super) fn fill(fake: &FakeRedis) {
    for key in (0..9).map(|n| format!("k{n}")) {
        fake.set(&key, &Origin::value_of(&key));
    }
}

#[test]
fn dead_seeds_before_the_one_that_is_alive_do_not_keep_a_cluster_from_being_found() {
    let (address, origin) = (free_address(), Origin::start());
    let fake = whole_cluster(address, address);
    fill(&fake);
    let (_dead, nodes) = behind_dead_ones(address);
    let app = App::configured()
        .set("redis", "mode", "cluster")
        .set("redis", "nodes", &nodes)
        .origin(&origin)
        .start();
    wait_until_used(&app, FOUND);
}

#[test]
fn dead_sentinels_before_the_one_that_is_alive_do_not_keep_a_master_from_being_found() {
    let (master, origin) = (FakeRedis::start(|_| Answer::Usual), Origin::start());
    fill(&master);
    let sentinel = super::optional_commands::sentinel_of(&master);
    let (_dead, nodes) = behind_dead_ones(sentinel.address());
    let app = App::configured()
        .set("redis", "mode", "sentinel")
        .set("redis", "nodes", &nodes)
        .set("redis", "master", MASTER)
        .origin(&origin)
        .start();
    wait_until_used(&app, FOUND);
}

/// A name with two addresses, of which the first one drops packets and the second one is Redis.
struct DualStack {
    redis: Redis,
    origin: Origin,
    names: Addresses,
    _dead: Dropping,
}

impl DualStack {
    fn new() -> Self {
        let redis = Redis::start();
        for key in (0..9).map(|n| format!("k{n}")) {
            redis.set(&key, &Origin::value_of(&key));
        }
        let dead = SocketAddr::new(ELSEWHERE, redis.address().port());
        Self {
            names: Addresses::new(&format!("{ELSEWHERE} {}", redis.address().ip())),
            _dead: Dropping::at(dead),
            origin: Origin::start(),
            redis,
        }
    }

    fn configured(&self) -> Config {
        let url = format!("redis://{PODS}:{}/0", self.redis.address().port());
        let config = App::configured().set("redis", "url", &url);
        self.names.of(config.origin(&self.origin))
    }
}

/// Seen in one run of two: it is tried several times.
#[test]
fn a_dead_first_address_of_a_name_delays_neither_the_start_nor_any_new_connection() {
    let scene = DualStack::new();
    for _ in 0..4 {
        let app = scene.configured().start();
        app.wait_for_redis();
        wait_until_used(&app, Duration::from_secs(1));
        let calls = scene.origin.calls();
        // Every connection is new again and again.
        for _ in 0..5 {
            let kill = ["CLIENT", "KILL", "TYPE", "normal"];
            scene.redis.query::<()>(&kill);
            wait_until_used(&app, Duration::from_secs(1));
        }
        assert!(app.redis_is_up(), "{}", app.log());
        assert_eq!(super::loud_lines(&app), [""; 0], "it was no outage");
        let calls = scene.origin.calls() - calls;
        assert_eq!(calls, 0, "calls while redis was there all the time");
    }
}

#[test]
fn a_server_that_comes_back_behind_a_dead_first_address_is_used_again() {
    let mut scene = DualStack::new();
    let app = scene.configured().connect();
    for _ in 0..3 {
        scene.redis.save();
        scene.redis.kill();
        wait_until(SOON, "the outage is known", || {
            app.value("k0");
            !app.redis_is_up()
        });
        scene.redis.start_with_data();
        wait_until_used(&app, FOUND);
    }
}
