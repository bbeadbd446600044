//! The URL of an http source, with a `<key>` that each fetch replaces by the key. Like every URL it
//! is not shown in mistakes: people put tokens into them.

use std::fmt;
use std::str::FromStr;

use crate::config::setting::{Rule, refuse_empty};
use crate::config::values::host::{HostPort, host_and_port};

/// A URL with its key taken out.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl {
    /// Scheme, host and path before the key, as written, without user and password.
    pub prefix: String,
    /// After the key.
    pub suffix: String,
    /// Where to connect.
    pub server: HostPort,
    /// `user:password` as written, percent-encoded; sent as Basic credentials (RFC 7617).
    pub user: Option<String>,
}

impl HttpUrl {
    /// What stands in for a URL that is missing; nobody is asked for it.
    pub(crate) fn nowhere() -> Self {
        let host = String::new();
        Self {
            prefix: String::new(),
            suffix: String::new(),
            server: HostPort { host, port: 0 },
            user: None,
        }
    }
}

/// Shows nothing of it.
impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpUrl(..)")
    }
}

/// `http://host[:port]/...<key>...` of at most 2048 bytes, in the characters of RFC 3986.
pub(crate) struct HttpUrlRule;

/// Bytes.
const MAX_URL: usize = 2048;

/// Port where the URL names none.
const DEFAULT_PORT: u16 = 80;

impl Rule for HttpUrlRule {
    type Value = HttpUrl;

    fn parse(&self, text: &str) -> Result<HttpUrl, String> {
        text.parse()
    }

    fn allowed(&self) -> String {
        "http://host:port/path/<key>".to_owned()
    }

    fn may_be_shown(&self) -> bool {
        false
    }
}

impl FromStr for HttpUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        refuse_empty(text)?;
        if text.len() > MAX_URL {
            return Err(format!("is longer than {MAX_URL} bytes"));
        }
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(("https", _)) => {
                return Err("TLS is not supported yet: https:// can not be used".to_owned());
            }
            _ => return Err("must begin with http://".to_owned()),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains("<key>") {
            return Err("has its <key> in the host".to_owned());
        }
        let (user, host_as_written) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if user.is_some_and(|user| user.contains(['@', '/', '?'])) {
            return Err("has an @, / or ? in its user or password: write %40, %2F, %3F".to_owned());
        }
        characters(user.unwrap_or_default())?;
        let (host, port) = host_and_port(host_as_written)?;
        let port = port.unwrap_or(DEFAULT_PORT);
        if port == 0 {
            return Err("has port 0".to_owned());
        }
        let Some((before, after)) = path.split_once("<key>") else {
            return Err("has no <key>".to_owned());
        };
        if after.contains("<key>") {
            return Err("has more than one <key>".to_owned());
        }
        if !before.starts_with('/') {
            return Err("has no / after its host".to_owned());
        }
        [before, after].into_iter().try_for_each(characters)?;
        Ok(Self {
            prefix: format!("http://{host_as_written}{before}"),
            suffix: after.to_owned(),
            server: HostPort { host, port },
            user: user.map(str::to_owned),
        })
    }
}

/// Checks path and query: the characters of RFC 3986, section 3.3 and 3.4.
fn characters(part: &str) -> Result<(), String> {
    if part.contains('#') {
        return Err("has a # (a server never sees what follows it)".to_owned());
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&b);
    if !part.bytes().all(plain) {
        return Err("holds a character that must be written as %XX".to_owned());
    }
    let hex = |b: Option<&u8>| b.is_some_and(u8::is_ascii_hexdigit);
    let whole = |rest: &str| hex(rest.as_bytes().first()) && hex(rest.as_bytes().get(1));
    if !part.split('%').skip(1).all(whole) {
        return Err("has a % without two hexadecimal digits".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_stands_in_path_or_query() {
        for (text, prefix, suffix, server) in [
            ("http://h/items/<key>", "http://h/items/", "", "h:80"),
            (
                "http://h:81/<key>/raw?x=1",
                "http://h:81/",
                "/raw?x=1",
                "h:81",
            ),
            (
                "http://[::1]:81/q?id=<key>",
                "http://[::1]:81/q?id=",
                "",
                "[::1]:81",
            ),
        ] {
            let url = HttpUrlRule.parse(text).unwrap();
            assert_eq!((url.prefix.as_str(), url.suffix.as_str()), (prefix, suffix));
            assert_eq!((url.server.to_string().as_str(), url.user), (server, None));
        }
    }

    #[test]
    fn credentials_are_kept_apart_from_the_url() {
        let url = HttpUrlRule.parse("http://ann:p%40ss@h/u@x/<key>").unwrap();
        assert_eq!(url.prefix, "http://h/u@x/");
        assert_eq!(url.user.as_deref(), Some("ann:p%40ss"));
        assert_eq!(format!("{url:?}"), "HttpUrl(..)");
    }

    #[test]
    fn a_bad_url_is_told_why_and_not_shown() {
        for (text, reason) in [
            ("", "is empty"),
            ("hunter2/<key>", "must begin with http://"),
            ("ftp://u:hunter2@h/<key>", "must begin with http://"),
            ("https://u:hunter2@h/<key>", "TLS is not supported yet"),
            ("http://u:hunter2@ h/<key>", "neither a name nor an address"),
            ("https://h/<key>", "TLS is not supported yet"),
            ("http://me:hun@ter2@h/<key>", "%40"),
            ("http://h/hunter2", "no <key>"),
            ("http://h/<key>/<key>", "more than one <key>"),
            ("http://<key>/", "in the host"),
            ("http://:80/<key>", "no host"),
            ("http://h:0/<key>", "port 0"),
            ("http://h?q=<key>", "no / after"),
            ("http://h/a b/<key>", "written as %XX"),
            ("http://h/<key>#hunter2", "#"),
            ("http://h/%2/<key>", "two hexadecimal digits"),
            ("http://h/<key>%", "two hexadecimal digits"),
        ] {
            let why = HttpUrlRule.parse(text).unwrap_err();
            assert!(
                why.contains(reason) && !why.contains("hunter2"),
                "{text}: {why}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "http://\\PC{0,20}<key>\\PC{0,20}") {
            let _ = HttpUrlRule.parse(&text);
        }
    }
}
