//! The URL of an http source, with a `<key>` that each fetch replaces by the key. Like every URL it
//! is not shown in mistakes: people put tokens into them.

use crate::config::authority::host_and_port;
use crate::config::setting::Rule;

/// A URL with its key taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyedUrl {
    /// Before the key.
    pub(super) prefix: String,
    /// After the key.
    pub(super) suffix: String,
}

/// `http://host[:port]/...<key>...` of at most 2048 bytes, in the characters of RFC 3986.
pub(super) struct HttpUrlRule;

/// Bytes.
const MAX_URL: usize = 2048;

impl Rule for HttpUrlRule {
    type Value = KeyedUrl;

    fn parse(&self, text: &str) -> Result<KeyedUrl, String> {
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
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
        // A user and password are sent as Basic credentials (RFC 7617).
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        if user.contains(['@', '/', '?']) {
            return Err("has an @, / or ? in its user or password: write %40, %2F, %3F".to_owned());
        }
        characters(user)?;
        if host_and_port(host)?.1 == Some(0) {
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
        let prefix = format!("http://{authority}{before}");
        Ok(KeyedUrl {
            prefix,
            suffix: after.to_owned(),
        })
    }

    fn allowed(&self) -> String {
        "http://host:port/path/<key>".to_owned()
    }

    fn may_be_shown(&self) -> bool {
        false
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
        for (text, prefix, suffix) in [
            ("http://h/items/<key>", "http://h/items/", ""),
            ("http://h:81/<key>/raw?x=1", "http://h:81/", "/raw?x=1"),
            ("http://[::1]:81/q?id=<key>", "http://[::1]:81/q?id=", ""),
            ("http://me:p%40@h/<key>", "http://me:p%40@h/", ""),
        ] {
            let expected = KeyedUrl {
                prefix: prefix.into(),
                suffix: suffix.into(),
            };
            assert_eq!(HttpUrlRule.parse(text), Ok(expected));
        }
    }

    #[test]
    fn a_bad_url_is_told_why_and_not_shown() {
        for (text, reason) in [
            ("", "is empty"),
            ("hunter2/<key>", "must begin with http://"),
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
