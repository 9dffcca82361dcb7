//! Both ends in memory, with files in memory.

use std::{collections::HashMap, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use super::*;

/// Who vouches for nodes.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A node's files, its certificate for `name`.
    fn node(&self, name: &str) -> Files {
        self.node_until(name, 4_000)
    }

    fn node_until(&self, name: &str, year: i32) -> Files {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Files::default().put("cert", &cert).put("key", &key.serialize_pem()).put("ca", &self.pem)
    }
}

/// What a node has on its disk.
#[derive(Clone, Default)]
struct Files(Arc<Mutex<HashMap<String, Vec<u8>>>>);

impl Files {
    fn put(self, name: &str, text: &str) -> Self {
        self.0.lock().unwrap().insert(name.into(), text.into());
        self
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.0.lock().unwrap()[name].clone()).unwrap()
    }

    fn open(&self) -> Result<LinkTls, CredentialsError> {
        self.open_at(Instant::now())
    }

    fn open_at(&self, now: Instant) -> Result<LinkTls, CredentialsError> {
        let [cert_file, key_file, ca_file] = ["cert", "key", "ca"].map(String::from);
        let settings = TlsSettings { cert_file, key_file, ca_file, mode: TlsMode::Require };
        let files = self.0.clone();
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        LinkTls::open(settings, now, move |path| files.lock().unwrap().get(path).cloned().ok_or_else(missing))
    }
}

/// Both ends of a connection.
struct Ends {
    dialled: Veil,
    accepted: Veil,
    /// Most bytes that come at once.
    piece: usize,
}

impl Ends {
    fn new(from: &Files, to: &Files, address: &str) -> Self {
        Self {
            dialled: from.open().unwrap().dial(address).unwrap(),
            accepted: to.open().unwrap().accept().unwrap(),
            piece: usize::MAX,
        }
    }

    /// Shakes hands, until nobody says anything any more; what each end comes to.
    fn shake(&mut self) -> [Result<(), Trouble>; 2] {
        let mut plain = Vec::new();
        let (mut to_accepted, mut to_dialled) = (Vec::new(), Vec::new());
        let mut ends = [self.dialled.take(&mut [], &mut plain, &mut to_accepted), Ok(())];
        while !(to_accepted.is_empty() && to_dialled.is_empty()) {
            for piece in std::mem::take(&mut to_accepted).chunks_mut(self.piece) {
                if ends[1].is_ok() {
                    ends[1] = self.accepted.take(piece, &mut plain, &mut to_dialled);
                }
            }
            for piece in std::mem::take(&mut to_dialled).chunks_mut(self.piece) {
                if ends[0].is_ok() {
                    ends[0] = self.dialled.take(piece, &mut plain, &mut to_accepted);
                }
            }
        }
        assert!(plain.is_empty());
        ends
    }
}

#[test]
fn two_nodes_of_one_authority_talk_in_pieces_of_any_size() {
    let authority = Authority::new("nodes");
    let (gateway, dispatcher) = (authority.node("g1.example"), authority.node("d1.example"));
    let long: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
    for piece in [1, 7, 1_000, usize::MAX] {
        let mut ends = Ends { piece, ..Ends::new(&dispatcher, &gateway, "g1.example:7401") };
        assert_eq!(ends.shake(), [Ok(()), Ok(())]);
        assert!(!ends.dialled.is_shaking() && !ends.accepted.is_shaking());
        for plain in [&b"x"[..], &long, b"y"] {
            let (mut sealed, mut opened, mut outgoing) = (Vec::new(), Vec::new(), Vec::new());
            ends.dialled.seal(plain, &mut sealed).unwrap();
            assert!(!sealed.windows(8).any(|part| plain.len() > 8 && part == &plain[..8]));
            for piece in sealed.chunks_mut(piece) {
                ends.accepted.take(piece, &mut opened, &mut outgoing).unwrap();
            }
            assert!(opened == plain && outgoing.is_empty());
            let (mut sealed, mut back) = (b"before".to_vec(), Vec::new());
            ends.accepted.seal(&opened, &mut sealed).unwrap();
            ends.dialled.take(&mut sealed[6..], &mut back, &mut outgoing).unwrap();
            assert!(back == plain && outgoing.is_empty());
        }
    }
}

#[test]
fn addresses_are_named_by_certificates_as_hosts_and_as_numbers() {
    let authority = Authority::new("nodes");
    for (name, address) in
        [("10.0.0.1", "10.0.0.1:7401"), ("::1", "[::1]:7401"), ("*.nodes.example", "g1.nodes.example:7401")]
    {
        let gateway = authority.node(name);
        assert_eq!(Ends::new(&gateway, &gateway, address).shake(), [Ok(()), Ok(())], "{address}");
    }
    let tls = authority.node("g1").open().unwrap();
    for address in ["g1", "", ":7401", "a b:7401"] {
        assert_eq!(tls.dial(address).err(), Some(Trouble::Address(address.into())));
    }
}

