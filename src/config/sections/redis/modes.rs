//! What the keys about servers, logins and TLS come to, taken together: each key belongs to some modes
//! and is refused in the others with the reason. A key that says its default says nothing, so that
//! the shipped file can be changed key by key.

use crate::base::tls::{self, Identity, Tls, Wrong};
use crate::config::environment::{SENTINEL_PASSWORD, Secrets};
use crate::config::report::{Place, Report, Subject};
use crate::config::sections::redis::keys::{Mode, ServerKeys, USUAL_URL};
use crate::config::sections::redis::login::Origins;
use crate::config::sections::redis::servers::{Login, RedisAddress, Servers};
use crate::config::sections::redis::url::REDIS_URL;
use crate::config::setting::Rule;
use crate::config::wording::either;

/// Holds the keys against each other and reports every contradiction; what is settled is of use only
/// where there is none. Nothing is concluded from a key that holds a mistake itself.
pub(crate) fn settle(
    keys: ServerKeys,
    secrets: &Secrets,
    report: &mut Report,
) -> (Servers, Login, Option<Tls>) {
    let is_sure = |key: &str| !report.spoiled("redis", key);
    let (mode_is_sure, nodes_are_sure) = (is_sure("mode"), is_sure("nodes"));
    let tls_is_sure = mode_is_sure && is_sure("url") && is_sure("tls");
    if mode_is_sure {
        refuse_misplaced(&keys, report);
        if secrets.sentinel_password.is_some() && keys.mode != Mode::Sentinel {
            let subject = Subject::place(Place::Variable(SENTINEL_PASSWORD.to_owned()));
            let mode = keys.mode;
            let why = format!("belongs to [redis] mode = sentinel; this is mode = {mode}");
            report.mistake(subject, why);
        }
        require(&keys, nodes_are_sure, report);
    }
    let is_encrypted = match keys.mode {
        Mode::Single => keys.url.tls,
        Mode::Sentinel | Mode::Cluster => keys.tls,
    };
    if !is_encrypted && tls_is_sure {
        refuse_tls_keys(&keys, report);
    }
    let tls = is_encrypted.then(|| settle_tls(&keys, report));
    let login = Origins {
        begin: "",
        // What stands in url counts only where that is used.
        in_url: match keys.mode {
            Mode::Single => (keys.url.username, keys.url.password),
            Mode::Sentinel | Mode::Cluster => (None, None),
        },
        username: keys.username,
        password_file: keys.password_file,
        password: secrets.password.as_deref(),
        credentials: secrets.credentials.as_deref(),
    }
    .login(report);
    let servers = match keys.mode {
        Mode::Single => Servers::Single {
            address: keys.url.address,
            db: keys.url.db,
        },
        Mode::Sentinel => {
            let origins = Origins {
                begin: "sentinel_",
                in_url: (None, None),
                username: keys.sentinel_username,
                password_file: keys.sentinel_password_file,
                password: secrets.sentinel_password.as_deref(),
                credentials: secrets.credentials.as_deref(),
            };
            Servers::Sentinel {
                login: origins.login(report),
                nodes: keys.nodes,
                master: keys.master,
                db: keys.db,
            }
        }
        Mode::Cluster => Servers::Cluster { nodes: keys.nodes },
    };
    (servers, login, tls)
}

