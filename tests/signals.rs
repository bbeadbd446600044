//! Rule 11: only signals that are meant to stop it stop it. HUP and USR1 open the log file again, everything
//! else that logrotate, administrators and limits send ends nothing and costs no request.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::harness::{
    App, Client, Origin, Redis, SOON, SourceFault, evenkeel, let_pass, wait_until,
};

/// An app that logs into a file, and where that is.
fn with_a_log_file() -> (App, PathBuf) {
    let mut config = App::configured()
        .set("log", "file", "log")
        .set("source demo", "latency", "0");
    let folder = config.folder();
    (config.start(), folder)
}

#[test]
fn hup_usr1_and_usr2_under_load_lose_no_request_and_leave_the_process() {
    let redis = Redis::start();
    let config = App::configured().redis(&redis);
    let mut app = config.set("source demo", "latency", "1ms").start();
    let (answers, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (answers, stop, address) = (&answers, &stop, app.address());
            scope.spawn(move || {
                let mut client = Client::connect(address);
                while !stop.load(Ordering::Relaxed) {
                    let n = answers.fetch_add(1, Ordering::Relaxed);
                    let key = format!("k{number}-{}", n % 500);
                    let (value, _) = client.get(&format!("/api/data/{key}")).value();
                    assert!(value.starts_with(&format!("Data for {key} ")), "{value}");
                }
            });
        }
        for _ in 0..20 {
            for signal in [Signal::HUP, Signal::USR1, Signal::USR2] {
                app.signal(signal);
                let_pass(Duration::from_millis(20));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(answers.into_inner() > 500, "no load");
    let hups = app.log_lines("SIGHUP: the log goes to stderr");
    assert!(hups >= 1, "{}", app.log());
    assert_eq!(app.log_lines("changed settings need a restart"), hups);
    assert_eq!(app.log_lines("draining"), 0);
    app.terminate();
    assert_eq!(app.wait_for_end(SOON).0.code(), Some(0));
}

#[test]
fn a_log_that_logrotate_has_moved_goes_on_in_a_new_file_after_hup_and_usr1() {
    let (app, folder) = with_a_log_file();
    for (number, signal, said) in [
        (1, Signal::USR1, "SIGUSR1: log file "),
        (2, Signal::HUP, "SIGHUP: log file "),
    ] {
        let old = folder.join(format!("log.{number}"));
        std::fs::rename(folder.join("log"), &old).expect("a file of ours");
        app.signal(signal);
        wait_until(SOON, "the new file", || app.log_lines(said) == 1);
        assert!(app.log().contains(" is opened again"), "{}", app.log());
        let old = std::fs::read_to_string(old).expect("text");
        assert!(!old.contains(said) && old.ends_with('\n'), "{old}");
    }
    assert!(
        app.log()
            .contains("opened again; changed settings need a restart")
    );
    assert_eq!(app.get("/livez").status, 200);
}

#[test]
fn a_log_file_that_cannot_be_opened_again_is_said_and_the_old_one_is_kept() {
    let (mut app, folder) = with_a_log_file();
    let (log, old) = (folder.join("log"), folder.join("log.1"));
    std::fs::rename(&log, &old).expect("a file of ours");
    // What was stderr is the same file here: App has made it.
    std::fs::create_dir(&log).expect("a folder of ours");
    let read = || std::fs::read_to_string(&old).expect("text");
    app.signal(Signal::USR1);
    let said = "SIGUSR1: log file ";
    wait_until(SOON, "it is said", || {
        read()
            .matches("cannot be opened again: Is a directory")
            .count()
            == 2
    });
    let on_stderr = format!("evenkeel: {said}");
    assert!(read().contains(&on_stderr), "{}", read());
    assert!(read().contains("the old one is kept"), "{}", read());
    app.terminate();
    assert_eq!(app.wait_for_end(SOON).0.code(), Some(0));
    assert!(read().contains("ended after"), "{}", read());
}

#[test]
fn what_is_sent_by_accident_ends_nothing() {
    let mut app = App::configured().start();
    for signal in [
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::IO,
        Signal::XFSZ,
        Signal::POWER,
        Signal::PIPE,
        Signal::WINCH,
        Signal::URG,
        Signal::CHILD,
    ] {
        app.signal(signal);
    }
    assert_eq!(app.get("/livez").status, 200);
    app.terminate();
    assert_eq!(app.wait_for_end(SOON).0.code(), Some(0));
}

#[test]
fn a_log_file_that_meets_its_limit_ends_nothing() {
    let (app, _) = with_a_log_file();
    let (current, maximum) = (Some(1), Some(1));
    prlimit(
        Some(app.pid()),
        Resource::Fsize,
        Rlimit { current, maximum },
    )
    .expect("ours");
    app.signal(Signal::USR1);
    assert_eq!(app.get("/livez").status, 200);
    app.signal(Signal::HUP);
    assert_eq!(app.get("/livez").status, 200);
}

#[test]
fn hup_and_usr1_during_the_drain_neither_hurry_it_nor_stop_it() {
    let origin = Origin::start();
    origin.set_fault(SourceFault::Hangs);
    let mut app = App::configured().origin(&origin).start();
    let mut client = app.client();
    client.send("GET /api/data/k HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_until(SOON, "it is in flight", || origin.calls() == 1);
    app.terminate();
    wait_until(SOON, "it drains", || app.log().contains("draining"));
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2] {
        app.signal(signal);
    }
    wait_until(SOON, "they were heard", || app.log_lines("SIG") >= 2);
    origin.set_fault(None);
    assert_eq!(client.response(false).expect("an answer").status, 200);
    assert_eq!(app.wait_for_end(SOON).0.code(), Some(0));
    assert_eq!(app.log_lines("second signal"), 0);
}

/// A process that has got no further than opening its configuration, a pipe that nobody writes.
fn starting() -> (Child, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("config.ini");
    let made = Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .expect("coreutils");
    assert!(made.success());
    let mut command = evenkeel(&["--config", &pipe.to_string_lossy()]);
    let process = command.stderr(Stdio::null()).spawn().expect("it starts");
    let caught = format!("/proc/{}/status", process.id());
    wait_until(SOON, "it hears signals", || {
        let status = std::fs::read_to_string(&caught).expect("it runs");
        let caught = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:\t"));
        let caught = caught.and_then(|set| u64::from_str_radix(set, 16).ok());
        // SIGINT is the last one to be taken.
        caught.is_some_and(|set| set & 0b10 != 0)
    });
    (process, folder)
}

#[test]
fn signals_during_the_start_behave_as_later() {
    for stop in [Signal::TERM, Signal::INT] {
        let (mut process, _folder) = starting();
        let pid = Pid::from_child(&process);
        for signal in [Signal::HUP, Signal::USR1, Signal::USR2] {
            kill_process(pid, signal).expect("a process of ours");
        }
        let_pass(Duration::from_millis(100));
        assert!(process.try_wait().expect("a child of ours").is_none());
        kill_process(pid, stop).expect("a process of ours");
        let mut status = None;
        wait_until(SOON, "its end", || {
            status = process.try_wait().expect("a child of ours");
            status.is_some()
        });
        assert_eq!(status.and_then(|status| status.code()), Some(0), "{stop:?}");
    }
}
