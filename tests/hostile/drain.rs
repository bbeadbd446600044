//! SIGTERM under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Target, connect, short_limits};
use crate::harness::{Client, Origin, SOON, let_pass};

#[test]
fn a_drain_under_load_answers_every_request_that_was_sent_before_it() {
    let origin = Origin::slow(Duration::from_millis(30));
    let mut target = Target::start_with(short_limits().origin(&origin), "");
    let address = target.address();
    let terminated = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..24)
        .map(|number| {
            let terminated = Arc::clone(&terminated);
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                for n in 0.. {
                    let key = match n % 2 {
                        0 => "known".to_owned(),
                        _ => format!("d-{number}-{n}"),
                    };
                    let before = !terminated.load(Ordering::SeqCst);
                    let sent =
                        client.try_send(format!("GET /api/data/{key} HTTP/1.1\r\nHost: d\r\n\r\n"));
                    let is_sent = sent.is_ok() && !terminated.load(Ordering::SeqCst);
                    match client.response(false) {
                        Ok(response) => {
                            assert_eq!(response.status, 200, "{key}");
                            if response.field("connection") == Some("close") {
                                return (true, None);
                            }
                        }
                        Err(why) if before && is_sent => {
                            return (false, Some(format!("{key}: {why:?}")));
                        }
                        // Sent while it was ending: the client sees that the connection has ended.
                        Err(_) => return (false, None),
                    }
                }
                (false, None)
            })
        })
        .collect();
    let_pass(Duration::from_millis(500));
    // Connected, sent, and not yet looked at when the signal comes.
    let late: Vec<_> = (0..50)
        .map(|n| {
            let mut client = target.client();
            client.send(format!(
                "GET /api/data/late-{n} HTTP/1.1\r\nHost: d\r\n\r\n"
            ));
            client
        })
        .collect();
    terminated.store(true, Ordering::SeqCst);
    target.terminate();
    let mut told = 0;
    for (n, mut client) in late.into_iter().enumerate() {
        let response = client
            .response(false)
            .unwrap_or_else(|why| panic!("late-{n} was lost: {why:?}"));
        assert_eq!(response.value().0, Origin::value_of(&format!("late-{n}")));
        told += usize::from(response.field("connection") == Some("close"));
    }
    assert!(told > 25, "{told} of 50 were told to go");
    let reports: Vec<_> = clients
        .into_iter()
        .map(|client| client.join().expect("sound answers"))
        .collect();
    let lost: Vec<_> = reports
        .iter()
        .filter_map(|(_, lost)| lost.clone())
        .collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(reports.iter().filter(|(told, _)| *told).count() > 20);
    let (status, took) = target.app.wait_for_end(SOON);
    assert_eq!(status.code(), Some(0), "{}", target.log());
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(Client::try_connect(address).is_err(), "the port is closed");
}

#[test]
fn clients_that_hang_do_not_hold_up_a_drain() {
    let mut target = Target::start();
    let address = target.address();
    use std::io::Write;
    let mut half_open = connect(address);
    half_open.write_all(b"GET /api/da").expect("taken");
    let _idle = connect(address);
    let mut dripping = connect(address);
    dripping
        .write_all(b"POST /x HTTP/1.1\r\nContent-Length: 100000\r\n\r\n")
        .expect("taken");
    let drip = std::thread::spawn(move || {
        let began = Instant::now();
        while began.elapsed() < SOON && dripping.write_all(b"x").is_ok() {
            std::thread::park_timeout(Duration::from_millis(50));
        }
    });
    let_pass(Duration::from_millis(300));
    target.terminate();
    let (status, took) = target.app.wait_for_end(SOON * 3);
    drip.join().expect("a thread of ours");
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(4), "{took:?}: {}", target.log());
}
