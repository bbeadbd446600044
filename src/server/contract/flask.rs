//! What the Flask original answers: Werkzeug's routing with merged slashes, its error pages, and
//! `jsonify`. Its route for static files, which Flask adds by itself, is part of what clients see.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, utf8_percent_encode};

use crate::config::Route;
use crate::server::contract::asked::{
    Asked, Origin, Provenance, RequestTarget, all_but, find_route, has_trusted_proxy, is_authority,
    own_authority, says,
};
use crate::server::contract::json;
use crate::server::head::Field;
use crate::server::response::{Response, reason};
use crate::server::tiny::Request;

const ALLOW: &str = "GET, HEAD, OPTIONS";
const HTML: &str = "text/html; charset=utf-8";

/// What a redirect's path keeps as it is.
const PATH: &AsciiSet = &all_but(b"_.~/!$&'()*+,:;=@");

/// What a redirect's query keeps; it holds visible ASCII only.
const QUERY: &AsciiSet = &all_but(b"!#$%&'()*+,./:;=?@_~");

/// What a path leads to.
enum Match<'p> {
    Route(usize, &'p str),
    Static,
}

pub(super) fn read(routes: &[Route], request: &Request, origin: &dyn Origin) -> Asked {
    let method = request.method();
    if !is_method(method) {
        return Asked::Answer(page(400));
    }
    let host = host(request, origin);
    if !has_sound_labels(&host) {
        return Asked::Answer(page(400));
    }
    let Some(target) = RequestTarget::read(request.target()) else {
        let is_known = (method == "OPTIONS" && request.target() == "*") || method == "CONNECT";
        return Asked::Answer(page(if is_known { 404 } else { 400 }));
    };
    let path = with_one_slash(&target.path);
    let is_allowed = matches!(method, "GET" | "HEAD" | "OPTIONS");
    let found = find(routes, &path);
    match (&found, is_allowed) {
        (Some(_), true) if method == "OPTIONS" => {
            let empty = Response::new(200, HTML, Vec::new());
            return Asked::Answer(empty.field("Allow", ALLOW));
        }
        (Some(Match::Route(route, key)), true) => {
            return Asked::Lookup {
                route: *route,
                key: (*key).into(),
            };
        }
        (Some(Match::Static), true) => return Asked::Answer(page(404)),
        _ => {}
    }
    let merged = merge_slashes(&path);
    let answer = match (find(routes, &merged), is_allowed) {
        (Some(_), true) => redirect(request, origin, &host, &merged, target.query),
        (None, _) if found.is_none() => page(404),
        _ => page(405).field("Allow", ALLOW),
    };
    Asked::Answer(answer)
}

/// gunicorn's rule: 3 to 20 token characters without lower-case letters and `#`.
fn is_method(method: &str) -> bool {
    (3..=20).contains(&method.len()) && !method.bytes().any(|b| b.is_ascii_lowercase() || b == b'#')
}

fn find<'p>(routes: &[Route], path: &'p str) -> Option<Match<'p>> {
    if let Some((route, key)) = find_route(routes, path) {
        return Some(Match::Route(route, key));
    }
    let mut file = path.strip_prefix("/static/")?.chars();
    let first = file.next()?;
    (first != '/' && !file.as_str().contains('\n')).then_some(Match::Static)
}

/// The path with one slash at its beginning.
fn with_one_slash(path: &str) -> Cow<'_, str> {
    match path.len() - path.trim_start_matches('/').len() {
        0 => Cow::Owned(format!("/{path}")),
        slashes => Cow::Borrowed(&path[slashes - 1..]),
    }
}

/// The path with every run of slashes made one.
fn merge_slashes(path: &str) -> String {
    let mut last = '\0';
    let mut merged = path.to_owned();
    merged.retain(|c| !(std::mem::replace(&mut last, c) == '/' && c == '/'));
    merged
}

