//! Certificates made for these tests.

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;

fn made(names: &[&str]) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2051, 2, 3);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn files() -> CertificateConfig {
    CertificateConfig { cert: "c.pem".into(), key: "k.pem".into() }
}

fn parse(cert: &str, key: &str) -> Result<Identity, String> {
    Identity::parse(&files(), cert.as_bytes(), key.as_bytes()).map_err(|e| e.to_string())
}

#[test]
fn names_and_validity_are_told() {
    let (cert, key) = made(&["Push.example.com", "*.example.org", "127.0.0.1"]);
    let identity = parse(&cert, &key).unwrap();
    assert_eq!(identity.names(), ["push.example.com", "*.example.org"]);
    assert_eq!((identity.begins_s(), identity.ends_s()), (1_577_836_800, 2_558_995_200));
    assert!(identity.is_for("push.example.com") && identity.is_for("a.example.org"));
    assert!(!identity.is_for("example.org") && !identity.is_for("a.b.example.org") && !identity.is_for("com"));
}

#[test]
fn a_pair_that_does_not_belong_together_is_refused() {
    let ((cert, _), (_, key)) = (made(&["a.example"]), made(&["a.example"]));
    assert_eq!(parse(&cert, &key).unwrap_err(), "the key in k.pem is not the one of the certificate in c.pem");
}

#[test]
fn a_file_that_is_something_else_is_named_and_not_repeated() {
    let (cert, key) = made(&["a.example"]);
    assert!(parse(&key, &key).unwrap_err().starts_with("c.pem holds no certificate"));
    assert!(parse(&cert, &cert).unwrap_err().starts_with("k.pem holds no private key"));
    assert!(parse("-----BEGIN CERTIFICATE-----\n", &key).unwrap_err().starts_with("c.pem is not PEM"));
    let other = "-----BEGIN CERTIFICATE-----\nc2VjcmV0\n-----END CERTIFICATE-----\n";
    let told = parse(other, &key).unwrap_err();
    assert_eq!(told, "c.pem begins with a certificate that cannot be read");
    let told = Identity::load(&CertificateConfig { cert: "/nowhere/c".into(), key: "k".into() }).unwrap_err();
    assert!(told.to_string().starts_with("cannot read /nowhere/c: "));
}
