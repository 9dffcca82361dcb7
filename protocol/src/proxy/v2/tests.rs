//! Headers as the protocol's document describes them, whole, cut and damaged.

use proptest::prelude::*;

use super::*;

fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(body);
    bytes
}

fn tcp4(extensions: &[u8]) -> Vec<u8> {
    let addresses = [203, 0, 113, 9, 10, 0, 0, 1, 0xc3, 0x50, 0x1c, 0xe8];
    header(PROXY, 0x11, &[&addresses[..], extensions].concat())
}

fn client(bytes: &[u8]) -> Option<String> {
    match parse(bytes).unwrap() {
        Parsed::Whole { source: Source::Client(address), .. } => Some(address.to_string()),
        _ => None,
    }
}

#[test]
fn the_clients_address_is_read_and_what_follows_is_left() {
    let bytes = [&tcp4(&[])[..], b"GET / HTTP/1.1\r\n"].concat();
    assert_eq!(
        parse(&bytes),
        Ok(Parsed::Whole { used: 28, source: Source::Client("203.0.113.9:50000".parse().unwrap()) })
    );
    let mut addresses = [0; 36];
    addresses[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    addresses[15] = 7;
    addresses[33] = 80;
    assert_eq!(client(&header(PROXY, 0x21, &addresses)).as_deref(), Some("[2001:db8::7]:80"));
}

#[test]
fn health_checks_and_clients_without_an_address_are_the_peers() {
    for bytes in [header(LOCAL, 0x00, &[]), header(LOCAL, 0xff, b"any"), header(PROXY, 0x00, &[1, 2, 3])] {
        assert_eq!(parse(&bytes), Ok(Parsed::Whole { used: bytes.len(), source: Source::Peer }));
    }
    assert_eq!(client(&header(PROXY, 0x31, &[0; 216])), None);
}

#[test]
fn every_part_of_a_header_asks_for_more() {
    let bytes = tcp4(&[0x04, 0, 1, 0]);
    for cut in 0..bytes.len() {
        let needed = if cut < FIXED_BYTES { FIXED_BYTES } else { bytes.len() };
        assert_eq!(parse(&bytes[..cut]), Ok(Parsed::Partial { needed }), "{cut}");
    }
}

#[test]
fn each_fault_is_named() {
    assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(ProxyError::Signature));
    assert_eq!(parse(b"PROXY TCP4 1.2.3.4"), Err(ProxyError::VersionOne));
    assert_eq!(parse(&header(0x11, 0x11, &[0; 12])), Err(ProxyError::Command(0x11)));
    assert_eq!(parse(&header(PROXY, 0x12, &[0; 12])), Err(ProxyError::Family(0x12)));
    assert_eq!(parse(&header(PROXY, 0x11, &[0; 11])), Err(ProxyError::Addresses));
    assert_eq!(parse(&header(PROXY, 0x21, &[0; 35])), Err(ProxyError::Addresses));
    assert_eq!(parse(&header(PROXY, 0x31, &[0; 215])), Err(ProxyError::Addresses));
    assert_eq!(parse(&tcp4(&[4, 0])), Err(ProxyError::Extension));
    assert_eq!(parse(&tcp4(&[4, 0, 2, 0])), Err(ProxyError::Extension));
    let long = header(PROXY, 0x11, &vec![0; PROXY_HEADER_BYTES_MAX]);
    assert_eq!(parse(&long[..FIXED_BYTES]), Err(ProxyError::TooLong(PROXY_HEADER_BYTES_MAX + FIXED_BYTES)));
}

#[test]
fn a_sum_that_is_carried_is_checked() {
    // RFC 3720 appendix B.4: 32 bytes of zeros.
    assert_eq!(crc32c(&[0; 32], &(0..0)), 0x8a91_36aa);
    let mut bytes = tcp4(&[TLV_CRC32C, 0, 4, 0, 0, 0, 0]);
    assert_eq!(parse(&bytes), Err(ProxyError::Checksum));
    let at = bytes.len() - 4..bytes.len();
    let sum = crc32c(&bytes, &at);
    bytes[at].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(client(&bytes).as_deref(), Some("203.0.113.9:50000"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(tail in prop::collection::vec(any::<u8>(), 0..300), signed in any::<bool>()) {
        let bytes = if signed { [&SIGNATURE[..], &tail].concat() } else { tail };
        match parse(&bytes) {
            Ok(Parsed::Whole { used, .. }) => prop_assert!(used <= bytes.len()),
            Ok(Parsed::Partial { needed }) => prop_assert!(needed > bytes.len() && needed <= PROXY_HEADER_BYTES_MAX),
            Err(_) => {}
        }
    }
}
