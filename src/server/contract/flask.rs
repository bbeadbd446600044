//! What the Flask original answers: Werkzeug's routing with merged slashes, its error pages, and
//! `jsonify`. Its route for static files, which Flask adds by itself, is part of what clients see.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::Route;
use crate::server::contract::{Asked, Origin, Provenance, RequestTarget, find_route, json};
use crate::server::head::Field;
use crate::server::response::Response;
use crate::server::tiny::Request;

const ALLOW: &str = "GET, HEAD, OPTIONS";
const HTML: &str = "text/html; charset=utf-8";

/// What a redirect's path keeps as it is.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'_')
    .remove(b'.')
    .remove(b'-')
    .remove(b'~')
    .remove(b'/')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// What a redirect's query does not keep; it holds visible ASCII only.
const QUERY: &AsciiSet = &percent_encoding::CONTROLS
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// What a path leads to.
enum Match<'p> {
    Route(usize, &'p str),
    Static,
}

/// See [`crate::server::contract::Contract::read`].
pub(super) fn read(routes: &[Route], request: &Request, origin: &dyn Origin) -> Asked {
    let method = request.method.as_str();
    if !is_method(method) {
        return Asked::Answer(page(400));
    }
    let host = host(request, origin);
    if !has_sound_labels(&host) {
        return Asked::Answer(page(400));
    }
    let Some(target) = RequestTarget::read(&request.target) else {
        let is_known = (method == "OPTIONS" && request.target == "*") || method == "CONNECT";
        return Asked::Answer(page(if is_known { 404 } else { 400 }));
    };
    let path = format!("/{}", target.path.trim_start_matches('/'));
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
                key: (*key).to_owned(),
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
    let scheme = if is_https(request, origin) {
        "https"
    } else {
        "http"
    };
    let path = utf8_percent_encode(path, PATH);
    let (shown, location) = match query {
        "" => (String::new(), String::new()),
        query => (
            format!("?{query}"),
            format!("?{}", utf8_percent_encode(query, QUERY)),
        ),
    };
    let url = format!("{scheme}://{host}{path}");
    let shown = escape_html(&format!("{url}{shown}"));
    let body = format!(
        "<!doctype html>\n<html lang=en>\n<title>Redirecting...</title>\n<h1>Redirecting...</h1>\n\
         <p>You should be redirected automatically to the target URL: \
         <a href=\"{shown}\">{shown}</a>. If not, click the link.\n"
    );
    Response::new(308, HTML, body.into_bytes()).field("Location", format!("{url}{location}"))
}

fn is_https(request: &Request, origin: &dyn Origin) -> bool {
    let is_said = crate::server::contract::says(request, Field::ForwardedProto, "https")
        || crate::server::contract::says(request, Field::ForwardedProtocol, "ssl")
        || crate::server::contract::says(request, Field::ForwardedSsl, "on");
    is_said && crate::server::contract::has_trusted_proxy(origin)
}

/// The host as Werkzeug understands it: lower-case, without the port of the scheme; empty when it
/// is not a host.
fn host(request: &Request, origin: &dyn Origin) -> String {
    let Some(host) = request.field(Field::Host) else {
        return crate::server::contract::own_authority(origin);
    };
    let usual_port = if is_https(request, origin) {
        ":443"
    } else {
        ":80"
    };
    let host = host
        .strip_suffix(usual_port)
        .unwrap_or(host)
        .to_ascii_lowercase();
    if is_authority(&host) {
        host
    } else {
        String::new()
    }
}

fn is_authority(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(after) => {
            let Some((address, after)) = after.split_once(']') else {
                return false;
            };
            let Some((hex, more)) = address.split_once(':') else {
                return false;
            };
            let is_address = hex.bytes().all(|b| b.is_ascii_hexdigit())
                && !more.is_empty()
                && more
                    .bytes()
                    .all(|b| b.is_ascii_hexdigit() || b == b'.' || b == b':');
            (is_address, after)
        }
        None => {
            let at = host.find(':').unwrap_or(host.len());
            let (name, after) = host.split_at(at);
            let is_char = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
            (!name.is_empty() && name.bytes().all(is_char), after)
        }
    };
    let is_port = port.strip_prefix(':').is_some_and(|port| {
        !port.starts_with('0')
            && port.bytes().all(|b| b.is_ascii_digit())
            && port.parse::<u16>().is_ok()
    });
    name && (port.is_empty() || is_port)
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
    let (name, text) = match status {
        404 => (
            "Not Found",
            "The requested URL was not found on the server. If you entered the URL manually please \
             check your spelling and try again.",
        ),
        405 => (
            "Method Not Allowed",
            "The method is not allowed for the requested URL.",
        ),
        414 => (
            "Request URI Too Long",
            "The requested URL is longer than this server takes.",
        ),
        417 => (
            "Expectation Failed",
            "The server does not meet what Expect asks for.",
        ),
        431 => (
            "Request Header Fields Too Large",
            "The header fields are larger than this server takes.",
        ),
        501 => (
            "Not Implemented",
            "The server does not know this transfer coding.",
        ),
        _ => (
            "Bad Request",
            "The browser (or proxy) sent a request that this server could not understand.",
        ),
    };
    let body = format!(
        "<!doctype html>\n<html lang=en>\n<title>{status} {name}</title>\n<h1>{name}</h1>\n<p>{text}</p>\n"
    );
    Response::new(status, HTML, body.into_bytes())
}

/// See [`crate::server::contract::Contract::value`]. `jsonify` sorts the keys.
pub(super) fn value(value: &str, provenance: Provenance) -> Response {
    let mut body = Vec::with_capacity(value.len() + 48);
    body.extend_from_slice(b"{\"data\":");
    json::push_ascii(&mut body, value);
    body.extend_from_slice(b",\"source\":\"");
    body.extend_from_slice(provenance.word().as_bytes());
    body.extend_from_slice(b"\"}\n");
    Response::new(200, "application/json", body)
}

/// See [`crate::server::contract::Contract::unavailable`].
pub(super) fn unavailable() -> Response {
    let body = "{\"details\":\"Could not retrieve data from primary source.\",\
                \"error\":\"Service unavailable\"}\n";
    Response::new(503, "application/json", body.as_bytes().to_vec())
}

/// MarkupSafe's escapes.
fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
