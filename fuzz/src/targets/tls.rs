//! The edge of TLS: what is handed out as data is what the client sealed as data, in its order and from its start, wherever
//! records are cut and whatever is changed, added, repeated or left out on the way.

use std::{
    io::{Read, Write},
    sync::{Arc, LazyLock},
};

use pushgate_gateway::tls::{
    alert::Alert,
    config::{TlsConfig, TlsSettings},
    keys::Suite,
    partial::Partials,
    records::Records,
    trial::{Peer, Server, open, pair},
};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    crypto::ring,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "tls",
    run,
    words: &[
        b"\x00\x05\x00\x20\x00\xf0",
        b"\x01\xff\x01\xff\x0e\0",
        b"\x06\x00\x0d\x09",
        b"\x06\x01\x0e\0\x0d\x90",
        b"\x05\x18\0\0\x01\x01",
        b"\x05\x18\0\0\x01\0",
        b"\x05\x18\0\0\x01\x02",
        b"\x04\0",
        b"\x04\x5a",
        b"\x04\x28",
        b"\x08\x21",
        b"\x08\x1f\x00\x01",
        b"\x0f\0\x0d\x01\x0d\x01\x0d\x01",
        b"\x09\x05\x17\x03\x03\x00\x20",
        b"\x09\x05\x16\x03\x03\x00\x20",
        b"\x16\x03\x01\x00\x2f\x01\0\0\x2b\x03\x03",
        b"\x15\x03\x03\0\x02\x01\0",
        b"\x07\x17abcd",
        b"\x07\x63abcd",
        b"\x0a\x07",
        b"\x0b\0",
        b"\x0c\0",
    ],
    modules: &[
        "gateway/src/tls/records.rs",
        "gateway/src/tls/partial.rs",
        "gateway/src/tls/keys.rs",
        "gateway/src/tls/interim.rs",
        "gateway/src/tls/handshake.rs",
    ],
    input_bytes_max: 96,
    heap_bytes_max: 4 << 20,
};

fn run(input: &[u8]) {
    let Some((&[kind, cut], script)) = input.split_first_chunk::<2>() else { return };
    if kind & 1 == 0 {
        let suite = Suite::ALL[usize::from(kind >> 1) % Suite::ALL.len()];
        let whole = established(suite, usize::MAX, script);
        assert_eq!(whole, established(suite, usize::from(cut) + 1, script), "in pieces of {}", usize::from(cut) + 1);
        assert_eq!(whole, established(suite, 1, script), "byte by byte");
    } else {
        shake(kind, usize::from(cut) + 1, script);
    }
}

/// Established records: a client that follows a script, and a server that gets what comes of it in pieces.
struct Established {
    server: Records,
    peer: Peer,
    spare: Partials,
    /// On its way to the server.
    wire: Vec<u8>,
    /// Where the last record on the wire begins.
    last: usize,
    /// What the client sealed as data.
    sealed: Vec<u8>,
    /// What the server handed out.
    got: Vec<u8>,
    /// The client kept to the protocol, and nobody changed its bytes.
    clean: bool,
    /// Why the server ended it.
    ended: Option<String>,
    /// What the server sent.
    sent: Vec<u8>,
}

/// What the server handed out and sent, and why it ended the connection.
fn established(suite: Suite, piece: usize, script: &[u8]) -> (Vec<u8>, Vec<u8>, Option<String>) {
    let (server, peer) = pair(suite);
    let mut e = Established {
        server,
        peer,
        spare: Partials::default(),
        wire: Vec::new(),
        last: 0,
        sealed: Vec::new(),
        got: Vec::new(),
        clean: true,
        ended: None,
        sent: Vec::new(),
    };
    let mut rest = script;
    while let Some((&[order, n], more)) = rest.split_first_chunk::<2>() {
        rest = e.follow(order, n, more, piece);
    }
    e.deliver(piece);
    assert!(e.sealed.starts_with(&e.got), "nothing is data but what the client sealed as data");
    if e.clean {
        assert_eq!((e.got.len(), &e.ended), (e.sealed.len(), &None), "all of it arrives");
    }
    (e.got, e.sent, e.ended)
}

