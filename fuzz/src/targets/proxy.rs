//! What proxies say of the client behind them: a cut header asks for what is missing, and nobody but a trusted proxy is
//! believed.

use std::net::{IpAddr, Ipv4Addr};

use pushgate_protocol::{
    limits::PROXY_HEADER_BYTES_MAX,
    proxy::{
        Networks,
        forwarded::{self, Field},
        v2::{Parsed, parse},
    },
};

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "proxy",
    run,
    words: &[
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c",
        b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24",
        b"\x03\0\x04",
        b"PROXY TCP4 ",
        b"for=",
        b"for=\"[2001:db8::1]:4711\"",
        b"192.0.2.1",
        b", 10.0.0.1",
        b";proto=https",
        b"unknown",
    ],
    modules: &["protocol/src/proxy/v2.rs", "protocol/src/proxy/forwarded.rs"],
    input_bytes_max: 512,
    heap_bytes_max: 1 << 20,
};

fn run(input: &[u8]) {
    let whole = parse(input);
    match whole {
        Ok(Parsed::Partial { needed }) => assert!(needed > input.len() && needed <= PROXY_HEADER_BYTES_MAX),
        Ok(Parsed::Whole { used, .. }) => assert!(used <= input.len() && used <= PROXY_HEADER_BYTES_MAX),
        Err(_) => {}
    }
    for end in 0..input.len().min(64) {
        match parse(&input[..end]) {
            Ok(Parsed::Partial { needed }) => {
                if let Ok(Parsed::Whole { used, .. }) = whole {
                    assert!(needed <= used, "no more is asked for than is there");
                }
            }
            // Which error it is may depend on how much of the text of version 1 has come.
            Err(_) => assert!(whole.is_err(), "cut at {end}"),
            early => assert_eq!(early, whole, "cut at {end}"),
        }
    }
    let text = String::from_utf8_lossy(input);
    let stranger = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
    let proxy = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let trusted: Networks = ["10.0.0.0/8"].iter().map(|n| n.parse().expect("a network")).collect();
    for field in [Field::XForwardedFor, Field::Forwarded] {
        assert_eq!(forwarded::client(field, stranger, &trusted, text.lines()), stranger, "a stranger is not believed");
        forwarded::client(field, proxy, &trusted, text.lines());
    }
}