/// 308 to the merged path.
fn redirect(
    request: &Request,
    origin: &dyn Origin,
    host: &str,
    path: &str,
    query: &str,
) -> Response {
    let is_https = is_https(request, origin);
    let scheme = if is_https { "https" } else { "http" };
    let path = utf8_percent_encode(path, PATH);
    let url = format!("{scheme}://{host}{path}");
    let mark = if query.is_empty() { "" } else { "?" };
    let shown = escape_html(&format!("{url}{mark}{query}"));
    let query = utf8_percent_encode(query, QUERY);
    let body = format!(
        "<!doctype html>\n<html lang=en>\n<title>Redirecting...</title>\n<h1>Redirecting...</h1>\n\
         <p>You should be redirected automatically to the target URL: \
         <a href=\"{shown}\">{shown}</a>. If not, click the link.\n"
    );
    Response::new(308, HTML, body).field("Location", format!("{url}{mark}{query}"))
}

fn is_https(request: &Request, origin: &dyn Origin) -> bool {
    let is_said = says(request, Field::ForwardedProto, "https")
        || says(request, Field::ForwardedProtocol, "ssl")
        || says(request, Field::ForwardedSsl, "on");
    is_said && has_trusted_proxy(origin)
}

/// The host as Werkzeug understands it: lower-case, without the port of the scheme; empty when it
/// is not a host.
fn host<'r>(request: &'r Request, origin: &dyn Origin) -> Cow<'r, str> {
    let Some(host) = request.field(Field::Host) else {
        return Cow::Owned(own_authority(origin));
    };
    let usual_port = match is_https(request, origin) {
        true => ":443",
        false => ":80",
    };
    let host = host.strip_suffix(usual_port).unwrap_or(host);
    match is_sound(host) {
        true if host.bytes().any(|b| b.is_ascii_uppercase()) => {
            Cow::Owned(host.to_ascii_lowercase())
        }
        true => Cow::Borrowed(host),
        false => Cow::Borrowed(""),
    }
}

fn is_sound(host: &str) -> bool {
    let is_address = |address: &str| {
        address.split_once(':').is_some_and(|(first, more)| {
            let is_more = |b: u8| b.is_ascii_hexdigit() || b == b'.' || b == b':';
            first.bytes().all(|b| b.is_ascii_hexdigit())
                && !more.is_empty()
                && more.bytes().all(is_more)
        })
    };
    let is_name_byte = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
    is_authority(host, is_address, is_name_byte, |port| {
        !port.starts_with('0')
    })
}

/// Whether the labels of a host name have a length that a name may have: all but the last 1 to 63
/// bytes, the last up to 63.
fn has_sound_labels(host: &str) -> bool {
    let name = host.split(':').next().unwrap_or_default();
    let mut labels = name.rsplit('.');
    let last = labels.next().unwrap_or_default();
    last.len() <= 63 && labels.all(|label| (1..=63).contains(&label.len()))
}

/// One of Werkzeug's error pages, and pages like them for what gunicorn refuses.
pub(super) fn page(status: u16) -> Response {
    let name = match status {
        414 => "Request URI Too Long",
        _ => reason(status),
    };
    let text = match status {
        404 => {
            "The requested URL was not found on the server. If you entered the URL manually please \
             check your spelling and try again."
        }
        405 => "The method is not allowed for the requested URL.",
        414 => "The requested URL is longer than this server takes.",
        417 => "The server does not meet what Expect asks for.",
        431 => "The header fields are larger than this server takes.",
        501 => "The server does not know this transfer coding.",
        _ => "The browser (or proxy) sent a request that this server could not understand.",
    };
    let body = format!(
        "<!doctype html>\n<html lang=en>\n<title>{status} {name}</title>\n<h1>{name}</h1>\n<p>{text}</p>\n"
    );
    Response::new(status, HTML, body)
}

/// `jsonify` sorts the keys.
pub(super) fn value(value: &str, provenance: Provenance) -> Response {
    let mut body = Vec::with_capacity(value.len() + 48);
    body.extend_from_slice(b"{\"data\":");
    json::push_ascii(&mut body, value);
    body.extend_from_slice(b",\"source\":\"");
    body.extend_from_slice(provenance.word().as_bytes());
    body.extend_from_slice(b"\"}\n");
    Response::new(200, "application/json", body)
}

pub(super) fn unavailable() -> Response {
    let body = "{\"details\":\"Could not retrieve data from primary source.\",\
                \"error\":\"Service unavailable\"}\n";
    Response::new(503, "application/json", body)
}

/// MarkupSafe's escapes.
fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}