impl Established {
    /// One order of the script and its number; returns what is left of the script.
    fn follow<'a>(&mut self, order: u8, n: u8, rest: &'a [u8], piece: usize) -> &'a [u8] {
        let word = |bytes: usize| rest.split_at(bytes.min(rest.len()));
        match order & 15 {
            0..=3 => {
                let plain = vec![n; usize::from(n) * [1, 8, 16, 70][usize::from(order & 3)]];
                self.last = self.wire.len();
                if let Ok(records) = self.peer.records().sealed(&plain) {
                    self.wire.extend(records);
                    self.sealed.extend(plain);
                }
            }
            4 => self.record(21, &[1, n]),
            5 => {
                let (content, rest) = word(5);
                self.record(22, &[&[n], content].concat()[usize::from(n == 0)..]);
                return rest;
            }
            6 if self.server.suite().is_v13() => self.peer.change_keys(&mut self.wire, n & 1 == 1),
            7 => {
                let (content, rest) = word(4);
                self.sealed.extend_from_slice(data(self.server.suite(), n, content));
                self.record(n, content);
                return rest;
            }
            8 => (0..n % 40).for_each(|_| self.record(23, &[])),
            9 => {
                let (bytes, rest) = word(usize::from(n % 64));
                self.spoil(|wire, _| wire.extend_from_slice(bytes));
                return rest;
            }
            10 => self.spoil(|wire, last| {
                let at = last + usize::from(n >> 3) % (wire.len() - last).max(1);
                wire.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << (n & 7));
            }),
            11 => self.spoil(|wire, last| wire.extend_from_within(last..)),
            12 => self.spoil(|wire, last| wire.truncate(last)),
            13 => self.answer(&vec![n; usize::from(n) * 140]),
            14 => self.deliver(piece),
            _ => self.peer.wear_out(&mut self.server),
        }
        rest
    }

    /// A record that need not be allowed.
    fn record(&mut self, kind: u8, content: &[u8]) {
        self.clean = false;
        self.last = self.wire.len();
        self.peer.send(&mut self.wire, kind, content);
    }

    /// Something that the client did not send, or not so.
    fn spoil(&mut self, change: impl FnOnce(&mut Vec<u8>, usize)) {
        self.clean = false;
        let last = self.last.min(self.wire.len());
        change(&mut self.wire, last);
    }

    /// The server gets what is on its way.
    fn deliver(&mut self, piece: usize) {
        self.last = 0;
        for piece in std::mem::take(&mut self.wire).chunks_mut(piece) {
            if self.ended.is_some() {
                return;
            }
            match open(&mut self.server, &mut self.spare, piece, &mut self.got) {
                Ok(true) => {}
                Ok(false) => self.ended = Some("closed".to_owned()),
                Err(fault) => {
                    self.ended = Some(fault.to_string());
                    if let Some(alert) = fault.alert() {
                        self.server.alert(&mut self.sent, alert);
                    }
                }
            }
        }
    }

    /// The server sends something, and the client gets just that.
    fn answer(&mut self, plain: &[u8]) {
        if self.ended.is_some() {
            return;
        }
        let mut buffer = b"before".to_vec();
        let start = buffer.len();
        buffer.resize(start + self.server.prefix_bytes(), 0);
        buffer.extend_from_slice(plain);
        let sealed = self.server.seal(&mut buffer, start);
        assert!(buffer.starts_with(b"before"), "what stands before is left alone");
        let mut heard = Vec::new();
        let all = open(self.peer.records(), &mut Partials::default(), &mut buffer[start..], &mut heard);
        // A key that is used up sends what it can; a key that nearly is, one record.
        match sealed {
            Ok(()) => assert_eq!((all, heard.len()), (Ok(true), plain.len())),
            Err(_) => {
                assert!(plain.starts_with(&heard));
                self.server.alert(&mut self.sent, Alert::CloseNotify);
                self.clean = false;
                self.ended = Some("used up".to_owned());
            }
        }
        self.sent.extend_from_slice(&buffer);
    }
}

/// What of a record is data. Under TLS 1.3 zeroes at its end are padding, so what looks like no kind has it before them.
fn data(suite: Suite, kind: u8, content: &[u8]) -> &[u8] {
    match (suite.is_v13(), kind) {
        (_, 23) => content,
        (true, 0) => match content.iter().rposition(|byte| *byte != 0) {
            Some(at) if content[at] == 23 => &content[..at],
            _ => &[],
        },
        _ => &[],
    }
}