/// A key, whether it says anything, the modes that it belongs to, and what to do in the others.
type Belonging = (&'static str, bool, &'static [Mode], &'static str);

fn refuse_misplaced(keys: &ServerKeys, report: &mut Report) {
    use Mode::{Cluster, Sentinel, Single};
    let mode = keys.mode;
    let usual_url = REDIS_URL.parse(USUAL_URL);
    let has_url = usual_url.is_ok_and(|usual| usual != keys.url);
    let has_nodes = !keys.nodes.is_empty();
    let has_user = !keys.sentinel_username.is_empty();
    let has_file = keys.sentinel_password_file.is_some();
    let has_tls = keys.tls && !(mode == Single && keys.url.tls);
    let no_db = match mode {
        Single => "the database is in url, as in redis://host:6379/3",
        Sentinel | Cluster => "a cluster has database 0 only",
    };
    let no_tls = match keys.url.address {
        RedisAddress::Unix(_) => "a Unix socket has no TLS",
        RedisAddress::Tcp(_) => "write rediss:// in url",
    };
    let (many, one) = (
        "its servers are given in nodes",
        "its server is given in url",
    );
    let none = "it has no Sentinels";
    let of_many = &[Sentinel, Cluster];
    let belongings: [Belonging; 7] = [
        ("url", has_url, &[Single], many),
        ("nodes", has_nodes, of_many, one),
        ("master", !keys.master.is_empty(), &[Sentinel], none),
        ("db", keys.db != 0, &[Sentinel], no_db),
        ("sentinel_username", has_user, &[Sentinel], none),
        ("sentinel_password_file", has_file, &[Sentinel], none),
        ("tls", has_tls, of_many, no_tls),
    ];
    for (key, is_given, modes, advice) in belongings {
        if is_given && !modes.contains(&mode) {
            let words: Vec<&str> = modes.iter().map(|mode| mode.word()).collect();
            let modes = either(&words);
            let why = format!("belongs to mode = {modes}; this is mode = {mode}: {advice}");
            report.mistake(report.key("redis", key), why);
        }
    }
}

/// What the mode cannot do without.
fn require(keys: &ServerKeys, nodes_are_sure: bool, report: &mut Report) {
    let mode = keys.mode;
    let example = match mode {
        Mode::Single => return,
        Mode::Sentinel => "the Sentinels, as in 10.0.0.1:26379, 10.0.0.2:26379",
        Mode::Cluster => "some of its nodes, as in 10.0.0.1:6379, 10.0.0.2:6379",
    };
    if keys.nodes.is_empty() && nodes_are_sure {
        let why = format!("must be given with mode = {mode}: {example}");
        report.mistake(report.key("redis", "nodes"), why);
    }
    let master_is_sure = !report.spoiled("redis", "master");
    if mode == Mode::Sentinel && keys.master.is_empty() && master_is_sure {
        let why = "must be given with mode = sentinel: NAME of sentinel monitor NAME";
        report.mistake(report.key("redis", "master"), why);
    }
}

fn refuse_tls_keys(keys: &ServerKeys, report: &mut Report) {
    let advice = match (keys.mode, &keys.url.address) {
        (Mode::Single, RedisAddress::Unix(_)) => "a Unix socket has none",
        (Mode::Single, RedisAddress::Tcp(_)) => "write rediss:// in url",
        (Mode::Sentinel | Mode::Cluster, _) => "write tls = true",
    };
    for (key, is_given) in [
        ("ca_file", keys.ca_file.is_some()),
        ("cert_file", keys.cert_file.is_some()),
        ("key_file", keys.key_file.is_some()),
        ("server_name", keys.server_name.is_some()),
    ] {
        if is_given {
            let why = format!("is of use with TLS only: {advice}");
            report.mistake(report.key("redis", key), why);
        }
    }
}

/// Looks at the files, too.
fn settle_tls(keys: &ServerKeys, report: &mut Report) -> Tls {
    let pair = keys.cert_file.clone().zip(keys.key_file.clone());
    let tls = Tls {
        ca_file: keys.ca_file.clone(),
        identity: pair.map(|(cert_file, key_file)| Identity {
            cert_file,
            key_file,
        }),
        server_name: keys.server_name.clone(),
    };
    for Wrong { key, file, why } in tls::load(&tls).err().unwrap_or_default() {
        let subject = report.key("redis", key);
        let subject = match file {
            Some(file) => subject.showing(&file.to_string_lossy()),
            None => subject,
        };
        report.mistake(subject, why);
    }
    let (key, other) = match (&keys.cert_file, &keys.key_file) {
        (Some(_), None) => ("cert_file", "key_file"),
        (None, Some(_)) => ("key_file", "cert_file"),
        _ => return tls,
    };
    if !report.spoiled("redis", key) && !report.spoiled("redis", other) {
        let why = format!("needs {other}, which may be the same file");
        report.mistake(report.key("redis", key), why);
    }
    tls
}

#[cfg(test)]
mod tests;
