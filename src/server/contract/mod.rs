//! The contract: the answers of the original services, byte for byte. Pure: a request in, what it
//! asks for or a response out. The rules were learned from the originals by experiment; vectors of
//! theirs are in `tests/contract`.

mod fastapi;
mod flask;
mod json;

use std::net::SocketAddr;

use percent_encoding::percent_decode_str;

use crate::config::{self, Route};
use crate::server::head::{Field, Refusal};
use crate::server::response::Response;
use crate::server::tiny::Request;

#[cfg(test)]
mod tests;

/// Which original, and the routes it serves.
#[derive(Debug)]
pub struct Contract {
    kind: config::Contract,
    routes: Vec<Route>,
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// The value of a key; `route` is the place of its route.
    Lookup {
        /// Index into the configured routes.
        route: usize,
        /// Decoded.
        key: String,
    },
    /// Nothing that has to be looked up.
    Answer(Response),
}

/// Where a request came in, for redirects.
pub trait Origin {
    /// Our end of the connection.
    fn local(&self) -> Option<SocketAddr>;
    /// The client's end.
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
    fn word(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Primary => "primary",
        }
    }
}

impl Contract {
    /// Of the configured kind, for the configured routes.
    #[must_use]
    pub fn new(kind: config::Contract, routes: Vec<Route>) -> Self {
        Self { kind, routes }
    }

    /// What `request` asks for.
    #[must_use]
    pub fn read(&self, request: &Request, origin: &dyn Origin) -> Asked {
        match self.kind {
            config::Contract::Flask => flask::read(&self.routes, request, origin),
            config::Contract::Fastapi => fastapi::read(&self.routes, request, origin),
        }
    }

    /// 200 with a value.
    #[must_use]
    pub fn value(&self, value: &str, provenance: Provenance) -> Response {
        match self.kind {
            config::Contract::Flask => flask::value(value, provenance),
            config::Contract::Fastapi => fastapi::value(value, provenance),
        }
    }

    /// 404: no such route, or no such thing.
    #[must_use]
    pub fn not_found(&self) -> Response {
        match self.kind {
            config::Contract::Flask => flask::page(404),
            config::Contract::Fastapi => fastapi::detail(404),
        }
    }

    /// 503: nothing to be had.
    #[must_use]
    pub fn unavailable(&self) -> Response {
        match self.kind {
            config::Contract::Flask => flask::unavailable(),
            config::Contract::Fastapi => fastapi::detail(503),
        }
    }

    /// 414: the key is over its limit.
    #[must_use]
    pub fn key_too_long(&self) -> Response {
        match self.kind {
            config::Contract::Flask => flask::page(414),
            config::Contract::Fastapi => fastapi::detail(414),
        }
    }

    /// 405, with the methods that are allowed.
    #[must_use]
    pub fn method_not_allowed(&self, allow: &str) -> Response {
        let response = match self.kind {
            config::Contract::Flask => flask::page(405),
            config::Contract::Fastapi => fastapi::detail(405),
        };
        response.field("Allow", allow.to_owned())
    }

    /// What a head that is refused is answered with.
    #[must_use]
    pub fn refused(&self, refusal: Refusal) -> Response {
        match self.kind {
            config::Contract::Flask => flask::page(refusal.status()),
            config::Contract::Fastapi => fastapi::refused(refusal.status()),
        }
    }
}

/// A request target, taken apart as both originals do it.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestTarget<'a> {
    /// Decoded once; malformed escapes stand for themselves, bytes that are not UTF-8 for U+FFFD.
    pub path: String,
    /// As sent, without the question mark; empty where there is none.
    pub query: &'a str,
    /// The path in the target, before decoding.
    pub raw_path: &'a str,
}

impl<'a> RequestTarget<'a> {
    /// From the origin form or the absolute form, whose authority says nothing: Host does.
    /// `None` when it is neither.
    #[must_use]
    pub fn read(target: &'a str) -> Option<Self> {
        let target = if target.starts_with('/') {
            target
        } else {
            let (_, after) = target.split_once("://")?;
            after.find(['/', '?', '#']).map_or("", |at| &after[at..])
        };
        let target = target.split('#').next().unwrap_or_default();
        let (raw_path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = percent_decode_str(raw_path)
            .decode_utf8_lossy()
            .into_owned();
        Some(Self {
            path,
            query,
            raw_path,
        })
    }
}

/// The route that a decoded path matches, and the key in it.
fn find_route<'p>(routes: &[Route], path: &'p str) -> Option<(usize, &'p str)> {
    let mut places = routes.iter().enumerate();
    places.find_map(|(place, route)| {
        let key = path
            .strip_prefix(route.prefix.as_str())?
            .strip_suffix(route.suffix.as_str())?;
        (!key.is_empty() && !key.contains('/')).then_some((place, key))
    })
}

/// Whether a proxy on this machine says that the client came over TLS; from elsewhere nobody is
/// believed, as in both originals.
fn has_trusted_proxy(origin: &dyn Origin) -> bool {
    let peer = origin.peer().map(|peer| peer.ip().to_canonical());
    peer.is_some_and(|ip| ip.to_string() == "127.0.0.1" || ip.to_string() == "::1")
}

/// `host:port` of our own end, for requests that do not say whom they are for; port 80 is left out.
fn own_authority(origin: &dyn Origin) -> String {
    match origin.local() {
        Some(local) if local.port() == 80 => match local {
            SocketAddr::V4(v4) => v4.ip().to_string(),
            SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
        },
        Some(local) => local.to_string(),
        None => String::new(),
    }
}

/// Whether a forwarded field has exactly this value.
fn says(request: &Request, field: Field, value: &str) -> bool {
    request.field(field) == Some(value)
}
