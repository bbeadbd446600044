//! Rule 17: the unit on a real systemd, that of this machine, booted in namespaces of its own. Where that cannot be
//! done, each of these says so and passes.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use crate::harness::{Booted, Client, SOON, free_address, let_pass, wait_until};

const CONFIG: &str = "/etc/evenkeel/config.ini";

/// A booted systemd with a configuration for this address, and nothing started.
fn booted(address: SocketAddr) -> Option<Booted> {
    let booted = Booted::start()?;
    configure(&booted, address, "");
    Some(booted)
}

fn configure(booted: &Booted, address: SocketAddr, more: &str) {
    let admin = "[admin]\nlisten =\n[source demo]\nkind = simulated\nlatency = 1ms\n";
    let text = format!("[server]\nlisten = {address}\n{admin}{more}");
    booted.write(CONFIG, &text);
}

fn answers(address: SocketAddr) -> bool {
    Client::connect(address).get("/api/data/k").status == 200
}

/// How often systemd has tried to start it.
fn starts(booted: &Booted) -> usize {
    let _ = booted.run("journalctl --sync");
    booted.journal("").matches("Starting ").count()
}

#[track_caller]
fn assert_was_started_once(booted: &Booted, status: &str) {
    let failed = booted.run("systemctl start evenkeel");
    assert_ne!(failed.code, Some(0));
    // Longer than RestartSec=.
    let_pass(Duration::from_secs(2));
    assert_eq!(
        booted.property("ActiveState"),
        "failed",
        "{}",
        booted.journal("")
    );
    assert_eq!(booted.property("ExecMainStatus"), status);
    assert_eq!(starts(booted), 1, "{}", booted.journal(""));
}

#[test]
fn starts_is_well_and_stops_under_a_real_systemd() {
    let address = free_address();
    let Some(booted) = booted(address) else {
        return;
    };
    booted.ask("systemctl start evenkeel");
    assert!(answers(address));
    let status = booted.property("StatusText");
    assert!(
        status.starts_with(&format!("serving on {address}")),
        "{status}"
    );
    booted.ask("systemctl stop evenkeel");
    assert_eq!(booted.property("Result"), "success");
    assert_eq!(booted.property("ExecMainStatus"), "0");
    booted.wait_for("", "ended after");
    assert!(Client::try_connect(address).is_err());
}

#[test]
fn its_lines_have_their_priorities_in_a_real_journal() {
    let address = free_address();
    let Some(booted) = booted(address) else {
        return;
    };
    configure(&booted, address, "[breaker]\nmode = forced_open\n");
    booted.ask("systemctl start evenkeel");
    let warnings = booted.wait_for("-p warning", "Redis is not used until this is taken back");
    assert!(
        !warnings.contains("[INFO ]") && !warnings.contains("<4>"),
        "{warnings}"
    );
    assert!(booted.wait_for("-p info", "listens on").contains("[WARN ]"));
    booted.write(CONFIG, "[redis]\ntimout = 1s\nmode = x\n");
    booted.run("systemctl restart evenkeel");
    let errors = booted.wait_for("-p err", "unknown key; did you mean timeout?");
    assert!(
        errors.contains("[redis] mode"),
        "each mistake is an error: {errors}"
    );
}

#[test]
fn hup_usr1_and_usr2_under_a_real_systemd_leave_the_process_and_move_the_log() {
    let address = free_address();
    let Some(booted) = booted(address) else {
        return;
    };
    configure(
        &booted,
        address,
        "[log]\nfile = /var/log/evenkeel/evenkeel.log\n",
    );
    booted.ask("systemctl start evenkeel");
    let pid = booted.property("MainPID");
    let log = "/var/log/evenkeel/evenkeel.log";
    let said = |path: &str| booted.run(&format!("cat {path}")).out;
    for (signal, number) in [("HUP", 1), ("USR1", 2)] {
        booted.ask(&format!("mv {log} {log}.{number}"));
        booted.ask(&format!("systemctl kill --signal={signal} evenkeel"));
        let line = format!("SIG{signal}: log file {log} is opened again");
        wait_until(SOON, "the new file", || said(log).contains(&line));
    }
    booted.ask("systemctl kill --signal=USR2 evenkeel && systemctl reload evenkeel");
    wait_until(SOON, "the reload", || said(log).contains("SIGHUP: "));
    assert!(answers(address));
    assert_eq!(booted.property("MainPID"), pid);
    assert_eq!(booted.property("NRestarts"), "0");
}

#[test]
fn who_ends_it_by_accident_causes_no_outage_for_good() {
    let address = free_address();
    let Some(booted) = booted(address) else {
        return;
    };
    booted.ask("systemctl start evenkeel");
    let pid = booted.property("MainPID");
    booted.ask("systemctl kill --signal=TERM evenkeel");
    wait_until(SOON, "it is started again", || {
        let new = booted.property("MainPID");
        new != pid && new != "0" && Client::try_connect(address).is_ok()
    });
    assert!(answers(address));
}

