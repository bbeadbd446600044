//! What the keys about servers, logins and TLS come to, taken together: each key belongs to some modes
//! and is refused in the others with the reason. A key that says its default says nothing, so that
//! the shipped file can be changed key by key.

use std::path::PathBuf;

use crate::base::tls;
use crate::base::tls::Wrong;
use crate::config::environment::{SENTINEL_PASSWORD, Secrets};
use crate::config::password;
use crate::config::password::Sources;
use crate::config::redis_settings::URL;
use crate::config::redis_url::RedisUrl;
use crate::config::report::{Place, Report, Subject};
use crate::config::section::Section;
use crate::config::setting::Rule;
use crate::config::wording::either;
use crate::config::{HostPort, Identity, Login, Mode, RedisAddress, Servers, Tls, environment};

/// The keys as they were read, each by itself; paths are joined to the folder of the file. Has no
/// `Debug`, so that it can not be shown.
pub(super) struct Keys {
    pub(super) mode: Mode,
    pub(super) url: RedisUrl,
    pub(super) nodes: Vec<HostPort>,
    pub(super) master: String,
    pub(super) db: i64,
    pub(super) username: String,
    pub(super) password_file: Option<PathBuf>,
    pub(super) sentinel_username: String,
    pub(super) sentinel_password_file: Option<PathBuf>,
    pub(super) tls: TlsKeys,
}

/// Those about TLS.
pub(super) struct TlsKeys {
    /// `tls`
    pub(super) is_on: bool,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) server_name: Option<String>,
}

/// What they come to.
pub(super) struct Settled {
    pub(super) servers: Servers,
    pub(super) login: Login,
    pub(super) tls: Option<Tls>,
}

/// Holds the keys against each other and reports every contradiction; what is settled is of use only
/// where there is none. Nothing is concluded from a key that holds a mistake itself.
pub(super) fn settle(
    keys: Keys,
    section: &Section,
    secrets: &Secrets,
    report: &mut Report,
) -> Settled {
    let spoiled = |key: &str| report.spoiled("redis", key);
    let (mode_is_sure, nodes_are_sure) = (!spoiled("mode"), !spoiled("nodes"));
    let tls_is_sure = mode_is_sure && !spoiled("url") && !spoiled("tls");
    if mode_is_sure {
        refuse_misplaced(&keys, section, secrets, report);
        require(&keys, nodes_are_sure, section, report);
    }
    let tls = match keys.mode {
        Mode::Single => keys.url.tls,
        Mode::Sentinel | Mode::Cluster => keys.tls.is_on,
    };
    if !tls && tls_is_sure {
        refuse_tls_keys(&keys, section, report);
    }
    let tls = tls.then(|| settle_tls(&keys.tls, section, report));
    let login = password::login(&data_login(&keys, section, secrets), report);
    let servers = match keys.mode {
        Mode::Single => Servers::Single {
            address: keys.url.address,
            db: keys.url.db,
        },
        Mode::Sentinel => Servers::Sentinel {
            login: password::login(&sentinel_login(&keys, section, secrets), report),
            nodes: keys.nodes,
            master: keys.master,
            db: keys.db,
        },
        Mode::Cluster => Servers::Cluster { nodes: keys.nodes },
    };
    Settled {
        servers,
        login,
        tls,
    }
}

