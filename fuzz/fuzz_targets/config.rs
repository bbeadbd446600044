//! Configuration files: never a panic, and every list of mistakes can be shown.
#![no_main]

use evenkeel::config::{self, NO_ENVIRONMENT};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // Names are resolved and files are read: that is the system's to be fuzzed.
    if text.contains("listen") || text.contains("_file") {
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
