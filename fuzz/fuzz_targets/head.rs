//! Request heads. Whatever `inspect` calls whole must come back from the library as the same request,
//! must not make it wait, and must not change its mind: no prefix of it was whole or refused, and what
//! follows a head is not part of it.
#![no_main]

use std::cell::RefCell;

use evenkeel::server::head::{Field, Verdict, inspect};
use evenkeel::server::tiny::TinyHttp;
use libfuzzer_sys::fuzz_target;

const MAX_BYTES: usize = 4096;

thread_local! {
    static TINY_HTTP: RefCell<TinyHttp> = RefCell::new(TinyHttp::open().expect("a stream"));
}

fuzz_target!(|bytes: &[u8]| {
    let head = match inspect(bytes, MAX_BYTES) {
        Verdict::Whole(head) => head,
        Verdict::Partial => {
            assert!(bytes.len() < 2 * MAX_BYTES + 2, "a head without an end is refused");
            return;
        }
        Verdict::Refused(_) => return,
    };
    assert!(head.bytes <= bytes.len() && bytes[..head.bytes].ends_with(b"\r\n\r\n"));
    assert!(head.target.bytes().all(|byte| byte.is_ascii_graphic()));
    let alone = inspect(&bytes[..head.bytes], MAX_BYTES);
    assert_eq!(alone, Verdict::Whole(head), "what follows a head changes nothing");
    for cut in [1, 2, 3, head.bytes / 2] {
        let before = inspect(&bytes[..head.bytes - cut.min(head.bytes)], MAX_BYTES);
        assert_eq!(before, Verdict::Partial, "a beginning is no head");
    }
    TINY_HTTP.with_borrow_mut(|tiny_http| {
        // Two in a row: the first must not eat of the second.
        tiny_http.give(&head);
        tiny_http.give(&head);
        for _ in 0..2 {
            let request = tiny_http.take().expect("what is sound is taken");
            assert_eq!(request.method(), head.method);
            assert_eq!(request.target(), head.target);
            for field in Field::ALL {
                assert_eq!(request.field(field), head.fields[field as usize], "{field:?}");
            }
        }
    });
});
