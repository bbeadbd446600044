//! What the FastAPI original answers: Starlette's routing with redirected trailing slashes, its JSON
//! errors, and uvicorn's rules for methods and hosts.

use std::net::Ipv6Addr;

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

const JSON: &str = "application/json";

/// The methods that uvicorn's parser knows.
const METHODS: &str = "GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND \
    PROPPATCH SEARCH UNLOCK BIND REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY \
    SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR LINK UNLINK SOURCE QUERY";

/// What a redirect's path keeps as it is: `%` too, as Starlette does.
const PATH: &AsciiSet = &all_but(b"_.~:/%#?=@[]!$&'()*+,;");

pub(super) fn read(routes: &[Route], request: &Request, origin: &dyn Origin) -> Asked {
    let method = request.method();
    if !METHODS.split(' ').any(|known| known == method) {
        return Asked::Answer(refused(400));
    }
    let target = match RequestTarget::read(request.target()) {
        // The absolute form needs a path here.
        Some(target) if target.raw_path.is_empty() => return Asked::Answer(refused(400)),
        Some(target) => target,
        None if request.target() == "*" => return Asked::Answer(detail(404)),
        None => return Asked::Answer(refused(400)),
    };
    if let Some((route, key)) = find_route(routes, &target.path) {
        return match method {
            "GET" => Asked::Lookup {
                route,
                key: key.into(),
            },
            _ => Asked::Answer(detail(405).field("Allow", "GET")),
        };
    }
    let trimmed = target.path.trim_end_matches('/');
    let is_redirected = trimmed.len() < target.path.len() && find_route(routes, trimmed).is_some();
    Asked::Answer(match is_redirected {
        true => redirect(request, origin, trimmed, target.query),
        false => detail(404),
    })
}

/// 307 to the path without its trailing slashes.
fn redirect(request: &Request, origin: &dyn Origin, path: &str, query: &str) -> Response {
    let is_https = says(request, Field::ForwardedProto, "https") && has_trusted_proxy(origin);
    let scheme = if is_https { "https" } else { "http" };
    let host = request.field(Field::Host).filter(|host| is_sound(host));
    let host = host.map_or_else(|| own_authority(origin), str::to_owned);
    let path = path
        .replace('?', "%3F")
        .replace('#', "%23")
        .replace('\\', "%5C");
    let path = utf8_percent_encode(&path, PATH);
    let mark = if query.is_empty() { "" } else { "?" };
    let query = utf8_percent_encode(query, PATH);
    let url = format!("{scheme}://{host}{path}{mark}{query}");
    Response::bare(307).field("Location", url)
}

/// Whether a Host can stand in a URL (RFC 3986 3.2, without userinfo).
fn is_sound(host: &str) -> bool {
    let is_address = |address: &str| address.parse::<Ipv6Addr>().is_ok();
    let is_name_byte = |b: u8| b.is_ascii_alphanumeric() || b"._~%!$&'()*+,;=-".contains(&b);
    is_authority(host, is_address, is_name_byte, |_| true)
}

/// Starlette's answer to what is wrong: `{"detail":"..."}`.
pub(super) fn detail(status: u16) -> Response {
    let detail = match status {
        503 => "Service unavailable",
        _ => reason(status),
    };
    Response::new(status, JSON, format!("{{\"detail\":\"{detail}\"}}"))
}

/// uvicorn's answer to what is not a request.
pub(super) fn refused(status: u16) -> Response {
    // It knows no transfer codings to be refused with 501.
    let status = if status == 501 { 400 } else { status };
    let body = "Invalid HTTP request received.";
    Response::new(status, "text/plain; charset=utf-8", body)
}

pub(super) fn value(value: &str, provenance: Provenance) -> Response {
    let mut body = Vec::with_capacity(value.len() + 48);
    body.extend_from_slice(b"{\"source\":\"");
    body.extend_from_slice(provenance.word().as_bytes());
    body.extend_from_slice(b"\",\"data\":");
    json::push_utf8(&mut body, value);
    body.push(b'}');
    Response::new(200, JSON, body)
}
