//! Methods, targets and hosts through both contracts: no panic, nothing in a field that could begin
//! another, and a key that is one segment. The head is built from the input, so that every input gets
//! past `inspect`.
#![no_main]

use std::cell::RefCell;
use std::net::SocketAddr;

use evenkeel::config::{self, NO_ENVIRONMENT};
use evenkeel::server::contract::{Asked, Contract, Origin};
use evenkeel::server::head::{Verdict, inspect};
use evenkeel::server::response::Framing;
use evenkeel::server::tiny::{Request, TinyHttp};
use libfuzzer_sys::fuzz_target;

const CONFIG: &str = "[route data]\npath = /api/data/<key>\nsource = demo\n\
    [route other]\npath = /other/<key>/value\nsource = demo\n[source demo]\nkind = simulated\n";

struct Here;

impl Origin for Here {
    fn local(&self) -> Option<SocketAddr> {
        Some(SocketAddr::from(([127, 0, 0, 1], 5000)))
    }

    fn peer(&self) -> Option<SocketAddr> {
        Some(SocketAddr::from(([127, 0, 0, 1], 40000)))
    }
}

thread_local! {
    static TINY_HTTP: RefCell<TinyHttp> = RefCell::new(TinyHttp::open().expect("a stream"));
    static CONTRACTS: [Contract; 2] = {
        let loaded = config::parse(CONFIG, "fuzz", NO_ENVIRONMENT).expect("a configuration");
        let routes = loaded.config.routes;
        [config::Contract::Flask, config::Contract::Fastapi]
            .map(|kind| Contract::new(kind, routes.clone()))
    };
}

fuzz_target!(|input: (u8, &[u8], Option<&[u8]>, bool)| {
    let (method, target, host, is_https) = input;
    let methods = ["GET", "HEAD", "OPTIONS", "POST", "CONNECT", "BREW", "get", "Q", "M-SEARCH"];
    let mut head = methods[usize::from(method) % methods.len()].as_bytes().to_vec();
    head.push(b' ');
    // Half of the targets go straight to where keys are.
    if method & 0x80 != 0 {
        head.extend_from_slice(b"/api/data/");
    }
    head.extend_from_slice(target);
    head.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(host) = host {
        head.extend_from_slice(b"Host: ");
        head.extend_from_slice(host);
        head.extend_from_slice(b"\r\n");
    }
    if is_https {
        head.extend_from_slice(b"X-Forwarded-Proto: https\r\n");
    }
    head.extend_from_slice(b"\r\n");
    let Verdict::Whole(head) = inspect(&head, 16 * 1024) else {
        return;
    };
    TINY_HTTP.with_borrow_mut(|tiny_http| {
        tiny_http.give(&head);
        let request = tiny_http.take().expect("what is sound is taken");
        CONTRACTS.with(|contracts| contracts.iter().for_each(|contract| check(contract, &request)));
    });
});

fn check(contract: &Contract, request: &Request<'_>) {
    match contract.read(request, &Here) {
        Asked::Lookup { key, .. } => {
            assert!(!key.is_empty() && !key.contains('/'), "{key:?}");
        }
        Asked::Answer(response) => {
            let framing = Framing { is_head: true, closes: false, is_http_1_0: false };
            let bytes = response.render(framing, "id");
            let text = std::str::from_utf8(&bytes).expect("ASCII");
            assert!(text.is_ascii(), "{text:?}");
            let head = text.strip_suffix("\r\n\r\n").expect("one head, no body");
            for line in head.split("\r\n") {
                assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
            }
            let fields = 5 + response.fields.iter().flatten().count()
                + usize::from(response.content_type.is_some());
            assert_eq!(head.split("\r\n").count(), fields, "{text:?}");
        }
    }
}
