//! Handshakes with rustls' client, in memory, and what follows them.

use std::io::{Read, Write};

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use tempfile::TempDir;

use super::*;
use crate::tls::{
    acceptor::Acceptor,
    config::{CertificateConfig, TlsConfig, TlsSettings, TlsVersion},
    records::tests::open,
};

/// Certificates for `names`, one each, and a client's config that trusts them.
pub(in crate::tls) struct Rig {
    directory: TempDir,
    pub(in crate::tls) acceptor: Acceptor,
    roots: RootCertStore,
}

/// A key for tests alone: the library that makes certificates makes no keys of this kind.
const RSA_KEY: &str = include_str!("../../../tests/keys/rsa2048.pem");

impl Rig {
    pub(in crate::tls) fn new(names: &[&str]) -> Self {
        Self::with(names, TlsVersion::V12, || KeyPair::generate().unwrap())
    }

    fn with(names: &[&str], min_version: TlsVersion, key: impl Fn() -> KeyPair) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = TlsConfig { min_version, ..TlsConfig::default() };
        let mut roots = RootCertStore::empty();
        for (n, name) in names.iter().enumerate() {
            let files = write_pair(&directory, n, (name, &key()), &mut roots);
            match n {
                0 => (config.cert, config.key) = (Some(files.cert), Some(files.key)),
                _ => config.certificates.push(files),
            }
        }
        let settings: TlsSettings = config.check().unwrap().unwrap();
        Self { directory, acceptor: Acceptor::new(settings).unwrap(), roots }
    }

    pub(in crate::tls) fn client(&self, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        Arc::new(config.with_root_certificates(self.roots.clone()).with_no_client_auth())
    }
}

fn write_pair(
    directory: &TempDir,
    n: usize,
    (name, key): (&str, &KeyPair),
    roots: &mut RootCertStore,
) -> CertificateConfig {
    let cert = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(key).unwrap();
    roots.add(cert.der().clone()).unwrap();
    let path = |kind: &str| directory.path().join(format!("{n}.{kind}")).to_str().unwrap().to_owned();
    let files = CertificateConfig { cert: path("cert"), key: path("key") };
    std::fs::write(&files.cert, cert.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    files
}

/// Runs a handshake; the server gets its bytes in pieces.
pub(in crate::tls) fn shake(
    acceptor: &Acceptor,
    config: Arc<ClientConfig>,
    name: &str,
    piece: usize,
) -> Result<(Box<Established>, ClientConnection), (Failure, Option<Error>)> {
    let mut client = ClientConnection::new(config, ServerName::try_from(name.to_owned()).unwrap()).unwrap();
    let mut server = Handshake::new(acceptor.config()).unwrap();
    let mut incoming = Vec::new();
    loop {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        assert!(!wire.is_empty(), "neither end has anything to say");
        for piece in wire.chunks(piece) {
            incoming.extend_from_slice(piece);
            let mut outgoing = Vec::new();
            let progress = server.advance(&mut incoming, &mut outgoing);
            let told = feed(&mut client, &outgoing);
            match progress {
                Ok(Progress::Done(established)) => {
                    assert!(incoming.is_empty());
                    return Ok((established, client));
                }
                Ok(Progress::NeedsMore(more)) => server = more,
                Err(failure) => return Err((failure, told.err())),
            }
            told.map_err(|error| (Failure::Gone, Some(error)))?;
        }
    }
}

pub(in crate::tls) fn feed(client: &mut ClientConnection, mut wire: &[u8]) -> Result<(), Error> {
    while !wire.is_empty() {
        client.read_tls(&mut wire).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

fn says(client: &mut ClientConnection, text: &[u8]) -> Vec<u8> {
    client.writer().write_all(text).unwrap();
    let mut wire = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut wire).unwrap();
    }
    wire
}

fn hears(client: &mut ClientConnection, wire: &[u8]) -> Vec<u8> {
    feed(client, wire).unwrap();
    let mut text = vec![0; 100];
    let n = client.reader().read(&mut text).unwrap();
    text.truncate(n);
    text
}

#[test]
fn records_go_on_where_the_handshake_ended() {
    let rig = Rig::new(&["a.example"]);
    for (version, v13) in [(&TLS12, false), (&TLS13, true)] {
        for piece in [1, 7, 4_096] {
            let (mut server, mut client) = shake(&rig.acceptor, rig.client(version), "a.example", piece).unwrap();
            assert_eq!(server.records.suite().is_v13(), v13);
            assert!(!server.resumed && server.early.is_empty());
            for _ in 0..3 {
                let wire = says(&mut client, b"from the client");
                assert_eq!(open(&mut server.records, &wire, 5).unwrap().0, b"from the client");
                let wire = server.records.sealed(b"from the server").unwrap();
                assert_eq!(hears(&mut client, &wire), b"from the server");
            }
            client.send_close_notify();
            let wire = says(&mut client, b"");
            assert!(open(&mut server.records, &wire, usize::MAX).unwrap().1);
        }
    }
}

#[test]
fn both_ends_change_keys_when_the_client_asks() {
    let rig = Rig::new(&["a.example"]);
    let (mut server, mut client) = shake(&rig.acceptor, rig.client(&TLS13), "a.example", 4_096).unwrap();
    for _ in 0..40 {
        client.refresh_traffic_keys().unwrap();
        let wire = says(&mut client, b"new");
        assert_eq!(open(&mut server.records, &wire, usize::MAX).unwrap().0, b"new");
        let wire = server.records.sealed(b"new, too").unwrap();
        assert_eq!(hears(&mut client, &wire), b"new, too");
    }
}

#[test]
fn every_suite_is_spoken_with_each_kind_of_key_that_it_takes() {
    let rsa = || KeyPair::from_pem(RSA_KEY).unwrap();
    let of_rsa = Rig::with(&["a.example"], TlsVersion::V12, rsa);
    let mut spoken = 0;
    for (rig, not_taken) in [(Rig::new(&["a.example"]), "_RSA_"), (of_rsa, "_ECDSA_")] {
        for suite in ring::ALL_CIPHER_SUITES.iter().filter(|s| !format!("{s:?}").contains(not_taken)) {
            let mut provider = ring::default_provider();
            provider.cipher_suites = vec![*suite];
            let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
            let config = config.unwrap().with_root_certificates(rig.roots.clone()).with_no_client_auth();
            let (mut server, mut client) = shake(&rig.acceptor, Arc::new(config), "a.example", 4_096).unwrap();
            let wire = server.records.sealed(b"hello").unwrap();
            assert_eq!(hears(&mut client, &wire), b"hello", "{suite:?}");
            spoken += 1;
        }
    }
    // Three of 1.3 with both kinds, and three of 1.2 with each.
    assert_eq!(spoken, 12);
}

#[test]
fn a_client_of_1_2_is_refused_where_1_3_is_the_least() {
    let rig = Rig::with(&["a.example"], TlsVersion::V13, || KeyPair::generate().unwrap());
    assert!(shake(&rig.acceptor, rig.client(&TLS13), "a.example", 4_096).is_ok());
    let (failure, told) = shake(&rig.acceptor, rig.client(&TLS12), "a.example", 4_096).unwrap_err();
    assert_eq!(failure, Failure::Incompatible);
    assert_eq!(told, Some(Error::AlertReceived(AlertDescription::ProtocolVersion)));
}

#[test]
fn a_client_that_comes_again_resumes_also_after_a_reload() {
    let rig = Rig::new(&["a.example"]);
    for version in [&TLS12, &TLS13] {
        let config = rig.client(version);
        for round in 0..3 {
            let (mut server, mut client) = shake(&rig.acceptor, config.clone(), "a.example", 4_096).unwrap();
            assert_eq!(server.resumed, round > 0, "{version:?}");
            let wire = server.records.sealed(b"again").unwrap();
            assert_eq!(hears(&mut client, &wire), b"again");
            rig.acceptor.reload();
        }
    }
    assert_eq!(rig.acceptor.reloaded.read(), 6);
}

#[test]
fn the_certificate_is_chosen_by_name() {
    let rig = Rig::new(&["a.example", "b.example", "*.c.example"]);
    let shown = |name: &str| {
        let (_, client) = shake(&rig.acceptor, rig.client(&TLS13), name, 4_096).map_err(|(failure, _)| failure)?;
        Ok::<_, Failure>(client.peer_certificates().unwrap()[0].clone().into_owned())
    };
    let certificate = |n: usize| {
        let path = rig.directory.path().join(format!("{n}.cert"));
        CertificateDer::from_pem_file(path).unwrap()
    };
    assert_eq!(shown("a.example").unwrap(), certificate(0));
    assert_eq!(shown("b.example").unwrap(), certificate(1));
    assert_eq!(shown("x.c.example").unwrap(), certificate(2));
    // It gets the first, which is not for this name, and does not trust it.
    assert_eq!(shown("d.example").unwrap_err(), Failure::Gone);
}

#[test]
fn http_1_1_is_agreed_on_and_h2_alone_is_refused() {
    let rig = Rig::new(&["a.example"]);
    let with = |protocols: &[&str]| {
        let mut config = Arc::unwrap_or_clone(rig.client(&TLS13));
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        shake(&rig.acceptor, Arc::new(config), "a.example", 4_096)
    };
    assert_eq!(with(&["h2", "http/1.1"]).unwrap().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(with(&[]).unwrap().1.alpn_protocol(), None);
    let (failure, told) = with(&["h2"]).unwrap_err();
    assert_eq!(failure, Failure::Incompatible);
    assert_eq!(told, Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol)));
}

