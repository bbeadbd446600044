//! What `--check` looks at beside the configuration itself. An administrator runs it as root, who may read every
//! file and take every port; the unit runs the service as a user who may not. So where the configuration is the
//! installed one, it is checked once more as that user.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::config::Config;

/// Where the unit has its configuration.
const INSTALLED: &str = "/etc/evenkeel";
/// Whom the unit runs the service as.
const USER: &str = "evenkeel";
/// Where that is no user of the system, systemd makes one that may do as little as this one (DynamicUser=).
const NOBODY: u32 = 65534;
/// Made by systemd for that user when the service starts (LogsDirectory=): it cannot be looked at before.
const LOGS: &str = "evenkeel: [log] file = /var/log/evenkeel/";
/// Is there where systemd knows LogsDirectory=.
const PRIVATE_LOGS: &str = "/var/log/private";

/// What would keep the unit from starting with the configuration at `origin`, each worth a note. Nothing where
/// we are not root, or that is no configuration of the unit.
#[must_use]
pub fn as_the_unit(config: &Config, origin: &Path) -> Vec<String> {
    let origin = std::path::absolute(origin).unwrap_or_else(|_| origin.to_owned());
    if !rustix::process::geteuid().is_root() || !origin.starts_with(INSTALLED) {
        return Vec::new();
    }
    let mut notes = match check_as_its_user(&origin) {
        Ok(refusals) => refusals,
        Err(error) => vec![format!("cannot be run: {error}")],
    };
    notes
        .iter_mut()
        .for_each(|note| note.insert_str(0, "as user evenkeel, whom the unit runs it as: "));
    notes.extend(privileged_port(config));
    notes
}

fn check_as_its_user(origin: &Path) -> io::Result<Vec<String>> {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let (uid, gid) = ids(&users).unwrap_or((NOBODY, NOBODY));
    let checked = Command::new("/proc/self/exe")
        .args(["--check".as_ref(), "--config".as_ref(), origin.as_os_str()])
        .current_dir("/")
        .stdin(Stdio::null())
        .uid(uid)
        .gid(gid)
        .output()?;
    let said = String::from_utf8_lossy(&checked.stderr);
    let makes_logs = Path::new(PRIVATE_LOGS).exists();
    let refusals = said.lines().filter(|line| {
        !(checked.status.success()
            || line.starts_with("note: ")
            || makes_logs && line.starts_with(LOGS))
    });
    Ok(refusals.map(str::to_owned).collect())
}

/// The numbers of the service's user and its group, as passwd(5) has them.
fn ids(users: &str) -> Option<(u32, u32)> {
    let mut users = users.lines().map(|line| line.split(':'));
    users.find_map(|mut fields| {
        fields.next().filter(|name| *name == USER)?;
        let mut numbers = fields.skip(1).map(|number| number.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    })
}

fn privileged_port(config: &Config) -> Option<String> {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let first = first
        .ok()
        .and_then(|first| first.trim().parse().ok())
        .unwrap_or(1024);
    let port = config.server.listen.port();
    (port != 0 && port < first).then(|| {
        format!(
            "[server] listen: the unit may not take port {port}, which is below {first}: let it have \
             CAP_NET_BIND_SERVICE (its AmbientCapabilities= says how), or evenkeel.socket hold the port"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_of_the_service_is_found_among_all() {
        let users =
            "root:x:0:0::/root:/bin/sh\nevenkeel2:x:1:2::/:\nevenkeel:x:998:997::/:/bin/false\n";
        assert_eq!(ids(users), Some((998, 997)));
        assert_eq!(ids("root:x:0:0::/root:/bin/sh\n"), None);
        assert_eq!(ids("evenkeel:x:many\n"), None);
    }
}
