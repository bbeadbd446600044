//! A source that is an HTTP service: `GET` of a URL made from the key, the value is the body of a
//! 200. The whole of an exchange, from the name lookup to the last byte, is bounded by one
//! time-out. It must follow no redirect, use no proxy and repeat nothing but a request that a
//! kept-alive connection swallowed.

#[cfg(test)]
mod origin;
#[cfg(test)]
mod request_tests;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::time::Duration;

use ureq::http::{Response, StatusCode, header};
use ureq::unversioned::transport::{Connector, TcpConnector};
use ureq::{Agent, Body, Error};

use crate::base::clock::{self, Deadline};
use crate::config;

use super::address::{Address, MAX_URL};
use super::connection::{ClosedWhileIdle, Watch};
use super::resolver::SourceResolver;
use super::{Fetched, Source, SourceError};

/// ureq keeps an input and an output buffer for every open connection, 128 KiB each by default.
/// The output has to hold the request line and each header; with these, 32 idle connections hold
/// 2 MiB.
const BUFFER: usize = MAX_URL + 8 * 1024;
/// A body that is of no use is read up to this many bytes, so that its connection can be kept.
const MAX_DRAIN: u64 = 16 * 1024;
/// The first allocation for a body; more only as the bytes come, whatever the server announces.
const FIRST_ALLOCATION: u64 = 64 * 1024;

/// `kind = http`
pub struct HttpSource {
    address: Address,
    agent: Agent,
    timeout: Duration,
    max_body: u64,
}

impl HttpSource {
    /// The source with the settings of its section. Nothing is resolved or connected yet.
    #[must_use]
    pub fn new(config: &config::HttpSource) -> Self {
        let address = Address::new(&config.url);
        Self {
            agent: agent(config, address.host_and_port.clone()),
            address,
            timeout: config.timeout,
            max_body: config.max_body,
        }
    }

    /// Sends the request and takes the head of the answer; a request lost on a connection that the
    /// server had closed meanwhile is sent once more, on a new one.
    fn ask(&self, url: &str, end: Deadline) -> Result<Response<Body>, Error> {
        match self.ask_once(url, end, false) {
            Err(error) if ClosedWhileIdle::is(&error) => self.ask_once(url, end, true),
            outcome => outcome,
        }
    }

    /// One exchange up to the head of the answer. All of it is within what is left until `end`:
    /// ureq counts its global time-out from here on, through the body.
    fn ask_once(
        &self,
        url: &str,
        end: Deadline,
        on_new_connection: bool,
    ) -> Result<Response<Body>, Error> {
        let left = end.left(clock::now());
        let mut request = self.agent.get(url).config().timeout_global(Some(left));
        if on_new_connection {
            request = request.max_idle_age(Duration::ZERO);
        }
        let mut request = request.build();
        if let Some(credentials) = &self.address.authorization {
            request = request.header(header::AUTHORIZATION, credentials);
        }
        request.call()
    }

    /// The body of a 200. Neither a byte order mark nor a charset is looked at: JSON is UTF-8.
    fn value(&self, response: Response<Body>) -> Result<Fetched, SourceError> {
        if response
            .headers()
            .get_all(header::CONTENT_ENCODING)
            .iter()
            .any(|coding| coding != "identity")
        {
            return Err(SourceError::NotUtf8);
        }
        let limit = self.max_body;
        let announced = response.body().content_length();
        if announced.is_some_and(|length| length > limit) {
            return Err(SourceError::TooLarge { limit });
        }
        let room = announced.unwrap_or(0).min(FIRST_ALLOCATION);
        let mut bytes = Vec::with_capacity(usize::try_from(room).unwrap_or(0));
        let mut reader = response
            .into_body()
            .into_with_config()
            .limit(limit)
            .reader();
        reader
            .read_to_end(&mut bytes)
            .map_err(|error| Self::failed(Error::from(error)))?;
        let text = String::from_utf8(bytes).map_err(|_| SourceError::NotUtf8)?;
        Ok(Fetched::Value(text))
    }

    /// What an error of ureq's means here. The URL holds no credentials any more, but it does hold
    /// the key: no text that could repeat it is passed on.
    fn failed(error: Error) -> SourceError {
        match error {
            Error::Timeout(_) => SourceError::TimedOut,
            Error::BodyExceedsLimit(limit) => SourceError::TooLarge { limit },
            Error::HostNotFound => SourceError::Unreachable("host not found".to_owned()),
            Error::Io(cause) if is_no_connection(cause.kind()) => {
                SourceError::Unreachable(cause.to_string())
            }
            Error::Io(cause) => SourceError::BrokenOff(cause.to_string()),
            Error::BadUri(_) | Error::Http(_) => {
                SourceError::NotAskable("url is not valid".to_owned())
            }
            other => SourceError::BrokenOff(other.to_string()),
        }
    }
}

impl Source for HttpSource {
    /// Takes up to the source's time-out or to `deadline`, and while connecting up to 10 ms more for
    /// each address of the host. Keys that can not be one path segment (`.`, `..` and the empty one)
    /// are answered without asking.
    ///
    /// # Errors
    /// Every variant of [`SourceError`] but the simulated one.
    fn fetch(&self, key: &str, deadline: Deadline) -> Result<Fetched, SourceError> {
        let Some(url) = self.address.url(key) else {
            return Ok(Fetched::NoSuchThing);
        };
        if url.len() > MAX_URL {
            let cause = format!("url longer than {MAX_URL} bytes");
            return Err(SourceError::NotAskable(cause));
        }
        let end = deadline.within(clock::now(), self.timeout);
        let response = self.ask(&url, end).map_err(Self::failed)?;
        match response.status() {
            StatusCode::OK => self.value(response),
            status => {
                drain(response);
                match status {
                    StatusCode::NOT_FOUND | StatusCode::GONE => Ok(Fetched::NoSuchThing),
                    other => Err(SourceError::Status(other.as_u16())),
                }
            }
        }
    }
}

/// A client for one host. What it leaves out is as much a promise as what it does: no redirects (a
/// 3xx is a failure: it would be another path), no proxy from the environment, no content coding.
fn agent(config: &config::HttpSource, host_and_port: String) -> Agent {
    let settings = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .no_delay(true)
        .user_agent(concat!("evenkeel/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .input_buffer_size(BUFFER)
        .output_buffer_size(BUFFER)
        .max_idle_connections(config.max_concurrent)
        .max_idle_connections_per_host(config.max_concurrent)
        .build();
    let connector = ().chain(TcpConnector::default()).chain(Watch);
    Agent::with_parts(settings, connector, SourceResolver::new(host_and_port))
}

/// Reads what came with a status that carries no value, so that the connection can be used again.
/// Whatever goes wrong here costs no more than the connection.
fn drain(response: Response<Body>) {
    let length = response.body().content_length();
    let chunked = response.headers().contains_key(header::TRANSFER_ENCODING);
    if length.is_some_and(|length| length > MAX_DRAIN) || (length.is_none() && !chunked) {
        return;
    }
    let reader = response
        .into_body()
        .into_with_config()
        .limit(MAX_DRAIN)
        .reader();
    // ureq gives the connection back when the reader has come to the end.
    let _ = std::io::copy(&mut { reader }, &mut std::io::sink());
}

/// Connecting and resolving fail with these; an exchange under way never does (see
/// [`super::connection`]).
fn is_no_connection(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind;
    matches!(
        kind,
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::AddrNotAvailable
            | ErrorKind::NotFound
    )
}