#[test]
fn a_broken_pair_changes_nothing_until_it_is_whole() {
    let rig = Rig::new(&["a.example"]);
    let key = rig.directory.path().join("0.key");
    let good = std::fs::read(&key).unwrap();
    std::fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    rig.acceptor.reload();
    assert_eq!((rig.acceptor.reloaded.read(), rig.acceptor.reload_errors.read()), (0, 1));
    assert!(shake(&rig.acceptor, rig.client(&TLS13), "a.example", 4_096).is_ok());
    std::fs::write(&key, good).unwrap();
    rig.acceptor.reload();
    assert_eq!((rig.acceptor.reloaded.read(), rig.acceptor.reload_errors.read()), (1, 1));
}

#[test]
fn garbage_is_answered_with_an_alert() {
    let rig = Rig::new(&["a.example"]);
    for garbage in [&b"\x16\x03\x01\x00\x05hello"[..], b"\x17\x03\x03\x00\x01x", b"\0\0\0\0\0\0\0\0"] {
        let (mut incoming, mut outgoing) = (garbage.to_vec(), Vec::new());
        let failed = Handshake::new(rig.acceptor.config()).unwrap().advance(&mut incoming, &mut outgoing);
        assert_eq!(failed.err(), Some(Failure::Malformed));
        assert_eq!(outgoing.first(), Some(&21), "an alert");
    }
}

#[test]
fn secrets_are_kept_only_while_a_handshake_works() {
    Capture.log(CLIENT, b"random", &[1; 32]);
    let (told, ()) = Capture::around(|| Capture.log(SERVER, b"random", &[2; 32]));
    assert!(told.client.is_none() && told.server.is_some());
    assert!(TOLD.with_borrow(Option::is_none));
    assert!(!Capture.will_log("EXPORTER_SECRET") && !Capture.will_log("CLIENT_RANDOM"));
}