/// Handshakes: a client of a TLS library whose bytes may be changed on their way, in pieces.
fn shake(kind: u8, piece: usize, script: &[u8]) {
    let mut connection = SERVER.0.accept();
    let (mut answers, mut data) = (Vec::new(), Vec::new());
    if kind & 2 != 0 {
        // No client at all.
        let _ = script.chunks(piece).all(|piece| connection.take(piece, &mut answers, &mut data));
        assert!(data.is_empty() && !connection.is_established(), "without a key there is no data");
        return;
    }
    let config = SERVER.1[usize::from(kind >> 2 & 1)].clone();
    let name = ServerName::try_from("push.example").expect("a name");
    let mut client = ClientConnection::new(config, name).expect("a client");
    let mut said = Vec::new();
    if kind & 8 != 0 {
        said.extend_from_slice(b"with its Finished");
        client.writer().write_all(&said).expect("it is kept until then");
    }
    let mut changes = Changes { script, clean: true };
    let mut stands = true;
    // More flights than any handshake has, and then the script's messages.
    for _ in 0..script.len() + 8 {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).expect("a buffer takes all");
        }
        changes.apply(&mut flight);
        for piece in flight.chunks(piece) {
            stands = stands && connection.take(piece, &mut answers, &mut data);
        }
        if stands && connection.is_established() && kind & 16 != 0 {
            connection.hand_over(&mut answers, &mut data);
        }
        assert!(said.starts_with(&data), "nothing is data but what the client said");
        let told = hear(&mut client, &std::mem::take(&mut answers));
        if told.is_err() || !stands {
            break;
        }
        if client.is_handshaking() {
            continue;
        }
        let Some((&order, rest)) = changes.script.split_first() else { break };
        changes.script = rest;
        match order & 3 {
            0 | 1 => {
                let text = vec![order; usize::from(order) * 100];
                said.extend_from_slice(&text);
                client.writer().write_all(&text).expect("it is kept");
            }
            2 if kind & 4 != 0 => client.refresh_traffic_keys().expect("the handshake is done"),
            2 => {
                connection.hand_over(&mut answers, &mut data);
                assert!(connection.send(&[order; 100], &mut answers));
            }
            _ => {
                client.send_close_notify();
                changes.clean = false;
            }
        }
    }
    assert!(!changes.clean || (stands && !client.is_handshaking()), "the handshake is done");
}

/// What is changed on the way.
struct Changes<'a> {
    script: &'a [u8],
    clean: bool,
}

impl Changes<'_> {
    /// Takes two bytes of the script for each flight: most leave it alone.
    fn apply(&mut self, flight: &mut Vec<u8>) {
        let Some((&[what, at], rest)) = self.script.split_first_chunk::<2>() else { return };
        self.script = rest;
        let place = usize::from(at) * flight.len() / 256;
        match what {
            0xf0..=0xf7 if !flight.is_empty() => flight[place] ^= 1 << (what & 7),
            0xf8 => flight.truncate(place),
            0xf9 => flight.insert(place, at),
            0xfa => flight.extend_from_within(place..),
            _ => return,
        }
        self.clean = false;
    }
}

/// The client takes what the server sent.
fn hear(client: &mut ClientConnection, mut bytes: &[u8]) -> Result<(), ()> {
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).map_err(|_| ())?;
        client.process_new_packets().map_err(|_| ())?;
        let mut heard = Vec::new();
        // Nothing there, or the end.
        let _ = client.reader().read_to_end(&mut heard);
    }
    Ok(())
}

/// A server with a certificate of its own, and who trusts it: for TLS 1.2, and for 1.3.
static SERVER: LazyLock<(Server, [Arc<ClientConfig>; 2])> = LazyLock::new(|| {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["push.example".to_owned()]).expect("a name");
    let cert = params.self_signed(&key).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("a certificate");
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a file");
        Some(path.to_string_lossy().into_owned())
    };
    let config =
        TlsConfig { cert: write("cert", cert.pem()), key: write("key", key.serialize_pem()), ..TlsConfig::default() };
    let settings: TlsSettings = config.check().expect("it is valid").expect("there is a certificate");
    let server = Server::new(settings).expect("the files are there");
    let clients = [&TLS12, &TLS13].map(|version| {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]);
        let config = config.expect("it is spoken").with_root_certificates(roots.clone());
        Arc::new(config.with_no_client_auth())
    });
    (server, clients)
});