/// A key, whether it says anything, the modes that it belongs to, and what to do in the others.
type Belonging = (&'static str, bool, &'static [Mode], &'static str);

fn refuse_misplaced(keys: &Keys, section: &Section, secrets: &Secrets, report: &mut Report) {
    use Mode::{Cluster, Sentinel, Single};
    let is_single = keys.mode == Single;
    let usual_url = URL.rule.parse(URL.default);
    let url_is_given = usual_url.is_ok_and(|usual| usual != keys.url);
    let says_tls = keys.tls.is_on && !(is_single && keys.url.tls);
    let no_db = match is_single {
        true => "the database is in url, as in redis://host:6379/3",
        false => "a cluster has database 0 only",
    };
    let no_tls = match keys.url.address {
        RedisAddress::Unix(_) => "a Unix socket has no TLS",
        RedisAddress::Tcp(_) => "write rediss:// in url",
    };
    let servers = "its servers are given in nodes";
    let of_sentinels = "it has no Sentinels";
    let sentinel_user = !keys.sentinel_username.is_empty();
    let sentinel_file = keys.sentinel_password_file.is_some();
    let belongings: [Belonging; 7] = [
        ("url", url_is_given, &[Single], servers),
        (
            "nodes",
            !keys.nodes.is_empty(),
            &[Sentinel, Cluster],
            "its server is given in url",
        ),
        ("master", !keys.master.is_empty(), &[Sentinel], of_sentinels),
        ("db", keys.db != 0, &[Sentinel], no_db),
        (
            "sentinel_username",
            sentinel_user,
            &[Sentinel],
            of_sentinels,
        ),
        (
            "sentinel_password_file",
            sentinel_file,
            &[Sentinel],
            of_sentinels,
        ),
        ("tls", says_tls, &[Sentinel, Cluster], no_tls),
    ];
    let mode = keys.mode.word();
    for (key, is_given, modes, advice) in belongings {
        if is_given && !modes.contains(&keys.mode) {
            let modes: Vec<&str> = modes.iter().map(|mode| mode.word()).collect();
            let modes = either(&modes);
            let why = format!("belongs to mode = {modes}; this is mode = {mode}: {advice}");
            report.mistake(section.subject_of(key), why);
        }
    }
    if secrets.sentinel_password.is_some() && keys.mode != Sentinel {
        let subject = Subject::place(Place::Variable(SENTINEL_PASSWORD.to_owned()));
        let why = format!("belongs to [redis] mode = sentinel; this is mode = {mode}");
        report.mistake(subject, why);
    }
}

/// What the mode cannot do without.
fn require(keys: &Keys, nodes_are_sure: bool, section: &Section, report: &mut Report) {
    let (mode, example) = match keys.mode {
        Mode::Single => return,
        Mode::Sentinel => (
            "sentinel",
            "the Sentinels, as in 10.0.0.1:26379, 10.0.0.2:26379",
        ),
        Mode::Cluster => (
            "cluster",
            "some of its nodes, as in 10.0.0.1:6379, 10.0.0.2:6379",
        ),
    };
    if keys.nodes.is_empty() && nodes_are_sure {
        let why = format!("must be given with mode = {mode}: {example}");
        report.mistake(section.subject_of("nodes"), why);
    }
    let master_is_sure = !report.spoiled("redis", "master");
    if keys.mode == Mode::Sentinel && keys.master.is_empty() && master_is_sure {
        let why = "must be given with mode = sentinel: NAME of sentinel monitor NAME";
        report.mistake(section.subject_of("master"), why);
    }
}

fn refuse_tls_keys(keys: &Keys, section: &Section, report: &mut Report) {
    let advice = match (keys.mode, &keys.url.address) {
        (Mode::Single, RedisAddress::Unix(_)) => "a Unix socket has none",
        (Mode::Single, RedisAddress::Tcp(_)) => "write rediss:// in url",
        (Mode::Sentinel | Mode::Cluster, _) => "write tls = true",
    };
    let tls = &keys.tls;
    let given = [
        ("ca_file", tls.ca_file.is_some()),
        ("cert_file", tls.cert_file.is_some()),
        ("key_file", tls.key_file.is_some()),
        ("server_name", tls.server_name.is_some()),
    ];
    for (key, _) in given.iter().filter(|(_, is_given)| *is_given) {
        let why = format!("is of use with TLS only: {advice}");
        report.mistake(section.subject_of(key), why);
    }
}

/// Looks at the files, too.
fn settle_tls(keys: &TlsKeys, section: &Section, report: &mut Report) -> Tls {
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
        let subject = section.subject_of(key);
        let shown = file.map(|file| file.to_string_lossy().into_owned());
        report.mistake(
            shown.map_or(subject.clone(), |file| subject.showing(&file)),
            why,
        );
    }
    let lonely = match (&keys.cert_file, &keys.key_file) {
        (Some(_), None) => Some(("cert_file", "needs key_file, which may be the same file")),
        (None, Some(_)) => Some(("key_file", "needs cert_file, which may be the same file")),
        _ => None,
    };
    let spoiled = ["cert_file", "key_file"].map(|key| report.spoiled("redis", key));
    if let (Some((key, why)), [false, false]) = (lonely, spoiled) {
        report.mistake(section.subject_of(key), why);
    }
    tls
}

/// Where the login of the servers may come from; in `url` only where that is used.
fn data_login<'a>(keys: &Keys, section: &Section, secrets: &'a Secrets) -> Sources<'a> {
    let in_url = match keys.mode {
        Mode::Single => (keys.url.username.clone(), keys.url.password.clone()),
        Mode::Sentinel | Mode::Cluster => (None, None),
    };
    Sources {
        in_url,
        url: section.subject_of("url"),
        username: keys.username.clone(),
        username_key: section.subject_of("username"),
        file: keys.password_file.clone(),
        file_key: section.subject_of("password_file"),
        variable: (environment::PASSWORD, secrets.password.as_deref()),
        credential: "redis_password",
        credentials: secrets.credentials.as_deref(),
    }
}

/// Where that of the Sentinels may come from.
fn sentinel_login<'a>(keys: &Keys, section: &Section, secrets: &'a Secrets) -> Sources<'a> {
    Sources {
        in_url: (None, None),
        url: section.subject_of("url"),
        username: keys.sentinel_username.clone(),
        username_key: section.subject_of("sentinel_username"),
        file: keys.sentinel_password_file.clone(),
        file_key: section.subject_of("sentinel_password_file"),
        variable: (SENTINEL_PASSWORD, secrets.sentinel_password.as_deref()),
        credential: "redis_sentinel_password",
        credentials: secrets.credentials.as_deref(),
    }
}

#[cfg(test)]
mod tests;
