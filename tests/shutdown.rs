//! The end: what is in flight is finished, nobody new is let in, and a second signal does not wait.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::harness::{
    App, Client, NoResponse, Origin, Redis, SOON, SourceFault, alone, wait_until,
};

/// An app with 20 requests that its source keeps waiting.
fn in_flight(origin: &Origin, redis: &Redis, drain_timeout: &str) -> (App, Vec<Client>) {
    origin.set_fault(SourceFault::Hangs);
    let app = App::configured()
        .redis(redis)
        .origin(origin)
        .set("server", "drain_timeout", drain_timeout)
        .connect();
    let mut clients: Vec<_> = (0..20).map(|_| app.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /api/data/k{n} HTTP/1.1\r\nHost: h\r\n\r\n"));
    }
    wait_until(SOON, "all are in flight", || origin.calls() == 20);
    (app, clients)
}

#[test]
fn what_is_in_flight_is_finished_and_nobody_new_is_let_in() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let (mut app, mut clients) = in_flight(&origin, &redis, "20s");
    let mut idle = app.client();
    app.terminate();
    wait_until(SOON, "connections are refused", || {
        Client::try_connect(app.address()).is_err()
    });
    assert_eq!(idle.rest(), Ok(Vec::new()), "who is idle is told to go");
    origin.set_fault(None);
    for (n, client) in clients.iter_mut().enumerate() {
        let answer = client.response(false).expect("an answer");
        assert_eq!(answer.value().0, format!("value of k{n}"));
        assert_eq!(answer.field("connection"), Some("close"));
        assert_eq!(client.rest(), Ok(Vec::new()));
    }
    let (status, took) = app.wait_for_end(SOON);
    assert_eq!(status.code(), Some(0));
    assert!(
        took < Duration::from_secs(2),
        "nothing was left to wait for: {took:?}"
    );
    wait_until(SOON, "what was fetched is in redis", || {
        redis.query::<u64>(&["DBSIZE"]) == 20
    });
}

#[test]
fn the_last_words_tell_what_is_left_behind() {
    let (redis, origin) = (Redis::not_started(), Origin::start());
    let mut app = App::with(&redis, &origin).start_in_outage();
    (0..3).for_each(|n| drop(app.value(&format!("k{n}"))));
    app.terminate();
    assert_eq!(app.wait_for_end(SOON).0.code(), Some(0));
    for said in [
        "outage of redis lasts: ",
        "answers: source 3; ",
        "lost with this process: 3 values that waited for redis",
    ] {
        assert_eq!(app.log_lines(said), 1, "{said} in {}", app.log());
    }
}

#[test]
fn a_drain_ends_with_its_time_out() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let (mut app, mut clients) = in_flight(&origin, &redis, "1s");
    app.terminate();
    let (status, took) = app.wait_for_end(SOON);
    assert_eq!(status.code(), Some(0));
    assert!((900..3000).contains(&took.as_millis()), "{took:?}");
    assert!(
        app.log().contains("20 connections were cut off"),
        "{}",
        app.log()
    );
    assert!(
        clients
            .iter_mut()
            .all(|client| client.response(false).is_err())
    );
}

#[test]
fn a_second_signal_ends_at_once() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let (mut app, _clients) = in_flight(&origin, &redis, "20s");
    app.terminate();
    wait_until(SOON, "it drains", || app.log().contains("draining"));
    app.interrupt();
    let (status, took) = app.wait_for_end(SOON);
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn it_is_not_ready_while_it_drains() {
    let (redis, origin) = (Redis::start(), Origin::start());
    let (app, _clients) = in_flight(&origin, &redis, "20s");
    // A request in flight keeps this connection open over the signal.
    let mut client = app.client();
    let ready = "GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n";
    client.send(format!(
        "GET /api/data/k0 HTTP/1.1\r\nHost: h\r\n\r\n{ready}"
    ));
    wait_until(SOON, "it has joined", || app.figure("/source/joined") == 1);
    app.terminate();
    wait_until(SOON, "it drains", || app.log().contains("draining"));
    origin.set_fault(None);
    let last = client.response(false).expect("an answer");
    assert_eq!(
        (last.status, last.field("connection")),
        (200, Some("close"))
    );
    assert_eq!(
        client.response(false).err(),
        Some(NoResponse::Ended(0)),
        "and nothing after it"
    );
}

/// Under load every answer that the app gave has reached its client, whole, and none is cut off.
#[test]
fn a_signal_under_load_loses_no_request_that_was_read() {
    alone();
    let (redis, origin) = (Redis::start(), Origin::slow(Duration::from_millis(20)));
    let mut app = App::with(&redis, &origin).connect();
    let (received, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for number in 0..32 {
            let (received, is_over, address) = (&received, &is_over, app.address());
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for n in 0.. {
                    let key = format!("k{}-{}", number * (n % 2), n);
                    let request = format!("GET /api/data/{key} HTTP/1.1\r\nHost: h\r\n\r\n");
                    let answer = client.try_send(request).map(|()| client.response(false));
                    match answer {
                        Ok(Ok(answer)) => {
                            assert_eq!(answer.value().0, Origin::value_of(&key));
                            received.fetch_add(1, Ordering::Relaxed);
                            if answer.field("connection") == Some("close") {
                                return;
                            }
                        }
                        // Ended between two requests: what was sent into that was never read.
                        Ok(Err(NoResponse::Ended(0))) | Err(_) => {
                            assert!(is_over.load(Ordering::Relaxed), "ended before the signal");
                            return;
                        }
                        Ok(Err(why)) => panic!("an answer was lost: {why:?}"),
                    }
                }
            });
        }
        wait_until(SOON, "there is load", || {
            received.load(Ordering::Relaxed) > 2000
        });
        is_over.store(true, Ordering::Relaxed);
        app.terminate();
    });
    assert_eq!(app.wait_for_end(SOON).0.code(), Some(0));
    let log = app.log();
    let said = log
        .lines()
        .last()
        .and_then(|line| line.split_once("answers: "));
    let counts = said.map(|(_, counts)| {
        counts
            .split(", ")
            .filter_map(|count| count.rsplit(' ').next()?.parse::<u64>().ok())
    });
    let given: u64 = counts.into_iter().flatten().sum();
    assert_eq!(given, received.into_inner(), "given and received: {log}");
}
