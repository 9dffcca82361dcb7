//! Tokens and credentials: nothing is let in but what was given out.

use super::{APPS, NOW_S, TOKENS, Target, with_tokens};

pub(super) const TARGET: Target = Target {
    name: "token",
    run,
    words: &[
        b"$C",
        b"$A",
        b"Bearer ",
        b"Basic ",
        b"eyJhbGciOiJIUzI1NiJ9",
        b"eyJhbGciOiJub25lIn0",
        b"c2hvcDphIHNlY3JldCB0aGF0IGZ1enppbmcgaGFz",
        b".",
        b"=",
        b"e30",
    ],
    modules: &["protocol/src/auth/mod.rs", "protocol/src/auth/token.rs"],
    input_bytes_max: 2048,
    heap_bytes_max: 1 << 20,
};

fn run(input: &[u8]) {
    let text = with_tokens(&String::from_utf8_lossy(input));
    match APPS.client(&text, NOW_S) {
        Ok(claims) => {
            assert_eq!(text, TOKENS[0], "only the token that was given out is good");
            assert_eq!((claims.app.as_str(), claims.user.as_str()), ("shop", "u1"));
        }
        Err(error) => {
            let reason = error.reason();
            assert!(!reason.is_empty());
            assert!(matches!(error.status(), 400..=403));
            assert!(TOKENS.iter().all(|t| !reason.contains(t.as_str())), "no token is repeated");
        }
    }
    assert!(APPS.client(&text, NOW_S + 4_000).is_err(), "an hour later every token has ended");
    if let Ok(caller) = APPS.caller(Some(&text), NOW_S) {
        assert_eq!(caller.app.as_str(), "shop");
        let value = text.split_once(' ').map(|(_, v)| v.trim()).unwrap_or_default();
        let secret = "c2hvcDphIHNlY3JldCB0aGF0IGZ1enppbmcgaGFz";
        assert!(value == TOKENS[1] || value == secret, "only what was given out is good: {value}");
    }
}
