//! Redis values into the bodies of both contracts: always JSON, always the same text again, and for
//! Flask in ASCII alone.
#![no_main]

use evenkeel::config;
use evenkeel::server::contract::{Contract, Provenance};
use evenkeel::server::response::Framing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // What is not UTF-8 is a miss and never gets here.
    let text = String::from_utf8_lossy(bytes);
    for kind in [config::Contract::Flask, config::Contract::Fastapi] {
        let contract = Contract::new(kind, Vec::new());
        for (provenance, word) in [(Provenance::Cache, "cache"), (Provenance::Primary, "primary")] {
            let response = contract.value(&text, provenance);
            let json: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
            assert_eq!(json["data"].as_str(), Some(&*text));
            assert_eq!(json["source"], word);
            assert_eq!(json.as_object().expect("an object").len(), 2);
            if kind == config::Contract::Flask {
                assert!(response.body.is_ascii());
            }
            let framing = Framing { is_head: false, closes: true, is_http_1_0: true };
            let rendered = response.render(framing, "id");
            assert!(rendered.ends_with(&response.body));
            let length = format!("\r\nContent-Length: {}\r\n", response.body.len());
            let head_bytes = rendered.len() - response.body.len();
            let head = std::str::from_utf8(&rendered[..head_bytes]).expect("ASCII");
            assert!(head.contains(&length) && head.ends_with("\r\n\r\n"));
        }
    }
});
