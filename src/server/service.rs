//! From a request to what is done for it, and from a lookup's answer to a response: where HTTP and
//! the policy meet. An [`Exchange`] is the duty to answer one request, whatever happens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::clock::Deadline;
use crate::observe::metrics::{self, Metrics};
use crate::ops::admin::{Admin, Page};
use crate::ops::health::{Endpoint, Health, SelfCheck};
use crate::policy::flight::Target;
use crate::policy::{Answer, Client, Copied, Lookup};
use crate::server::connection::Connection;
use crate::server::contract::{Asked, Contract, Origin, Provenance};
use crate::server::head::{Field, Refusal};
use crate::server::response::{Framing, Response};
use crate::server::tiny::Request;
use crate::workers::probe_job::ProbeJob;

/// Seconds after which a client that was shed may try again.
const RETRY_AFTER_SHED_S: &str = "1";
/// Seconds after which a client may try again when the source has failed.
const RETRY_AFTER_FAILURE_S: &str = "5";
/// Methods of the health endpoints and of the admin door's pages.
const PAGE_ALLOW: &str = "GET, HEAD, OPTIONS";
const JSON: &str = "application/json";

/// What every exchange needs to know.
pub(crate) struct Service {
    pub contract: Contract,
    pub health: Arc<Health>,
    /// Behind the admin door alone.
    pub admin: Option<Admin>,
    pub metrics: Arc<Metrics>,
    pub key_max_bytes: usize,
    pub request_timeout: Duration,
}

/// What is to be done before a request can be answered.
pub(crate) enum Work {
    /// A key is looked up.
    LookUp(Lookup),
    /// The process asks itself: a worker is to answer.
    SelfCheck(ProbeJob),
}

enum Reaction {
    Answer(Response),
    LookUp(Target),
    SelfCheck,
}

impl Service {
    fn react(&self, request: &Request<'_>, origin: &dyn Origin) -> Reaction {
        let target = request.target();
        let path = target.split(['?', '#']).next().unwrap_or_default();
        if let Some(endpoint) = Endpoint::find(path) {
            if target == self.health.self_check.target() {
                return Reaction::SelfCheck;
            }
            return Reaction::Answer(self.page(request.method(), || {
                let (status, json) = self.health.look(endpoint);
                Response::new(status, JSON, format!("{json}\n"))
            }));
        }
        if let (Some(admin), Some(page)) = (&self.admin, Page::find(path)) {
            return Reaction::Answer(self.page(request.method(), || admin_page(admin, page)));
        }
        match self.contract.read(request, origin) {
            Asked::Answer(response) => Reaction::Answer(response),
            Asked::Lookup { key, .. } if key.len() > self.key_max_bytes => {
                Reaction::Answer(self.contract.key_too_long())
            }
            Asked::Lookup { route, key } => Reaction::LookUp(Target { route, key }),
        }
    }

    /// A page that is made by `look`, for the methods that may see it.
    fn page(&self, method: &str, look: impl FnOnce() -> Response) -> Response {
        match method {
            "GET" | "HEAD" => look().field("Cache-Control", "no-store"),
            "OPTIONS" => Response::new(200, JSON, Vec::new()).field("Allow", PAGE_ALLOW),
            _ => self.contract.method_not_allowed(PAGE_ALLOW),
        }
    }

    /// The response to a lookup with this answer.
    fn response(&self, answer: &Answer<'_>) -> Response {
        let contract = &self.contract;
        match answer {
            Answer::Redis(value) => contract
                .value(value, Provenance::Cache)
                .field("Cache-Status", "evenkeel; hit; detail=redis"),
            Answer::Memory(copy) => {
                let left = copy.ttl.saturating_sub(copy.age).as_secs();
                let status = format!("evenkeel; hit; ttl={left}; detail=memory");
                self.copied(copy, status)
            }
            Answer::Stale(copy) => {
                let over = copy.age.saturating_sub(copy.ttl).as_secs();
                let status = format!("evenkeel; hit; ttl=-{over}; detail=stale");
                self.copied(copy, status)
            }
            Answer::Primary { value, joined } => {
                let status = match joined {
                    true => "evenkeel; fwd=miss; collapsed",
                    false => "evenkeel; fwd=miss",
                };
                contract
                    .value(value, Provenance::Primary)
                    .field("Cache-Status", status)
            }
            Answer::NoSuchThing => contract
                .not_found()
                .field("Cache-Status", "evenkeel; fwd=miss"),
            Answer::Unavailable => contract
                .unavailable()
                .field("Cache-Status", "evenkeel; fwd=miss; detail=source-failed")
                .field("Retry-After", RETRY_AFTER_FAILURE_S),
            Answer::Shed => contract
                .unavailable()
                .field("Cache-Status", "evenkeel; detail=shed")
                .field("Retry-After", RETRY_AFTER_SHED_S),
        }
    }