#[test]
fn a_wrong_configuration_is_started_once_and_said_whole() {
    let address = free_address();
    let Some(booted) = booted(address) else {
        return;
    };
    configure(
        &booted,
        address,
        "[redis]\ntimout = 1s\n[breaker]\nfail_max = 0\n",
    );
    assert_was_started_once(&booted, "78");
    let said = booted.journal("-p err");
    assert!(
        said.contains("did you mean timeout?") && said.contains("fail_max"),
        "{said}"
    );
}

#[test]
fn a_log_file_where_it_may_not_write_is_started_once_and_says_what_is_allowed() {
    let address = free_address();
    let Some(booted) = booted(address) else {
        return;
    };
    configure(&booted, address, "[log]\nfile = /var/log/evenkeel.log\n");
    assert_was_started_once(&booted, "78");
    let said = booted.journal("-p err");
    assert!(said.contains("write in /var/log/evenkeel alone"), "{said}");
}

/// An administrator checks as root; what the user of the unit would meet is told all the same.
#[test]
fn a_check_by_root_tells_what_the_user_of_the_unit_would_be_refused() {
    let address = free_address();
    let Some(booted) = booted(address) else {
        return;
    };
    let check = || booted.run("/usr/local/bin/evenkeel --check --config /etc/evenkeel/config.ini");
    let sound = check();
    assert_eq!(
        (sound.code, sound.out.as_str(), sound.err.as_str()),
        (Some(0), "ok\n", "")
    );
    booted.ask("chmod 600 /etc/evenkeel/config.ini");
    let checked = check();
    let refused = "/etc/evenkeel/config.ini: can not be read: Permission denied";
    let note = format!("note: as user evenkeel, whom the unit runs it as: {refused}");
    assert!(checked.err.contains(&note), "{checked:?}");
    assert_was_started_once(&booted, "78");
    assert!(
        booted.journal("-p err").contains(refused),
        "{}",
        booted.journal("")
    );
}

/// As before systemd 235, which has no DynamicUser=.
#[test]
fn a_user_that_nobody_made_is_started_once() {
    let address = free_address();
    let Some(booted) = booted(address) else {
        return;
    };
    let drop_in = "/etc/systemd/system/evenkeel.service.d/old.conf";
    booted.write(drop_in, "[Service]\nDynamicUser=no\n");
    booted.ask("systemctl daemon-reload");
    assert_was_started_once(&booted, "217");
}

#[test]
fn a_port_that_is_not_free_yet_is_tried_until_it_is() {
    let address = free_address();
    let Some(booted) = booted(address) else {
        return;
    };
    let old_service = TcpListener::bind(address).expect("a free port");
    booted.run("systemctl start evenkeel");
    let_pass(Duration::from_secs(8));
    assert!(starts(&booted) > 5, "{}", booted.journal(""));
    drop(old_service);
    // A connection alone proves nothing: a child of another test may hold the old port for a moment.
    booted.wait_for("", &format!("listens on {address}"));
    assert!(answers(address));
}

#[test]
fn two_ports_held_by_a_real_systemd_are_both_served_over_a_restart() {
    let (one, other) = (free_address(), free_address());
    let Some(booted) = booted(free_address()) else {
        return;
    };
    let listen = format!("[Socket]\nListenStream=\nListenStream={one}\nListenStream={other}\n");
    booted.write("/etc/systemd/system/evenkeel.socket.d/two.conf", &listen);
    booted.ask("systemctl daemon-reload && systemctl start evenkeel.socket");
    assert!(answers(other) && answers(one), "{}", booted.journal(""));
    booted.wait_for("", &format!("listens on {one}, {other}"));
    booted.ask("systemctl restart evenkeel");
    assert!(answers(one) && answers(other));
    booted.ask("systemctl stop evenkeel.socket evenkeel");
    assert!(Client::try_connect(one).is_err() && Client::try_connect(other).is_err());
}

#[test]
fn a_wrong_configuration_behind_a_socket_is_not_started_for_ever() {
    let address = free_address();
    let Some(booted) = booted(address) else {
        return;
    };
    configure(&booted, address, "[redis]\ntimout = 1s\n");
    let listen = format!("[Socket]\nListenStream=\nListenStream={address}\n");
    booted.write("/etc/systemd/system/evenkeel.socket.d/port.conf", &listen);
    booted.ask("systemctl daemon-reload && systemctl start evenkeel.socket");
    let waiting = Client::connect(address);
    wait_until(SOON, "systemd gives up", || {
        booted.ask("systemctl show -p ActiveState evenkeel.socket") == "ActiveState=failed"
    });
    let tried = starts(&booted);
    assert!(tried <= 10, "{tried}");
    drop(waiting);
}
