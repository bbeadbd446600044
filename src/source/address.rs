//! Where the value of a key is to be asked for: the URL before the key, the key as one path segment,
//! the URL after it. Pure: it must let no key reach another path, and no credential reach a text.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::config::HttpUrl;

/// What a key is written with: all but the unreserved characters of RFC 3986 section 2.3, so no
/// byte of a key can mean anything to whoever reads the path.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The longest URL that is sent, in bytes: what the connection's output buffer holds with room for
/// the headers. Common servers refuse more than 8 KiB.
pub const MAX_URL: usize = 24 * 1024;

/// The two halves of a source's URL, and what else its requests need.
pub struct Address {
    /// Scheme, host, path before the key; without user and password.
    prefix: String,
    suffix: String,
    /// `host:port`, as a resolver takes it.
    pub host_and_port: String,
    /// Value of the `Authorization` header, where the URL holds a user.
    pub authorization: Option<String>,
}

impl Address {
    /// The address that a source's URL stands for.
    #[must_use]
    pub fn new(url: &HttpUrl) -> Self {
        Self {
            prefix: url.prefix.clone(),
            suffix: url.suffix.clone(),
            host_and_port: url.server.to_string(),
            authorization: url.user.as_deref().map(basic),
        }
    }

    /// The URL for `key`; none for a key that can not be one path segment. `.` and `..` are dot
    /// segments however they are written (RFC 3986 sections 6.2.2.2 and 6.2.2.3, and the WHATWG
    /// URL standard take `%2E` for a dot), and an empty key would be the path of the folder.
    #[must_use]
    pub fn url(&self, key: &str) -> Option<String> {
        if matches!(key, "" | "." | "..") {
            return None;
        }
        let segment = utf8_percent_encode(key, ENCODED);
        Some(format!("{}{segment}{}", self.prefix, self.suffix))
    }
}

/// Basic credentials (RFC 7617) from the `user:password` of a URL, which is percent-encoded there.
fn basic(user: &str) -> String {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let mut pair: Vec<u8> = percent_decode_str(name).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(password));
    format!("Basic {}", BASE64_STANDARD.encode(pair))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(url_prefix: &str, url_suffix: &str) -> Address {
        let url = format!("{url_prefix}<key>{url_suffix}");
        Address::new(&url.parse().unwrap())
    }

    #[test]
    fn keys_are_one_segment_whatever_they_hold() {
        let address = address("http://h:81/a/", "/b?c=d");
        let url = |key| address.url(key);
        assert_eq!(url("k-._~9").as_deref(), Some("http://h:81/a/k-._~9/b?c=d"));
        assert_eq!(
            url("a/b?c#d").as_deref(),
            Some("http://h:81/a/a%2Fb%3Fc%23d/b?c=d")
        );
        assert_eq!(
            url("%2F é").as_deref(),
            Some("http://h:81/a/%252F%20%C3%A9/b?c=d")
        );
        assert_eq!(url("...").as_deref(), Some("http://h:81/a/.../b?c=d"));
        assert_eq!(url("../x").as_deref(), Some("http://h:81/a/..%2Fx/b?c=d"));
        for key in ["", ".", ".."] {
            assert_eq!(url(key), None, "{key:?}");
        }
    }

    #[test]
    fn knows_where_to_connect() {
        let host = |url| address(url, "").host_and_port;
        assert_eq!(host("http://example.com/x/"), "example.com:80");
        assert_eq!(host("http://u:p@10.0.0.1:8080/x/"), "10.0.0.1:8080");
        assert_eq!(host("http://[::1]:9/x/"), "[::1]:9");
    }

    #[test]
    fn credentials_move_from_the_url_to_a_header() {
        let address = address("http://ann:p%40ss@h/u@x/", "");
        assert_eq!(address.url("k").unwrap(), "http://h/u@x/k");
        let header = address.authorization.unwrap();
        assert_eq!(
            header,
            format!("Basic {}", BASE64_STANDARD.encode("ann:p@ss"))
        );
    }

    proptest! {
        #[test]
        fn no_key_leaves_its_segment(key in any::<String>()) {
            prop_assume!(!matches!(key.as_str(), "" | "." | ".."));
            let address = address("http://h/a/", "/z");
            let url = address.url(&key).unwrap();
            let segment = url.strip_prefix("http://h/a/").unwrap().strip_suffix("/z").unwrap();
            prop_assert!(!segment.contains(['/', '?', '#', ';', '\\', ' ']));
            prop_assert!(segment.bytes().all(|byte| (0x21..0x7f).contains(&byte)));
            prop_assert_eq!(percent_decode_str(segment).decode_utf8().unwrap(), key);
        }
    }
}
