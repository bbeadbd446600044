//! Out of descriptors, threads or memory: the server sheds, goes on, and is back to normal afterwards.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use super::{Target, connect, short_limits};
use crate::harness::{Origin, Redis, SOON, let_pass, wait_until};

/// Every request of a fresh client is answered, as if nothing had been.
#[track_caller]
fn assert_normal(target: &Target) {
    wait_until(SOON, "all connections have ended", || {
        let client = crate::harness::Client::try_connect(target.address());
        client.is_ok_and(|mut c| {
            c.try_send("GET /healthz HTTP/1.1\r\n\r\n").is_ok()
                && c.response(false)
                    .is_ok_and(|r| r.json()["connections"]["open"] == 1)
        })
    });
    for _ in 0..50 {
        let began = Instant::now();
        assert_eq!(target.value("known").0, "the value");
        assert!(began.elapsed() < super::PROMISED);
    }
    assert_eq!(target.figure("/panics"), 0);
}

#[test]
fn starts_with_sixty_four_descriptors_says_so_and_serves() {
    let origin = Origin::slow(Duration::from_millis(5));
    let target = Target::start_with(short_limits().origin(&origin), "ulimit -n 64;");
    assert_eq!(target.log_lines("LimitNOFILE"), 1, "{}", target.log());
    let threads = target.threads();
    let witness = target.witness();
    // Far more than there can be, each of which asks the source for something new.
    let mut clients: Vec<_> = (0..300).map(|_| target.client()).collect();
    let mut answered = 0;
    for (number, client) in clients.iter_mut().enumerate() {
        // Who has been idle in vain may have been turned away.
        let sent = client.try_send(format!("GET /api/data/n-{number} HTTP/1.1\r\n\r\n"));
        let response = sent.ok().and_then(|()| client.response(false).ok());
        answered += usize::from(response.is_some_and(|response| {
            response.status == 200 && response.value().0 == Origin::value_of(&format!("n-{number}"))
        }));
    }
    println!("{answered} of 300 answered with 64 descriptors");
    drop(clients);
    witness.assert_served();
    assert_normal(&target);
    assert_eq!(target.threads(), threads);
}

#[test]
fn running_out_of_descriptors_ends_nothing_and_passes() {
    let target = Target::start();
    let _ = target.value("known");
    let mut kept = target.client();
    let _ = kept.get("/api/data/known");
    let limit = target.descriptors() + 3;
    target.limit(&format!("--nofile={limit}:20000"));
    let busy: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = connect(target.address());
            let _ = stream.write_all(b"GET /api/da");
            stream
        })
        .collect();
    wait_until(SOON, "it says so", || target.log_lines("cannot accept") > 0);
    // New ones have their turn all the same: the oldest idle one gives way.
    for _ in 0..10 {
        let began = Instant::now();
        assert_eq!(target.value("known").0, "the value");
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
    }
    let before = target.cpu_ticks();
    let_pass(Duration::from_millis(500));
    let spent = target.cpu_ticks() - before;
    assert!(spent < 20, "{spent} ticks of CPU in half a second");
    target.limit("--nofile=20000:20000");
    drop(busy);
    assert_normal(&target);
    assert!(target.log_lines("cannot accept") < 5, "{}", target.log());
}

#[test]
fn running_out_of_threads_ends_nothing_and_passes() {
    // The superuser has no such limit: the server runs as nobody.
    let origin = Origin::slow(Duration::from_millis(5));
    // Redis comes back empty.
    origin.put("known", "the value");
    let mut settings = short_limits().origin(&origin);
    let folder = settings.folder();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755))
        .expect("a folder of ours");
    let as_nobody = "exec setpriv --reuid 64123 --regid 64123 --clear-groups \"$@\";";
    let mut target = Target::start_with(settings, as_nobody);
    target.limit("--nproc=1:");
    let witness = target.witness();
    let ask = |target: &Target, from: usize| {
        let mut clients: Vec<_> = (from..from + 100).map(|n| (n, target.client())).collect();
        for (n, client) in &mut clients {
            client.send(format!("GET /api/data/t-{n} HTTP/1.1\r\n\r\n"));
        }
        let answers = clients
            .iter_mut()
            .map(|(_, client)| client.response(false).expect("an answer").status);
        answers.filter(|&status| status == 200).count()
    };
    assert!(ask(&target, 0) == 100, "{}", target.log());
    target.redis.kill();
    target.redis.start_again();
    assert!(ask(&target, 100) == 100, "{}", target.log());
    target.wait_for_redis();
    target.limit("--nproc=10000:");
    witness.assert_served();
    assert_normal(&target);
    assert_eq!(ask(&target, 200), 100);
}

/// 480 MB of answers, and room for 400.
#[test]
fn too_little_memory_for_all_slow_readers_ends_nothing() {
    let redis = Redis::start();
    redis.set("known", "the value");
    redis.set("large", &"v".repeat(8_000_000));
    // As in the unit; and large blocks from the system, or glibc keeps them in arenas.
    let malloc = "export MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=131072;";
    let target = Target::start_on(redis, short_limits(), malloc);
    let _ = target.value("large");
    let status = std::fs::read_to_string(format!("/proc/{}/status", target.id)).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmSize:"))
        .expect("a size");
    let size: u64 = line
        .trim()
        .trim_end_matches(" kB")
        .trim()
        .parse()
        .expect("kB");
    target.limit(&format!("--as={}:-1", size * 1024 + (400 << 20)));
    let readers: Vec<TcpStream> = (0..60)
        .map(|_| {
            let mut stream = connect(target.address());
            socket2::SockRef::from(&stream)
                .set_recv_buffer_size(4096)
                .expect("a socket of ours");
            let _ = stream.write_all(b"GET /api/data/large HTTP/1.1\r\n\r\n");
            stream.set_nonblocking(true).expect("a socket of ours");
            stream
        })
        .collect();
    // Half a gigabyte of answers, of an unoptimized build.
    wait_until(SOON * 3, "they are being answered", || {
        let ended = target.log().contains("memory allocation");
        // Whoever has had to go for the sake of the others was being answered too.
        let waits = |error: std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        let is_answered = |reader: &TcpStream| !reader.peek(&mut [0]).is_err_and(waits);
        ended || readers.iter().all(is_answered)
    });
    assert!(std::path::Path::new(&format!("/proc/{}", target.id)).exists());
    assert!(
        !target.log().contains("memory allocation"),
        "it has died: {}",
        target.log()
    );
    let witness = target.witness();
    let_pass(Duration::from_millis(300));
    witness.assert_served();
    target.limit("--as=-1:-1");
    drop(readers);
    assert_normal(&target);
}
