//! The URL of the Redis server: `redis://[user:password@]host[:port][/db]`, the same with `rediss` for
//! TLS, or `unix:///path[?db=N&user=U&pass=P]`. It may hold a password, so no error shows any part of it.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use crate::config::sections::redis::servers::RedisAddress;
use crate::config::setting::{Parsed, Rule, ensure};
use crate::config::values::host::HostPort;
use crate::config::values::number::Count;

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
pub(crate) const REDIS_URL: Parsed<RedisUrl> = Parsed::by(
    redis_url,
    "redis://user:password@host:6379/0, rediss://... for TLS, or unix:///path?db=0&user=U&pass=P",
)
.unshown();

fn redis_url(text: &str) -> Result<RedisUrl, String> {
    ensure(!text.is_empty(), "is empty")?;
    let (scheme, rest) = text.split_once("://").ok_or("is not a URL")?;
    let is_plain = !rest.chars().any(|c| c.is_control() || c.is_whitespace());
    let why = "holds a space or a control character: write it as %20 or the like";
    ensure(is_plain, why)?;
    match scheme {
        "redis" => over_tcp(rest, false),
        "rediss" => over_tcp(rest, true),
        "unix" => over_socket(rest),
        _ => Err("has an unknown scheme".to_owned()),
    }
}

/// Reads what follows `redis://` or `rediss://`.
fn over_tcp(rest: &str, tls: bool) -> Result<RedisUrl, String> {
    // Userinfo goes up to the last @ before the path; a raw / ? or # ends it, as in every URL.
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let raw = "has a / ? or # in its user or password: write %2F, %3F or %23";
    ensure(!tail.contains('@'), raw)?;
    let (userinfo, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let server = HostPort::read(host, Some(DEFAULT_PORT))?;
    let more =
        "has something after ? or #: the database is written /N, and TLS has keys of its own";
    ensure(!tail.contains(['?', '#']), more)?;
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    Ok(RedisUrl {
        address: RedisAddress::Tcp(server),
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
    let relative = "has a path that does not begin with /: user and password go behind the ?";
    ensure(path.starts_with('/'), relative)?;
    let path = decoded(path)?.unwrap_or_default();
    let is_sound = path.len() <= MAX_SOCKET_PATH && !path.contains('\0');
    let long = format!("has a path of more than {MAX_SOCKET_PATH} bytes");
    ensure(is_sound, long)?;
    let mut url = RedisUrl {
        address: RedisAddress::Unix(PathBuf::from(path)),
        tls: false,
        username: None,
        password: None,
        db: 0,
    };
    // The name is not shown either: after a raw & it may be the rest of a password.
    let unknown = "has something behind the ? that is not db=, user= or pass= (& in one is %26)";
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').ok_or(unknown)? {
            ("db", db) => url.db = database(db)?,
            ("user", user) => url.username = decoded(user)?,
            ("pass", password) => url.password = decoded(password)?,
            _ => return Err(unknown.to_owned()),
        }
    }
    Ok(url)
}

/// Undoes the percent-encoding; nothing if nothing is there.
fn decoded(text: &str) -> Result<Option<String>, String> {
    let text = percent_decode_str(text).decode_utf8();
    let text = text.map_err(|_| "is not UTF-8 once its %XX are decoded")?;
    Ok((!text.is_empty()).then(|| text.into_owned()))
}

/// Redis numbers its databases with a C int.
fn database(text: &str) -> Result<i64, String> {
    let number = Count(0, i32::MAX).parse(text).map(i64::from);
    number.map_err(|_| "has a database that is not a number from 0 to 2147483647".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> RedisAddress {
        let host = host.to_owned();
        RedisAddress::Tcp(HostPort { host, port })
    }

    fn url(text: &str) -> RedisUrl {
        REDIS_URL
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
            let why = REDIS_URL.parse(text).err().unwrap();
            assert!(why.contains(reason), "{text}: {why}");
            assert!(!why.contains("hunter2"), "{text}: {why}");
        }
        let long = format!("unix:///{}", "x".repeat(120));
        assert!(REDIS_URL.parse(&long).err().unwrap().contains("107 bytes"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(rediss?|unix)://\\PC{0,40}") {
            let _ = REDIS_URL.parse(&text);
        }
    }
}
