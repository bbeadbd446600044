//! The URL of the Redis server: `redis://[user:password@]host[:port][/db]`, the same with `rediss` for
//! TLS, or `unix:///path[?db=N&user=U&pass=P]`. It may hold a password, so no error shows any part of it.

use std::borrow::Cow;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use crate::config::sections::redis::servers::RedisAddress;
use crate::config::setting::{Rule, refuse_empty};
use crate::config::values::host::{HostPort, host_and_port};

/// Port where the URL names none.
const DEFAULT_PORT: u16 = 6379;

/// Bytes of a socket's path: `sun_path` of unix(7) less its final zero.
const MAX_SOCKET_PATH: usize = 107;

/// What a URL says. Has no `Debug`, so that it can not be shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RedisUrl {
    /// Where the server listens.
    pub(crate) address: RedisAddress,
    /// Whether it is `rediss`.
    pub(crate) tls: bool,
    /// Name of the ACL user, where one is given.
    pub(crate) username: Option<String>,
    /// Password, where one is given.
    pub(crate) password: Option<String>,
    /// Number of the database.
    pub(crate) db: i64,
}

/// A [`RedisUrl`].
pub(crate) struct RedisUrlRule;

impl Rule for RedisUrlRule {
    type Value = RedisUrl;

    fn parse(&self, text: &str) -> Result<RedisUrl, String> {
        refuse_empty(text)?;
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("is not a URL".to_owned());
        };
        if rest.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(
                "holds a space or a control character: write it as %20 or the like".to_owned(),
            );
        }
        match scheme {
            "redis" => over_tcp(rest, false),
            "rediss" => over_tcp(rest, true),
            "unix" => over_socket(rest),
            _ => Err("has an unknown scheme".to_owned()),
        }
    }

    fn allowed(&self) -> String {
        "redis://user:password@host:6379/0, rediss://... for TLS, or unix:///path?db=0&user=U&pass=P".to_owned()
    }

    fn may_be_shown(&self) -> bool {
        false
    }
}

/// Reads what follows `redis://` or `rediss://`.
fn over_tcp(rest: &str, tls: bool) -> Result<RedisUrl, String> {
    // Userinfo goes up to the last @ before the path; a raw / ? or # ends it, as in every URL.
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    if tail.contains('@') {
        let why = "has a / ? or # in its user or password: write %2F, %3F or %23";
        return Err(why.to_owned());
    }
    let (userinfo, host) = match authority.rsplit_once('@') {
        Some((userinfo, host)) => (Some(userinfo), host),
        None => (None, authority),
    };
    let (host, port) = host_and_port(host)?;
    let port = port.unwrap_or(DEFAULT_PORT);
    if port == 0 {
        return Err("has port 0".to_owned());
    }
    if tail.contains(['?', '#']) {
        let why =
            "has something after ? or #: the database is written /N, and TLS has keys of its own";
        return Err(why.to_owned());
    }
    let (user, password) = match userinfo {
        Some(info) => info.split_once(':').map_or((info, ""), |parts| parts),
        None => ("", ""),
    };
    Ok(RedisUrl {
        address: RedisAddress::Tcp(HostPort { host, port }),
        tls,
        username: decoded(user)?,
        password: decoded(password)?,
        db: match tail.strip_prefix('/') {
            None | Some("") => 0,
            Some(db) => database(db)?,
        },
    })
}

/// Reads what follows `unix://`.
fn over_socket(rest: &str) -> Result<RedisUrl, String> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') {
        let why = "has a path that does not begin with /: user and password go behind the ?";
        return Err(why.to_owned());
    }
    let path = decoded(path)?.unwrap_or_default();
    if path.len() > MAX_SOCKET_PATH || path.contains('\0') {
        return Err(format!("has a path of more than {MAX_SOCKET_PATH} bytes"));
    }
    let address = RedisAddress::Unix(PathBuf::from(path));
    let mut url = RedisUrl {
        address,
        tls: false,
        username: None,
        password: None,
        db: 0,
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("db", db)) => url.db = database(db)?,
            Some(("user", user)) => url.username = decoded(user)?,
            Some(("pass", password)) => url.password = decoded(password)?,
            // The name is not shown either: after a raw & it may be the rest of a password.
            _ => {
                let why =
                    "has something behind the ? that is not db=, user= or pass= (& in one is %26)";
                return Err(why.to_owned());
            }
        }
    }
    Ok(url)
}

