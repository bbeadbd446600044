//! A systemd of its own: that of this machine, booted as the first process of namespaces, with our units and the
//! binary under test where they are to be installed. Not every machine allows that.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Output, SOON, file, wait_until};

pub struct Booted {
    /// Ends when systemd does.
    unshare: Child,
    /// Its number for us; 0 until it is known.
    systemd: i32,
    cgroups: Vec<PathBuf>,
    _folder: TempDir,
}

impl Booted {
    /// Boots one; `None` where that cannot be done, with the reason printed.
    pub fn start() -> Option<Self> {
        match Self::boot() {
            Ok(booted) => Some(booted),
            Err(why) => {
                // Past the capture of the test's output: a test that shows nothing says so.
                let mut out = std::io::stdout();
                let _ = writeln!(
                    out,
                    "skipped: no systemd can be booted here: {}",
                    why.trim()
                );
                None
            }
        }
    }

    fn boot() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("this is not root".to_owned());
        }
        let folder = tempfile::tempdir().expect("a folder");
        let (root, errors) = (folder.path().join("root"), folder.path().join("errors"));
        std::fs::create_dir(&root).expect("a folder of ours");
        let cgroups = cgroups();
        // Its own place among the cgroups, for it makes and removes there what it likes.
        let joins = cgroups.iter().map(|cgroup| {
            let cgroup = cgroup.display();
            format!("mkdir -p {cgroup} && echo $$ >{cgroup}/cgroup.procs; ")
        });
        let script = joins.collect::<String>() + "exec unshare \"$@\"";
        let unshare = Command::new("sh")
            .args([
                "-c", &script, "sh", "--mount", "--pid", "--cgroup", "--ipc", "--uts",
            ])
            .args(["--fork", "--kill-child", "--propagation", "private", "sh"])
            .arg(file("tests/harness/boot.sh"))
            .args([&root, &PathBuf::from(super::binary()), &file("packaging")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&errors).expect("a file of ours"))
            .spawn();
        let mut booted = Self {
            unshare: unshare.map_err(|error| error.to_string())?,
            systemd: 0,
            cgroups,
            _folder: folder,
        };
        let mut is_over = false;
        wait_until(SOON, "systemd boots", || {
            is_over = booted
                .unshare
                .try_wait()
                .expect("a child of ours")
                .is_some();
            is_over || booted.is_up()
        });
        match is_over {
            false => Ok(booted),
            true => Err(std::fs::read_to_string(&errors).unwrap_or_default()),
        }
    }

    /// Whether it takes commands; finds out which process it is.
    fn is_up(&mut self) -> bool {
        let pid = self.unshare.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let child = children.ok().and_then(|list| list.trim().parse().ok());
        self.systemd = child.unwrap_or(0);
        self.systemd != 0 && self.run("systemctl is-active booted.target").code == Some(0)
    }

    /// Runs a command of the shell in there.
    pub fn run(&self, command: &str) -> Output {
        let mut nsenter = Command::new("nsenter");
        nsenter
            .args(["--target", &self.systemd.to_string()])
            .args([
                "--pid", "--mount", "--cgroup", "--ipc", "--uts", "--root", "--wd",
            ])
            .args([
                "env",
                "-i",
                "PATH=/usr/bin:/usr/sbin:/bin:/sbin",
                "SYSTEMD_PAGER=",
            ])
            .args(["SYSTEMD_COLORS=0", "sh", "-c", command])
            .stdin(Stdio::null());
        Output::of(&mut nsenter)
    }

    /// What a command says that has to succeed.
    #[track_caller]
    pub fn ask(&self, command: &str) -> String {
        let output = self.run(command);
        assert_eq!(
            output.code,
            Some(0),
            "{command}: {output:?}\n{}",
            self.journal("")
        );
        output.out.trim().to_owned()
    }

    /// Lines of our unit and of systemd about it.
    pub fn journal(&self, options: &str) -> String {
        self.run(&format!(
            "journalctl --no-pager -o cat -u evenkeel {options}"
        ))
        .out
    }

    /// Waits for lines of the journal: what goes through a stream is there a moment later.
    #[track_caller]
    pub fn wait_for(&self, options: &str, text: &str) -> String {
        let mut journal = String::new();
        wait_until(SOON, text, || {
            journal = self.journal(options);
            journal.contains(text)
        });
        journal
    }

    /// A property of our service.
    pub fn property(&self, name: &str) -> String {
        let line = self.ask(&format!("systemctl show -p {name} evenkeel.service"));
        line.split_once('=').expect("a property").1.to_owned()
    }

    /// A file in there, and the folders above it.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders of ours");
        std::fs::write(path, text).expect("a file of ours");
    }

    /// Where a file in there is for us.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.systemd))
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        // With the first process of its namespace every other one ends.
        if let Some(systemd) = Pid::from_raw(self.systemd) {
            let _ = kill_process(systemd, Signal::KILL);
        }
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        for cgroup in &self.cgroups {
            // What is left of a tree goes from its leaves, once the last process has.
            let mut find = Command::new("find");
            find.arg(cgroup)
                .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
            for _ in 0..500 {
                let _ = find.stdout(Stdio::null()).stderr(Stdio::null()).status();
                if !cgroup.exists() {
                    break;
                }
                std::thread::park_timeout(Duration::from_millis(10));
            }
        }
    }
}

/// A cgroup for it in each hierarchy that systemd uses.
fn cgroups() -> Vec<PathBuf> {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("evenkeel-test-{}-{number}", std::process::id());
    let hierarchies =
        ["", "systemd", "unified"].map(|name| PathBuf::from("/sys/fs/cgroup").join(name));
    let usable = hierarchies
        .into_iter()
        .filter(|path| path.join("cgroup.procs").exists());
    usable.map(|path| path.join(&name)).collect()
}
