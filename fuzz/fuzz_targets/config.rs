//! Configuration files: never a panic, and every list of mistakes can be shown.
#![no_main]

use evenkeel::config::{self, NO_ENVIRONMENT};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // Names are resolved and files are read, for TLS those of the system: that is not ours to be fuzzed.
    let of_the_system = ["listen", "_file", "rediss:", "tls"];
    if of_the_system.iter().any(|word| text.contains(word)) {
        return;
    }
    match config::parse(text, "fuzz", NO_ENVIRONMENT) {
        Ok(loaded) => {
            assert!(!loaded.config.routes.is_empty());
            for route in &loaded.config.routes {
                assert!(loaded.config.worst_case(route) <= loaded.config.server.request_timeout);
            }
        }
        Err(mistakes) => assert!(!mistakes.to_string().is_empty()),
    }
});
