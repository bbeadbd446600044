//! The rules of both contracts, where the vectors of the originals in `tests/contract` say too little:
//! for any target and any host.

use proptest::prelude::*;

use std::net::SocketAddr;

use super::*;
use crate::config::{NO_ENVIRONMENT, parse};
use crate::server::head::{Verdict, inspect};
use crate::server::tiny::TinyHttp;

struct Here;

impl Origin for Here {
    fn local(&self) -> Option<SocketAddr> {
        Some(SocketAddr::from(([127, 0, 0, 1], 5000)))
    }

    fn peer(&self) -> Option<SocketAddr> {
        Some(SocketAddr::from(([127, 0, 0, 1], 4000)))
    }
}

fn contract(kind: &str) -> Contract {
    let text =
        format!("[server]\ncontract = {kind}\n[route data]\n[route more]\npath = /more/<key>/x");
    let config = parse(&text, "test.ini", NO_ENVIRONMENT)
        .expect("sound")
        .config;
    Contract::new(config.server.contract, config.routes)
}

/// What `head` is read as, through the library as in the server; `None` when it is refused.
fn ask(contract: &Contract, head: &str) -> Option<Asked> {
    let Verdict::Whole(head) = inspect(head.as_bytes(), 60_000) else {
        return None;
    };
    let mut tiny_http = TinyHttp::open().expect("a stream");
    tiny_http.give(&head);
    let request = tiny_http.take().expect("the library takes what is whole");
    Some(contract.read(&request, &Here))
}

fn location(contract: &Contract, head: &str) -> Option<String> {
    match ask(contract, head) {
        Some(Asked::Answer(response)) => {
            let mut fields = response.fields.iter().flatten();
            fields
                .find(|(name, _)| *name == "Location")
                .map(|(_, value)| value.to_string())
        }
        _ => None,
    }
}

#[test]
fn every_route_has_its_own_path() {
    for kind in ["flask", "fastapi"] {
        let contract = contract(kind);
        let key_of = |target: &str| match ask(&contract, &format!("GET {target} HTTP/1.1\r\n\r\n"))
        {
            Some(Asked::Lookup { route, key }) => Some((route, key)),
            _ => None,
        };
        assert_eq!(key_of("/api/data/a?b=/more/c/x"), Some((0, "a".into())));
        assert_eq!(
            key_of("http://other/more/%61%20b/x"),
            Some((1, "a b".into()))
        );
        assert_eq!(key_of("/more//x"), None);
        assert_eq!(key_of("/more/a/b/x"), None);
    }
}

#[test]
fn redirects_name_the_host_they_were_asked_for_and_the_scheme_of_a_local_proxy() {
    let flask = |fields: &str| {
        let head = format!("GET /api//data/a?b%zz HTTP/1.1\r\n{fields}\r\n");
        location(&contract("flask"), &head).expect("a redirect")
    };
    assert_eq!(flask("Host: ABC:81\r\n"), "http://abc:81/api/data/a?b%zz");
    assert_eq!(
        flask("Host: a:443\r\nX-Forwarded-Proto: https\r\n"),
        "https://a/api/data/a?b%zz"
    );
    assert_eq!(flask("Host: a_b\r\n"), "http:///api/data/a?b%zz");
    assert_eq!(flask(""), "http://127.0.0.1:5000/api/data/a?b%zz");
    let fastapi = |fields: &str| {
        let head = format!("PUT /api/data/a/ HTTP/1.1\r\n{fields}\r\n");
        location(&contract("fastapi"), &head).expect("a redirect")
    };
    assert_eq!(fastapi("Host: ABC:081\r\n"), "http://ABC:081/api/data/a");
    assert_eq!(fastapi("Host: u@h\r\n"), "http://127.0.0.1:5000/api/data/a");
}

proptest! {
    #[test]
    fn no_target_and_no_host_breaks_a_contract(
        target in "(/|//|/api//?data/|/more/){1,2}[!-~]{0,12}(/x)?(%[0-9A-F]{2}){0,3}",
        host in "[ -~]{0,12}", method in "GET|HEAD|POST|OPTIONS|BREW|get",
    ) {
        for kind in ["flask", "fastapi"] {
            let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            match ask(&contract(kind), &head) {
                Some(Asked::Lookup { route, key }) => {
                    prop_assert!(route < 2 && !key.is_empty() && !key.contains('/'));
                }
                Some(Asked::Answer(response)) => {
                    prop_assert!(matches!(response.status, 200 | 307 | 308 | 400 | 404 | 405));
                    for (_, value) in response.fields.iter().flatten() {
                        prop_assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
                    }
                }
                None => {}
            }
        }
    }
}
