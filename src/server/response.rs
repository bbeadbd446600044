//! A response as bytes, built whole before any of it is sent.

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::{Duration, UNIX_EPOCH};

use crate::base::clock;

/// Fields beyond those of every response, at most.
const FIELDS_MAX: usize = 3;
/// Bytes of most heads.
const HEAD_USUAL_BYTES: usize = 320;

/// A response to be rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Value of Content-Type; none where the original sends none.
    pub content_type: Option<&'static str>,
    /// Further fields. Values hold nothing from a request that was not checked or encoded.
    pub fields: [Option<(&'static str, Cow<'static, str>)>; FIELDS_MAX],
    /// The body. To a HEAD only its length is told.
    pub body: Vec<u8>,
}

/// How a response stands on its connection.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// The request was a HEAD: no body.
    pub is_head: bool,
    /// The connection ends with this response.
    pub closes: bool,
    /// The client speaks HTTP/1.0 and is told when the connection is kept.
    pub is_http_1_0: bool,
}

impl Response {
    /// With a body of a media type.
    pub(crate) fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            content_type: Some(content_type),
            body: body.into(),
            ..Self::bare(status)
        }
    }

    /// Without a body and a media type.
    pub(crate) fn bare(status: u16) -> Self {
        Self {
            status,
            content_type: None,
            fields: [const { None }; FIELDS_MAX],
            body: Vec::new(),
        }
    }

    /// With one more field. Whatever in `value` could end the field is left out: nothing from a
    /// request may begin a new one.
    pub(crate) fn field(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        let mut value = value.into();
        if let Cow::Owned(value) = &mut value {
            value.retain(|c| c != '\r' && c != '\n' && c != '\0');
        }
        let free = self.fields.iter_mut().find(|field| field.is_none());
        debug_assert!(free.is_some(), "no room for {name}");
        if let Some(free) = free {
            *free = Some((name, value));
        }
        self
    }

    /// The whole response, with `request_id` as X-Request-Id.
    pub fn render(&self, framing: Framing, request_id: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_USUAL_BYTES + self.body.len());
        let mut push = |parts: &[&str]| {
            for part in parts {
                bytes.extend_from_slice(part.as_bytes());
            }
        };
        let status = Decimal::new(self.status.into());
        push(&["HTTP/1.1 ", status.text(), " ", reason(self.status)]);
        push(&["\r\nServer: evenkeel\r\nDate: "]);
        with_date(|date| push(&[date]));
        if let Some(content_type) = self.content_type {
            push(&["\r\nContent-Type: ", content_type]);
        }
        push(&["\r\nContent-Length: ", Decimal::new(self.body.len()).text()]);
        for (name, value) in self.fields.iter().flatten() {
            push(&["\r\n", name, ": ", value]);
        }
        push(&["\r\nX-Request-Id: ", request_id, "\r\n"]);
        if framing.closes {
            push(&["Connection: close\r\n"]);
        } else if framing.is_http_1_0 {
            push(&["Connection: keep-alive\r\n"]);
        }
        push(&["\r\n"]);
        if !framing.is_head {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// A number in decimal, without an allocation.
struct Decimal([u8; 20], usize);

impl Decimal {
    fn new(mut number: usize) -> Self {
        let mut decimal = Self([b'0'; 20], 20);
        loop {
            decimal.1 -= 1;
            decimal.0[decimal.1] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return decimal;
            }
        }
    }

    fn text(&self) -> &str {
        // Digits are always UTF-8.
        std::str::from_utf8(&self.0[self.1..]).unwrap_or_default()
    }
}

/// Hands out the value of the Date field (RFC 9110 6.6.1), which a thread makes anew once a second.
fn with_date(take: impl FnOnce(&str)) {
    thread_local! {
        static LAST: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = clock::wall();
    let second = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    // httpdate panics beyond the year 9999.
    let second = second.min(253_402_300_799);
    LAST.with_borrow_mut(|last| {
        if last.0 != second || last.1.is_empty() {
            let shown = UNIX_EPOCH + Duration::from_secs(second);
            *last = (second, httpdate::fmt_http_date(shown));
        }
        take(&last.1);
    });
}

/// The reason phrase (RFC 9110 15; free for clients to ignore).
pub(crate) fn reason(status: u16) -> &'static str {
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

    #[test]
    fn a_head_request_is_told_the_length_and_gets_no_body() {
        let text = |is_head, closes, is_http_1_0| {
            let framing = Framing {
                is_head,
                closes,
                is_http_1_0,
            };
            let response = Response::new(200, "text/plain", "four");
            String::from_utf8(response.render(framing, "id")).expect("text")
        };
        let head = text(true, false, false);
        assert!(head.contains("\r\nContent-Length: 4\r\n") && head.ends_with("\r\n\r\n"));
        assert!(!head.contains("Connection:"));
        let whole = text(false, true, true);
        assert!(whole.contains("\r\nConnection: close\r\n") && whole.ends_with("\r\n\r\nfour"));
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 200, usize::MAX] {
            assert_eq!(Decimal::new(number).text(), number.to_string());
        }
    }

    #[test]
    fn a_value_cannot_begin_a_new_field() {
        let response = Response::bare(200).field("Location", "/a\r\nSet-Cookie: b\0".to_owned());
        let (_, value) = response.fields[0].as_ref().expect("a field");
        assert_eq!(value, "/aSet-Cookie: b");
    }
}
