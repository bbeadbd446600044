//! A response as bytes, built whole before any of it is sent.

use std::borrow::Cow;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::clock;

/// A response to be rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Value of Content-Type; none where the original sends none.
    pub content_type: Option<&'static str>,
    /// Further fields. Values hold nothing from a request that was not checked or encoded.
    pub fields: Vec<(&'static str, Cow<'static, str>)>,
    /// The body. To a HEAD only its length is told.
    pub body: Vec<u8>,
}

/// What a response says of the connection and the request.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The request was a HEAD: no body.
    pub is_head: bool,
    /// The connection ends with this response.
    pub closes: bool,
    /// The client speaks HTTP/1.0 and is told when the connection is kept.
    pub is_http_1_0: bool,
    /// Value of X-Request-Id.
    pub request_id: &'a str,
}

impl Response {
    /// With a body of a media type.
    #[must_use]
    pub fn new(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type: Some(content_type),
            fields: Vec::new(),
            body,
        }
    }

    /// With one more field. Whatever in `value` could end the field is left out: nothing from a
    /// request may begin a new one.
    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        let mut value = value.into();
        if let Cow::Owned(value) = &mut value {
            value.retain(|c| c != '\r' && c != '\n' && c != '\0');
        }
        self.fields.push((name, value));
        self
    }

    /// The whole response.
    #[must_use]
    pub fn render(&self, envelope: Envelope<'_>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(320 + self.body.len());
        // Writing to a Vec cannot fail.
        let _ = write!(bytes, "HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let _ = write!(bytes, "Server: evenkeel\r\nDate: {}\r\n", date());
        if let Some(content_type) = self.content_type {
            let _ = write!(bytes, "Content-Type: {content_type}\r\n");
        }
        let _ = write!(bytes, "Content-Length: {}\r\n", self.body.len());
        for (name, value) in &self.fields {
            let _ = write!(bytes, "{name}: {value}\r\n");
        }
        let _ = write!(bytes, "X-Request-Id: {}\r\n", envelope.request_id);
        if envelope.closes {
            bytes.extend_from_slice(b"Connection: close\r\n");
        } else if envelope.is_http_1_0 {
            bytes.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        if !envelope.is_head {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// The Date field (RFC 9110 6.6.1), made anew once a second.
fn date() -> String {
    /// Guards the text and the second it belongs to.
    static LAST: Mutex<(u64, String)> = Mutex::new((0, String::new()));
    let now = clock::wall();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.0 != second || last.1.is_empty() {
        // httpdate panics beyond the year 9999.
        let representable = now.min(UNIX_EPOCH + std::time::Duration::from_secs(253_402_300_799));
        *last = (second, httpdate::fmt_http_date(representable.max(SystemTime::UNIX_EPOCH)));
    }
    last.1.clone()
}

/// The reason phrase (RFC 9110 15; free for clients to ignore).
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(is_head: bool, closes: bool, is_http_1_0: bool) -> Envelope<'static> {
        Envelope { is_head, closes, is_http_1_0, request_id: "id" }
    }

    #[test]
    fn a_head_request_is_told_the_length_and_gets_no_body() {
        let response = Response::new(200, "text/plain", b"four".to_vec());
        let text = String::from_utf8(response.render(envelope(true, false, false))).expect("text");
        assert!(text.contains("\r\nContent-Length: 4\r\n") && text.ends_with("\r\n\r\n"));
        assert!(!text.contains("Connection:"));
        let text = String::from_utf8(response.render(envelope(false, true, true))).expect("text");
        assert!(text.contains("\r\nConnection: close\r\n") && text.ends_with("\r\n\r\nfour"));
    }

    #[test]
    fn a_value_cannot_begin_a_new_field() {
        let response = Response::new(200, "text/plain", Vec::new())
            .field("Location", "/a\r\nSet-Cookie: b\0".to_owned());
        assert_eq!(response.fields[0].1, "/aSet-Cookie: b");
    }
}