/// Undoes the percent-encoding; nothing if nothing is there.
fn decoded(text: &str) -> Result<Option<String>, String> {
    let text = percent_decode_str(text).decode_utf8();
    let text = text.map_err(|_| "is not UTF-8 once its %XX are decoded".to_owned())?;
    Ok(Some(text)
        .filter(|text| !text.is_empty())
        .map(Cow::into_owned))
}

/// Redis numbers its databases with a C int.
fn database(text: &str) -> Result<i64, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = if digits {
        text.parse::<i32>().ok()
    } else {
        None
    };
    number
        .map(i64::from)
        .ok_or_else(|| "has a database that is not a number from 0 to 2147483647".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> RedisAddress {
        let host = host.to_owned();
        RedisAddress::Tcp(HostPort { host, port })
    }

    fn url(text: &str) -> RedisUrl {
        RedisUrlRule
            .parse(text)
            .unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn every_part_of_a_tcp_url_is_read() {
        let full = url("redis://m%65:p%40ss%2Fw:rd@cache.example:6380/3");
        assert_eq!(full.address, tcp("cache.example", 6380));
        assert_eq!(full.username.as_deref(), Some("me"));
        assert_eq!(full.password.as_deref(), Some("p@ss/w:rd"));
        assert_eq!(full.db, 3);
        assert_eq!(url("redis://[::1]").address, tcp("::1", 6379));
        assert_eq!(url("redis://h/").db, 0);
        assert_eq!(url("redis://:p@ss@h").password.as_deref(), Some("p@ss"));
        assert_eq!(url("redis://me@h").username.as_deref(), Some("me"));
        assert_eq!(url("redis://:@h").password, None);
        assert!(!full.tls);
    }

    #[test]
    fn a_second_s_means_tls() {
        let full = url("rediss://me:pw@h/3");
        assert_eq!((full.address, full.tls, full.db), (tcp("h", 6379), true, 3));
        assert_eq!(full.password.as_deref(), Some("pw"));
    }

    #[test]
    fn a_socket_is_a_path_and_a_query() {
        let full = url("unix:///run/my%20redis.sock?db=2&user=me&pass=p%26w");
        assert_eq!(
            full.address,
            RedisAddress::Unix("/run/my redis.sock".into())
        );
        let rest = (full.username.as_deref(), full.password.as_deref(), full.db);
        assert_eq!(rest, (Some("me"), Some("p&w"), 2));
    }

    #[test]
    fn no_error_shows_any_part_of_the_url() {
        for (text, reason) in [
            ("hunter2", "is not a URL"),
            ("redis:/:hunter2@h", "is not a URL"),
            ("hunter2://h", "unknown scheme"),
            ("rediss://:hunter2@", "no host"),
            ("redisss://:hunter2@h", "unknown scheme"),
            ("redis://:hunter2", "no host"),
            ("redis://:hunter2@", "no host"),
            ("redis://:hunter2/x@h/0", "write %2F"),
            ("redis://:hunter2#x@h/0", "%23"),
            ("redis://h/hunter2", "database"),
            ("redis://h/2147483648", "database"),
            ("redis://h?hunter2=1", "written /N"),
            ("redis://:hunter2 x@h", "space"),
            ("redis://:hunter2%ff@h", "UTF-8"),
            ("redis://h:0", "port 0"),
            ("unix://hunter2@/x", "begin with /"),
            ("unix:///x?password=hunter2", "db=, user= or pass="),
            ("unix:///x?pass=a&hunter2", "db=, user= or pass="),
            ("unix:///x?db=hunter2", "database"),
        ] {
            let why = RedisUrlRule.parse(text).err().unwrap();
            assert!(why.contains(reason), "{text}: {why}");
            assert!(!why.contains("hunter2"), "{text}: {why}");
        }
        let long = format!("unix:///{}", "x".repeat(120));
        assert!(
            RedisUrlRule
                .parse(&long)
                .err()
                .unwrap()
                .contains("107 bytes")
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(rediss?|unix)://\\PC{0,40}") {
            let _ = RedisUrlRule.parse(&text);
        }
    }
}
