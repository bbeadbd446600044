//! From a request to what is done for it, and from a lookup's answer to a response: where HTTP and
//! the policy meet. An [`Exchange`] is the duty to answer one request, whatever happens.

use std::borrow::Cow;
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
use crate::server::response::{Envelope, Response};
use crate::server::tiny::Request;
use crate::workers::probe_job::ProbeJob;

/// Seconds after which a client that was shed may try again.
const RETRY_AFTER_SHED_S: &str = "1";
/// Seconds after which a client may try again when the source has failed.
const RETRY_AFTER_FAILURE_S: &str = "5";
/// Methods of the health endpoints.
const HEALTH_ALLOW: &str = "GET, HEAD, OPTIONS";

/// What every exchange needs to know.
pub(crate) struct Service {
    contract: Contract,
    health: Arc<Health>,
    /// Behind the admin door alone.
    admin: Option<Admin>,
    metrics: Arc<Metrics>,
    key_max_bytes: usize,
    request_timeout: Duration,
}

/// What is done for a request.
pub(crate) enum Reaction {
    /// It is answered at once.
    Answer(Response),
    /// A key is looked up.
    LookUp(Target),
    /// The process asks itself: a worker is to answer.
    SelfCheck,
}

impl Service {
    /// From its parts and limits.
    #[must_use]
    pub(crate) fn new(
        contract: Contract,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
        key_max_bytes: usize,
        request_timeout: Duration,
    ) -> Self {
        Self {
            contract,
            health,
            admin: None,
            metrics,
            key_max_bytes,
            request_timeout,
        }
    }

    /// The same with the pages of `admin`.
    #[must_use]
    pub(crate) fn with(self, admin: Admin) -> Self {
        Self {
            admin: Some(admin),
            ..self
        }
    }

    /// What is done for `request`, which came in over the connection of `exchange`.
    #[must_use]
    pub(crate) fn react(&self, request: &Request, exchange: &Exchange) -> Reaction {
        let path = request.target.split(['?', '#']).next().unwrap_or_default();
        if let Some(endpoint) = Endpoint::find(path) {
            if request.target == self.health.self_check.target() {
                return Reaction::SelfCheck;
            }
            return Reaction::Answer(self.health(endpoint, &request.method));
        }
        if let (Some(admin), Some(page)) = (&self.admin, Page::find(path)) {
            return Reaction::Answer(self.page(admin, page, &request.method));
        }
        match self.contract.read(request, exchange) {
            Asked::Answer(response) => Reaction::Answer(response),
            Asked::Lookup { key, .. } if key.len() > self.key_max_bytes => {
                Reaction::Answer(self.contract.key_too_long())
            }
            Asked::Lookup { route, key } => Reaction::LookUp(Target {
                route,
                key: key.into(),
            }),
        }
    }

    /// The lookup of a request that was whole at `now`.
    #[must_use]
    pub(crate) fn lookup(
        &self,
        mut exchange: Exchange,
        request: Request,
        target: Target,
        now: Instant,
    ) -> Lookup {
        exchange.request_id = request_id(&request);
        Lookup {
            target,
            arrived: now,
            deadline: Deadline::after(now, self.request_timeout),
            client: Box::new(exchange),
        }
    }

    /// The probe job that answers a self-check.
    #[must_use]
    pub(crate) fn self_check(&self, exchange: Exchange, request: Request) -> ProbeJob {
        ProbeJob::new(move || {
            let (status, json) = SelfCheck::answer(&exchange.service.health);
            let response = Response::new(status, "application/json", json.to_string().into_bytes());
            exchange.respond(&request, &response);
        })
    }

