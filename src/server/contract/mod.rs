//! The contract: the answers of the original services, byte for byte. Pure: a request in, what it
//! asks for or a response out. The rules were learned from the originals by experiment; vectors of
//! theirs are in `tests/contract`.

mod asked;
mod fastapi;
mod flask;
mod json;

use crate::config::{self, Route};
use crate::server::head::Refusal;
use crate::server::response::Response;
use crate::server::tiny::Request;

pub use asked::{Asked, Origin, Provenance};

#[cfg(test)]
mod tests;

/// Which original, and the routes it serves.
#[derive(Debug)]
pub struct Contract {
    kind: config::Contract,
    routes: Vec<Route>,
}

impl Contract {
    /// Of the configured kind, for the configured routes.
    pub fn new(kind: config::Contract, routes: Vec<Route>) -> Self {
        Self { kind, routes }
    }

    /// What `request` asks for.
    pub fn read(&self, request: &Request, origin: &dyn Origin) -> Asked {
        match self.kind {
            config::Contract::Flask => flask::read(&self.routes, request, origin),
            config::Contract::Fastapi => fastapi::read(&self.routes, request, origin),
        }
    }

    /// 200 with a value.
    pub fn value(&self, value: &str, provenance: Provenance) -> Response {
        match self.kind {
            config::Contract::Flask => flask::value(value, provenance),
            config::Contract::Fastapi => fastapi::value(value, provenance),
        }
    }

    /// 404: no such route, or no such thing.
    pub(crate) fn not_found(&self) -> Response {
        self.error(404)
    }

    /// 405, with the methods that are allowed.
    pub(crate) fn method_not_allowed(&self, allow: &'static str) -> Response {
        self.error(405).field("Allow", allow)
    }

    /// 414: the key is over its limit.
    pub(crate) fn key_too_long(&self) -> Response {
        self.error(414)
    }

    /// 503: nothing to be had.
    pub(crate) fn unavailable(&self) -> Response {
        match self.kind {
            config::Contract::Flask => flask::unavailable(),
            config::Contract::Fastapi => fastapi::detail(503),
        }
    }

    /// The answer to a head that is refused.
    pub(crate) fn refused(&self, refusal: Refusal) -> Response {
        match self.kind {
            config::Contract::Flask => flask::page(refusal.status()),
            config::Contract::Fastapi => fastapi::refused(refusal.status()),
        }
    }

    fn error(&self, status: u16) -> Response {
        match self.kind {
            config::Contract::Flask => flask::page(status),
            config::Contract::Fastapi => fastapi::detail(status),
        }
    }
}
