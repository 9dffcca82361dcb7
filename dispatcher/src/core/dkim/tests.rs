//! The mail of RFC 8463, the worked examples of RFC 6376, and keys that cannot sign.

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

use super::{
    canonical::{Body, Head},
    key::Key,
    record::Record,
    signature, signatures,
};
use crate::core::smtp::stuffing::Lines;

const RSA: &str = include_str!("../../../tests/keys/rsa2048.pem");

/// The key of RFC 8463, A.2 in PKCS #8.
fn brisbane() -> Key {
    let mut der = vec![0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    der.extend(STANDARD.decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=").unwrap());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der));
    Key::parse("football.example.com", "brisbane", &pem).unwrap()
}

/// RFC 8463, A.3.
const MAIL: &str = "From: Joe SixPack <joe@football.example.com>\r\nTo: Suzie Q <suzie@shopping.example.net>\r\n\
    Subject: Is dinner ready?\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n\
    Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\r\n\
    Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";

#[test]
fn the_mail_of_rfc_8463_has_the_signature_that_stands_there() {
    let mut lines = Lines::of(MAIL.as_bytes());
    let head = Head::read(&mut lines);
    let mut body = Body::default();
    lines.for_each(|line| body.line(line));
    let hash = STANDARD.encode(body.hash());
    assert_eq!(hash, "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=");
    let names = ["from", "to", "subject", "date", "message-id", "from", "subject", "date"];
    let unsigned = format!(
        "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n d=football.example.com; i=@football.example.com;\r\n \
         q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n subject : date : message-id : from : subject : date;\r\n bh={hash};\r\n b="
    );
    let signed = signature(&brisbane(), head.signed(&names), &unsigned);
    assert_eq!(signed, "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==");
    let record = Record::of(&brisbane());
    assert_eq!(record.name, "brisbane._domainkey.football.example.com");
    assert_eq!(record.value, "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
}

fn body_hash(body: &str) -> String {
    let mut hash = Body::default();
    Lines::of(body.as_bytes()).for_each(|line| hash.line(line));
    STANDARD.encode(hash.hash())
}

#[test]
fn white_space_that_relays_change_changes_no_body_and_all_else_does() {
    // RFC 6376, 3.4.4: the hash of a body that is empty.
    for empty in ["", "\r\n", "\r\n \t\r\n\r\n"] {
        assert_eq!(body_hash(empty), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "{empty:?}");
    }
    // RFC 6376, 3.4.5: " C <CRLF>D <TAB> E<CRLF><CRLF><CRLF>" is signed as " C<CRLF>D E<CRLF>".
    let whole = body_hash(" C\r\nD E\r\n");
    for same in [" C \r\nD \t E\r\n\r\n\r\n", "\tC\nD\tE", "  C\rD  E \r\n \r\n"] {
        assert_eq!(body_hash(same), whole, "{same:?}");
    }
    for other in ["C\r\nD E\r\n", " C\r\n\r\nD E\r\n", " C\r\nDE\r\n", " C\r\nD e\r\n", " C\r\nD E\r\n.\r\n"] {
        assert_ne!(body_hash(other), whole, "{other:?}");
    }
}

#[test]
fn headers_are_signed_from_the_last_of_a_name_and_those_that_are_not_there_as_nothing() {
    // RFC 6376, 3.4.5.
    let mut lines = Lines::of(b"A: X\r\nB : Y\t\r\n\tZ  \r\na: second\r\n\r\nbody");
    let head = Head::read(&mut lines);
    assert_eq!(head.signed(&["A", "B", "A", "A", "C"]), b"a:second\r\nb:Y Z\r\na:X\r\n");
    assert_eq!(lines.next(), Some(&b"body"[..]));
}

/// The signed form of one signature's header, and its signature.
fn taken_apart(header: &str) -> (String, Vec<u8>) {
    let (unsigned, signature) = header.rsplit_once(" b=").unwrap();
    let signature: String = signature.split_whitespace().collect();
    (format!("{unsigned} b="), STANDARD.decode(signature).unwrap())
}

#[test]
fn an_rsa_signature_fits_what_is_published_and_its_header_fits_a_line() {
    let keys = [Key::parse("example.org", "S1", RSA).unwrap(), brisbane()];
    assert!(keys[0].is_slow() && !keys[1].is_slow());
    let text = String::from_utf8(signatures(&keys, MAIL.as_bytes(), 1_800_000_000)).unwrap();
    assert!(text.split("\r\n").all(|line| line.len() <= 78 && !line.starts_with('.')), "{text}");
    assert_eq!(text.matches("DKIM-Signature: ").count(), 2);
    let first = &text[..text.rfind("DKIM-Signature").unwrap()];
    let (unsigned, signature) = taken_apart(first);
    assert!(unsigned.contains("d=example.org;\r\n s=s1; t=1800000000;"), "{unsigned}");
    let names = unsigned.split("h=").nth(1).unwrap().split(';').next().unwrap();
    let names: Vec<&str> = names.split(':').map(str::trim).collect();
    for (name, times) in [("From", 2), ("To", 2), ("Cc", 1), ("Content-Type", 1), ("List-Unsubscribe", 0)] {
        assert_eq!(names.iter().filter(|n| **n == name).count(), times, "{name} in {names:?}");
    }
    let head = Head::read(&mut Lines::of(MAIL.as_bytes()));
    let mut signed = head.signed(&names);
    signed.extend_from_slice(b"dkim-signature:");
    super::relaxed(&mut signed, Lines::of(unsigned.strip_prefix("DKIM-Signature:").unwrap().as_bytes()));
    let record = Record::of(&keys[0]);
    let public = STANDARD.decode(record.value.strip_prefix("v=DKIM1; k=rsa; p=").unwrap()).unwrap();
    // Behind 24 bytes of what it is stands the key itself.
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &public[24..]).verify(&signed, &signature).unwrap();
    assert!(record.quoted().starts_with("\"v=DKIM1; ") && record.quoted().contains("\" \""), "{}", record.quoted());
}

#[test]
fn a_key_that_cannot_sign_is_refused_with_what_is_wrong_and_nothing_of_it() {
    let pem = |text| match text {
        "rsa1024" => include_str!("../../../tests/keys/rsa1024.pem"),
        "p256" => include_str!("../../../tests/keys/p256.pem"),
        "encrypted" => include_str!("../../../tests/keys/encrypted.pem"),
        _ => RSA,
    };
    for (domain, selector, key, said) in [
        ("example", "s1", "", "domain is \"example\""),
        ("exa mple.org", "s1", "", "domain is"),
        ("example.org\r\nX: y", "s1", "", "domain is"),
        ("example..org", "s1", "", "domain is"),
        ("example.org", "", "", "selector is \"\""),
        ("example.org", "s;b=", "", "selector is"),
        ("example.org", "s1.", "", "selector is"),
        ("example.org", "s1", "rsa1024", "fewer than 2048 bits"),
        ("example.org", "s1", "p256", "neither RSA nor Ed25519"),
        ("example.org", "s1", "encrypted", "no private key in PEM that is not encrypted"),
    ] {
        let error = Key::parse(domain, selector, pem(key)).unwrap_err();
        assert!(error.contains(said) && !error.contains("MII"), "{domain:?} {selector:?} {key}: {error}");
    }
    assert!(Key::parse("example.org", "s1", "hunter2").unwrap_err().contains("no private key"));
    assert!(Key::parse(&format!("{}.org", ["a"; 130].join(".")), "s1", RSA).unwrap_err().contains("domain"));
    let long = [["a".repeat(60).as_str(); 3].join("."), "example.org".into()];
    assert!(Key::parse(&format!("{}.{}", long[0], long[1]), &long[0], RSA).unwrap_err().contains("bytes"));
    // Both forms of RSA, and a domain in any script.
    let key = Key::parse("bücher.example", "s1.mail", include_str!("../../../tests/keys/rsa2048.pkcs1.pem")).unwrap();
    assert_eq!(
        (key.domain(), format!("{key:?}")),
        ("xn--bcher-kva.example", "Key(s1.mail for xn--bcher-kva.example, rsa-sha256)".into())
    );
    assert_eq!(Record::of(&key).value, Record::of(&Key::parse("example.org", "x", RSA).unwrap()).value);
}