    /// The counters.
    #[must_use]
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn health(&self, endpoint: Endpoint, method: &str) -> Response {
        match method {
            "GET" | "HEAD" => {
                let (status, json) = self.health.look(endpoint);
                Response::new(status, "application/json", format!("{json}\n").into_bytes())
                    .field("Cache-Control", "no-store")
            }
            "OPTIONS" => {
                Response::new(200, "application/json", Vec::new()).field("Allow", HEALTH_ALLOW)
            }
            _ => self.contract.method_not_allowed(HEALTH_ALLOW),
        }
    }

    fn page(&self, admin: &Admin, page: Page, method: &str) -> Response {
        match method {
            "GET" | "HEAD" => {
                let response = match page {
                    Page::Outages => {
                        let json = format!("{}\n", admin.outages());
                        Response::new(200, "application/json", json.into_bytes())
                    }
                    Page::Metrics => match admin.metrics() {
                        Ok(text) => Response::new(200, metrics::MEDIA_TYPE, text),
                        Err(error) => {
                            let text = format!("{error}\n").into_bytes();
                            Response::new(500, "text/plain; charset=utf-8", text)
                        }
                    },
                };
                response.field("Cache-Control", "no-store")
            }
            "OPTIONS" => {
                Response::new(200, "application/json", Vec::new()).field("Allow", HEALTH_ALLOW)
            }
            _ => self.contract.method_not_allowed(HEALTH_ALLOW),
        }
    }

    /// The response to a lookup that was answered so.
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
        self.contract
            .value(copy.value, Provenance::Cache)
            .field("Cache-Status", status)
            .field("Age", copy.age.as_secs().to_string())
    }
}

/// The duty to answer one request. Dropped without an answer, by a panic or for want of anything
/// better, it answers 503.
pub(crate) struct Exchange {
    connection: Arc<Connection>,
    service: Arc<Service>,
    is_head: bool,
    closes: bool,
    is_http_1_0: bool,
    request_id: Cow<'static, str>,
    is_answered: bool,
}

impl Exchange {
    /// For the request whose head has just been taken off `connection`.
    #[must_use]
    pub(crate) fn begin(
        connection: &Arc<Connection>,
        service: &Arc<Service>,
        is_head: bool,
        closes: bool,
        is_http_1_0: bool,
    ) -> Self {
        Self {
            connection: Arc::clone(connection),
            service: Arc::clone(service),
            is_head,
            closes,
            is_http_1_0,
            request_id: Cow::Borrowed(""),
            is_answered: false,
        }
    }

    /// Answers `request`.
    pub(crate) fn respond(mut self, request: &Request, response: &Response) {
        self.request_id = request_id(request);
        self.service.metrics.responded(response.status);
        self.send(response);
    }

    /// Answers a head that is refused; the connection ends with it.
    pub(crate) fn refuse(mut self, refusal: Refusal) {
        self.closes = true;
        let response = self.service.contract.refused(refusal);
        self.service.metrics.responded(response.status);
        self.send(&response);
    }

    fn send(&mut self, response: &Response) {
        self.is_answered = true;
        if self.request_id.is_empty() {
            self.request_id = new_request_id();
        }
        let closes = self.closes || self.service.health.is_draining();
        let bytes = response.render(Envelope {
            is_head: self.is_head,
            closes,
            is_http_1_0: self.is_http_1_0,
            request_id: &self.request_id,
        });
        self.connection.answer(bytes, closes);
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
            self.service.metrics.responded(response.status);
            self.send(&response);
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

/// The client's own id where it is 1 to 128 of `[A-Za-z0-9._-]`, else a new one.
fn request_id(request: &Request) -> Cow<'static, str> {
    let is_char = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let is_sound = |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(is_char);
    match request.field(Field::RequestId).filter(is_sound) {
        Some(id) => Cow::Owned(id.to_owned()),
        None => new_request_id(),
    }
}

fn new_request_id() -> Cow<'static, str> {
    let number = fastrand::u64(..);
    let digit = |place: u32| char::from_digit((number >> (place * 4) & 15) as u32, 16);
    Cow::Owned((0..16).filter_map(digit).collect())
}