    fn copied(&self, copy: &Copied<'_>, status: String) -> Response {
        let response = self.contract.value(copy.value, Provenance::Cache);
        let response = response.field("Cache-Status", status);
        match copy.shows_age {
            true => response.field("Age", copy.age.as_secs().to_string()),
            false => response,
        }
    }
}

fn admin_page(admin: &Admin, page: Page) -> Response {
    match page {
        Page::Outages => Response::new(200, JSON, format!("{}\n", admin.outages())),
        Page::Metrics => match admin.metrics() {
            Ok(text) => Response::new(200, metrics::MEDIA_TYPE, text),
            Err(error) => Response::new(500, "text/plain; charset=utf-8", format!("{error}\n")),
        },
    }
}

/// The duty to answer one request. Dropped without an answer, by a panic or for want of anything
/// better, it answers 503.
pub(crate) struct Exchange {
    connection: Arc<Connection>,
    service: Arc<Service>,
    framing: Framing,
    /// The client's own, where it is sound.
    request_id: Option<Box<str>>,
    is_answered: bool,
}

impl Exchange {
    /// For the request whose head has just been taken off `connection`.
    pub(crate) fn begin(
        connection: &Arc<Connection>,
        service: &Arc<Service>,
        framing: Framing,
    ) -> Self {
        Self {
            connection: Arc::clone(connection),
            service: Arc::clone(service),
            framing,
            request_id: None,
            is_answered: false,
        }
    }

    /// Answers `request`, which was whole at `now`, or hands over what has to be done first.
    pub(crate) fn handle(mut self, request: &Request<'_>, now: Instant) -> Option<Work> {
        self.request_id = request_id(request).map(Box::from);
        match self.service.react(request, &self) {
            Reaction::Answer(response) => {
                self.respond(&response);
                None
            }
            Reaction::LookUp(target) => Some(Work::LookUp(Lookup {
                target,
                arrived: now,
                deadline: Deadline::after(now, self.service.request_timeout),
                client: Box::new(self),
            })),
            Reaction::SelfCheck => Some(Work::SelfCheck(ProbeJob::new(move || {
                let (status, json) = SelfCheck::answer(&self.service.health);
                self.respond(&Response::new(status, JSON, json.to_string()));
            }))),
        }
    }

    /// Answers a head that is refused; the connection ends with it.
    pub(crate) fn refuse(mut self, refusal: Refusal) {
        self.framing.closes = true;
        let response = self.service.contract.refused(refusal);
        self.respond(&response);
    }

    /// Answers without a lookup.
    fn respond(&mut self, response: &Response) {
        self.service.metrics.responded(response.status);
        self.send(response);
    }

    fn send(&mut self, response: &Response) {
        self.is_answered = true;
        let framing = Framing {
            closes: self.framing.closes || self.service.health.is_draining(),
            ..self.framing
        };
        let new_id = new_request_id();
        let new_id = || str::from_utf8(&new_id).unwrap_or_default();
        let request_id = self.request_id.as_deref().unwrap_or_else(new_id);
        let bytes = response.render(framing, request_id);
        self.connection.answer(bytes, framing.closes);
    }
}

impl Client for Exchange {
    fn answer(mut self: Box<Self>, answer: &Answer<'_>) {
        let response = self.service.response(answer);
        self.send(&response);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.is_answered {
            let response = self.service.response(&Answer::Shed);
            self.respond(&response);
        }
    }
}

impl Origin for Exchange {
    fn local(&self) -> Option<SocketAddr> {
        self.connection.socket().local_addr().ok()
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.connection.socket().peer_addr().ok()
    }
}

/// The client's own id where it is 1 to 128 of `[A-Za-z0-9._-]`.
fn request_id<'r>(request: &'r Request<'_>) -> Option<&'r str> {
    let is_char = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let id = request.field(Field::RequestId)?;
    ((1..=128).contains(&id.len()) && id.bytes().all(is_char)).then_some(id)
}

/// 16 hexadecimal digits.
fn new_request_id() -> [u8; 16] {
    let number = fastrand::u64(..);
    std::array::from_fn(|at| b"0123456789abcdef"[(number >> (at * 4) & 15) as usize])
}