#[test]
fn each_end_says_what_is_wrong_with_the_other() {
    let (ours, strangers) = (Authority::new("nodes"), Authority::new("strangers"));
    let (good, expired) = (ours.node("g1"), ours.node_until("g1", 2_001));
    let stranger = strangers.node("g1").put("ca", &ours.pem);
    let said = |from: &Files, to: &Files, address: &str| {
        Ends::new(from, to, address).shake().map(|end| end.err().map(|trouble| trouble.to_string()))
    };
    let is = |told: &Option<String>, words: &str| told.as_ref().is_some_and(|told| told.contains(words));
    let expect = |from, to, address, [dialled, accepted]: [&str; 2]| {
        let told = said(from, to, address);
        assert!(is(&told[0], dialled) && is(&told[1], accepted), "{told:?}, not {dialled:?} and {accepted:?}");
    };
    let refused = "does not accept this node's certificate";
    // Who dialled learns of its own certificate after its handshake is done.
    expect(&stranger, &good, "g1:1", [refused, "nobody in links.ca_file vouches for it"]);
    expect(&expired, &good, "g1:1", [refused, "has expired"]);
    expect(&good, &stranger, "g1:1", ["nobody in links.ca_file vouches for it", refused]);
    expect(&good, &expired, "g1:1", ["has expired", refused]);
    expect(&good, &good, "g2:1", ["g2", refused]);
    let provider = rustls::crypto::ring::default_provider();
    let bare = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots_of(&ours))
        .with_no_client_auth();
    let mut ends = Ends::new(&good, &good, "g1:1");
    ends.dialled = Veil::dial(Arc::new(bare), "g1:1").unwrap();
    assert_eq!(ends.shake()[1], Err(Trouble::NoCertificate));
}

fn roots_of(authority: &Authority) -> rustls::RootCertStore {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    roots
}

#[test]
fn a_peer_without_tls_is_told_from_one_with() {
    let node = Authority::new("nodes").node("g1");
    let mut veil = node.open().unwrap().dial("g1:1").unwrap();
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    veil.take(&mut [], &mut plain, &mut out).unwrap();
    assert!(is_tls(out[0]));
    let mut refusal = Vec::new();
    crate::link::handshake::Handshake::Refused("expected a handshake frame").encode(&mut refusal);
    assert_eq!(veil.take(&mut refusal, &mut plain, &mut out), Err(Trouble::Plain));
    let node = crate::ids::NodeId::parse("n").unwrap();
    let hello = crate::link::handshake::Hello {
        version_min: 1,
        version_max: 2,
        boot: crate::ids::BootId(1),
        shard: crate::ids::ShardId(0),
        epoch: crate::ids::Epoch::default(),
        nonce: [0; 32],
        node: node.as_str(),
    };
    let mut shortest = Vec::new();
    crate::link::handshake::Handshake::Hello(hello).encode(&mut shortest);
    assert!(shortest[0] > 22 && shortest[1] == 0, "no plain hello begins as TLS does: {shortest:?}");
}

#[test]
fn what_is_wrong_with_files_names_the_setting_and_the_file() {
    let authority = Authority::new("nodes");
    let broken = |name: &str, text: &str| authority.node("g1").put(name, text).open().unwrap_err().to_string();
    assert_eq!(broken("cert", "?"), "links.cert_file: cert holds no certificate: it needs BEGIN CERTIFICATE");
    assert_eq!(broken("key", "?"), "links.cert_key_file: key holds no private key in PEM: PKCS#8, PKCS#1 or SEC1");
    assert_eq!(broken("ca", ""), "links.ca_file: ca holds no certificate: it needs BEGIN CERTIFICATE");
    let other = authority.node("g2").text("key");
    assert_eq!(broken("key", &other), "links.cert_key_file: the key in key is not the one of the certificate in cert");
    let files = authority.node("g1");
    files.0.lock().unwrap().remove("ca");
    let missing = files.open().unwrap_err().to_string();
    assert!(missing.starts_with("links.ca_file: cannot read ca: "), "{missing}");
}

#[test]
fn new_files_are_for_new_connections_and_bad_ones_for_none() {
    let (authority, start) = (Authority::new("nodes"), Instant::now());
    let files = authority.node("old");
    let tls = files.open_at(start).unwrap();
    let dialler = authority.node("d1");
    let reaches = |address: &str| {
        let mut ends = Ends::new(&dialler, &dialler, address);
        ends.accepted = tls.accept().unwrap();
        ends.shake()[0].is_ok()
    };
    let at = |ms| start + Duration::from_millis(ms);
    assert_eq!(tls.look(at(1_000)), None, "nothing is new");
    let new = authority.node("new");
    let files = files.put("cert", &new.text("cert"));
    assert_eq!(tls.look(at(1_500)), None, "looked at a moment ago");
    let mismatch = tls.look(at(2_000)).unwrap().unwrap_err();
    assert!(matches!(mismatch, CredentialsError::Mismatch { .. }), "{mismatch}");
    assert_eq!(tls.look(at(3_000)), None, "said once");
    assert!(reaches("old:1"));
    let _ = files.put("key", &new.text("key"));
    assert_eq!(tls.look(at(4_000)), Some(Ok(())));
    assert!(reaches("new:1") && !reaches("old:1"));
}
