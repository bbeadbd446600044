//! What a request asks for, and what both originals read of it alike: its target, the route that it
//! matches, who sent it and whom it is for.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str};

use crate::config::Route;
use crate::server::head::Field;
use crate::server::response::Response;
use crate::server::tiny::Request;

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// The value of a key.
    Lookup {
        /// Index into the configured routes.
        route: usize,
        /// Decoded.
        key: Arc<str>,
    },
    /// Nothing that has to be looked up.
    Answer(Response),
}

/// Both ends of the connection that a request came over, for redirects.
pub trait Origin {
    /// Ours.
    fn local(&self) -> Option<SocketAddr>;
    /// The client's.
    fn peer(&self) -> Option<SocketAddr>;
}

/// The word for where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provenance {
    /// Redis or memory.
    Cache,
    /// The primary source.
    Primary,
}

impl Provenance {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Primary => "primary",
        }
    }
}

/// A request target (RFC 9112 section 3.2), taken apart as both originals do it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestTarget<'a> {
    /// Decoded once; malformed escapes stand for themselves, bytes that are not UTF-8 for U+FFFD.
    pub(super) path: Cow<'a, str>,
    /// As sent, without the question mark; empty where there is none.
    pub(super) query: &'a str,
    /// The path before decoding.
    pub(super) raw_path: &'a str,
}

impl<'a> RequestTarget<'a> {
    /// From the origin form or the absolute form, whose authority says nothing: Host does.
    /// `None` when it is neither.
    pub(super) fn read(target: &'a str) -> Option<Self> {
        let target = if target.starts_with('/') {
            target
        } else {
            let (_, after) = target.split_once("://")?;
            after.find(['/', '?', '#']).map_or("", |at| &after[at..])
        };
        let target = target.split('#').next().unwrap_or_default();
        let (raw_path, query) = target.split_once('?').unwrap_or((target, ""));
        Some(Self {
            path: percent_decode_str(raw_path).decode_utf8_lossy(),
            query,
            raw_path,
        })
    }
}

/// The route that a decoded path matches, and the key in it.
pub(super) fn find_route<'p>(routes: &[Route], path: &'p str) -> Option<(usize, &'p str)> {
    let mut numbered = routes.iter().enumerate();
    numbered.find_map(|(number, route)| {
        let key = path
            .strip_prefix(route.prefix.as_str())?
            .strip_suffix(route.suffix.as_str())?;
        (!key.is_empty() && !key.contains('/')).then_some((number, key))
    })
}

/// What a redirect encodes: everything but letters, digits, `-` and what is `kept`.
pub(super) const fn all_but(kept: &[u8]) -> AsciiSet {
    let mut encoded = NON_ALPHANUMERIC.remove(b'-');
    let mut at = 0;
    while at < kept.len() {
        encoded = encoded.remove(kept[at]);
        at += 1;
    }
    encoded
}

/// Whether a proxy on this machine says that the client came over TLS; from elsewhere nobody is
/// believed, as in both originals.
pub(super) fn has_trusted_proxy(origin: &dyn Origin) -> bool {
    let peer = origin.peer().map(|peer| peer.ip().to_canonical());
    peer.is_some_and(|ip| ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST)
}

/// `host:port` of our own end, for requests that do not say whom they are for; port 80 is left out.
pub(super) fn own_authority(origin: &dyn Origin) -> String {
    match origin.local() {
        Some(SocketAddr::V4(local)) if local.port() == 80 => local.ip().to_string(),
        Some(SocketAddr::V6(local)) if local.port() == 80 => format!("[{}]", local.ip()),
        Some(local) => local.to_string(),
        None => String::new(),
    }
}

/// Whether `host` is a name or an address in brackets, each by its rule, and a port, if any, that is
/// a number.
pub(super) fn is_authority(
    host: &str,
    is_address: impl Fn(&str) -> bool,
    is_name_byte: impl Fn(u8) -> bool,
    is_port: impl Fn(&str) -> bool,
) -> bool {
    let (is_host, port) = match host.strip_prefix('[') {
        Some(after) => match after.split_once(']') {
            Some((address, port)) => (is_address(address), port),
            None => return false,
        },
        None => {
            let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
            (!name.is_empty() && name.bytes().all(is_name_byte), port)
        }
    };
    let is_number = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    let is_sound = |port: &str| is_port(port) && is_number(port) && port.parse::<u16>().is_ok();
    is_host && (port.is_empty() || port.strip_prefix(':').is_some_and(is_sound))
}

/// Whether a forwarded field has exactly this value.
pub(super) fn says(request: &Request, field: Field, value: &str) -> bool {
    request.field(field) == Some(value)
}
