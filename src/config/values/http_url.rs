//! The URL of an http source, with a `<key>` that each fetch replaces by the key. Like every URL it
//! is not shown in mistakes: people put tokens into them.

use std::fmt;
use std::str::FromStr;

use crate::config::setting::{Parsed, ensure};
use crate::config::values::host::HostPort;

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

/// Shows nothing of it.
impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpUrl(..)")
    }
}

/// `http://host[:port]/...<key>...` of at most 2048 bytes, in the characters of RFC 3986.
pub(crate) const HTTP_URL: Parsed<HttpUrl> =
    Parsed::by(str::parse, "http://host:port/path/<key>").unshown();

/// Bytes.
const MAX_URL: usize = 2048;

/// Port where the URL names none.
const DEFAULT_PORT: u16 = 80;

impl FromStr for HttpUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        ensure(!text.is_empty(), "is empty")?;
        let long = format!("is longer than {MAX_URL} bytes");
        ensure(text.len() <= MAX_URL, long)?;
        let tls = "TLS is not supported yet: https:// can not be used";
        ensure(!text.starts_with("https://"), tls)?;
        let rest = text.strip_prefix("http://");
        let rest = rest.ok_or("must begin with http://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let in_host = authority.contains("<key>");
        ensure(!in_host, "has its <key> in the host")?;
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let raw = "has an @, / or ? in its user or password: write %40, %2F, %3F";
        ensure(!user.unwrap_or_default().contains('@'), raw)?;
        characters(user.unwrap_or_default())?;
        let server = HostPort::read(host, Some(DEFAULT_PORT))?;
        let (before, after) = path.split_once("<key>").ok_or("has no <key>")?;
        ensure(!after.contains("<key>"), "has more than one <key>")?;
        ensure(before.starts_with('/'), "has no / after its host")?;
        characters(before)?;
        characters(after)?;
        Ok(Self {
            prefix: format!("http://{host}{before}"),
            suffix: after.to_owned(),
            server,
            user: user.map(str::to_owned),
        })
    }
}

/// Checks path and query: the characters of RFC 3986, section 3.3 and 3.4.
fn characters(part: &str) -> Result<(), String> {
    let fragment = "has a # (a server never sees what follows it)";
    ensure(!part.contains('#'), fragment)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&b);
    let not_plain = "holds a character that must be written as %XX";
    ensure(part.bytes().all(plain), not_plain)?;
    let is_hex = |b: Option<&u8>| b.is_some_and(u8::is_ascii_hexdigit);
    let whole = |rest: &str| is_hex(rest.as_bytes().first()) && is_hex(rest.as_bytes().get(1));
    let cut = "has a % without two hexadecimal digits";
    ensure(part.split('%').skip(1).all(whole), cut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::setting::Rule;

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
            let url = HTTP_URL.parse(text).unwrap();
            assert_eq!((url.prefix.as_str(), url.suffix.as_str()), (prefix, suffix));
            assert_eq!((url.server.to_string().as_str(), url.user), (server, None));
        }
    }

    #[test]
    fn credentials_are_kept_apart_from_the_url() {
        let url = HTTP_URL.parse("http://ann:p%40ss@h/u@x/<key>").unwrap();
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
            let why = HTTP_URL.parse(text).unwrap_err();
            assert!(
                why.contains(reason) && !why.contains("hunter2"),
                "{text}: {why}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "http://\\PC{0,20}<key>\\PC{0,20}") {
            let _ = HTTP_URL.parse(&text);
        }
    }
}
