//! Both ends of a connection under TLS without sockets: for tools that throw bytes at it.

use std::sync::Arc;

use rustls::ServerConfig;

use super::{
    acceptor::{Acceptor, TlsError},
    alert::{Alert, Fault},
    config::TlsSettings,
    handshake::{Handshake, Progress},
    interim::Interim,
    keys::{Agreed, IV_BYTES, KEY_BYTES_MAX, Side, Suite},
    partial::Partials,
    records::{Event, Records},
};

/// A client's end of established records, which may break every rule.
pub struct Peer(Records);

/// A server's records and their client, under keys that everybody knows.
pub fn pair(suite: Suite) -> (Records, Peer) {
    let half = |n: u8| match suite.is_v13() {
        true => Agreed::from_secret(suite, &[n; 48]),
        false => {
            let mut agreed = Agreed::empty();
            (agreed.key, agreed.iv) = ([n; KEY_BYTES_MAX], [n; IV_BYTES]);
            agreed
        }
    };
    (Records::new(suite, &half(1), &half(2)), Peer(Records::new(suite, &half(2), &half(1))))
}

impl Peer {
    /// Its records: to seal as it should, and to open what the server sent.
    pub fn records(&mut self) -> &mut Records {
        &mut self.0
    }

    /// Appends a record of any kind, sealed well.
    pub fn send(&mut self, wire: &mut Vec<u8>, kind: u8, content: &[u8]) {
        self.0.append(wire, kind, content);
    }

    /// Changes its keys, and asks the server to do so too.
    pub fn change_keys(&mut self, wire: &mut Vec<u8>, ask: bool) {
        self.0.change_keys(wire, ask);
    }

    /// Has the server's key be one record from its end, if it has one that anybody could reach.
    pub fn wear_out(&mut self, server: &mut Records) {
        let records = match server.suite().records_max() {
            u64::MAX => return,
            max => max - 1,
        };
        server.pretend(Side::Send, records);
        self.0.pretend(Side::Receive, records);
    }
}

/// Opens what it can of `bytes`, appends data to `data`. `false`: the peer closed.
///
/// # Errors
/// The connection must end.
pub fn open(
    records: &mut Records,
    spare: &mut Partials,
    mut bytes: &mut [u8],
    data: &mut Vec<u8>,
) -> Result<bool, Fault> {
    while !bytes.is_empty() {
        let opened = records.open(bytes, spare)?;
        let (now, later) = bytes.split_at_mut(opened.used);
        match opened.event {
            Some(Event::Data(range)) => data.extend_from_slice(&now[range]),
            Some(Event::Joined(partial, range)) => {
                data.extend_from_slice(&partial.bytes[range]);
                spare.give_back(partial);
            }
            Some(Event::Closed) => return Ok(false),
            Some(Event::Handled) => {}
            None => assert!(later.is_empty(), "what is no record yet is kept whole"),
        }
        bytes = later;
    }
    Ok(true)
}

/// Where clients shake hands.
pub struct Server(Arc<ServerConfig>);

impl Server {
    /// Reads the files.
    ///
    /// # Errors
    /// They hold no certificate with its key.
    pub fn new(settings: TlsSettings) -> Result<Self, TlsError> {
        Ok(Self(Acceptor::new(settings)?.config()))
    }

    /// A connection before its first byte.
    pub fn accept(&self) -> Connection {
        let handshake = Handshake::new(self.0.clone()).ok();
        Connection { stage: handshake.map_or(Stage::Over, |h| Stage::Handshake(h, Vec::new())) }
    }
}

/// A connection from its first byte on, as a gateway leads it: the handshake, then what a task reads, then a session.
pub struct Connection {
    stage: Stage,
}

enum Stage {
    Handshake(Box<Handshake>, Vec<u8>),
    Interim(Box<Interim>),
    Session(Records, Partials),
    Over,
}

impl Connection {
    /// Takes bytes of the client, appends answers to `outgoing` and plaintext to `data`. Whether it goes on.
    pub fn take(&mut self, bytes: &[u8], outgoing: &mut Vec<u8>, data: &mut Vec<u8>) -> bool {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Handshake(handshake, mut incoming) => {
                incoming.extend_from_slice(bytes);
                match handshake.advance(&mut incoming, outgoing) {
                    Ok(Progress::NeedsMore(handshake)) => Stage::Handshake(handshake, incoming),
                    Ok(Progress::Done(done)) => read(Box::new(Interim::new(*done, incoming)), outgoing, data),
                    Err(_) => Stage::Over,
                }
            }
            Stage::Interim(mut interim) => {
                let mut unread = interim.take_unread();
                unread.extend_from_slice(bytes);
                interim.put_unread(unread);
                read(interim, outgoing, data)
            }
            Stage::Session(records, spare) => serve(records, spare, bytes, outgoing, data),
            Stage::Over => Stage::Over,
        };
        !matches!(self.stage, Stage::Over)
    }

    /// Makes a session of it, if its handshake is done. What was read and not opened goes with it.
    pub fn hand_over(&mut self, outgoing: &mut Vec<u8>, data: &mut Vec<u8>) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Interim(interim) => {
                let secured = interim.into_secured();
                serve(secured.records, Partials::default(), &secured.unread, outgoing, data)
            }
            other => other,
        };
    }

    /// Whether the handshake is done and the connection stands.
    pub fn is_established(&self) -> bool {
        matches!(self.stage, Stage::Interim(_) | Stage::Session(..))
    }

    /// Sends data, if the connection is a session. False: its key is used up.
    pub fn send(&mut self, plain: &[u8], outgoing: &mut Vec<u8>) -> bool {
        let Stage::Session(records, _) = &mut self.stage else { return true };
        records.sealed(plain).map(|bytes| outgoing.extend(bytes)).is_ok()
    }
}

/// Reads all that is there, as a task does.
fn read(mut interim: Box<Interim>, outgoing: &mut Vec<u8>, data: &mut Vec<u8>) -> Stage {
    loop {
        match interim.open(data) {
            Ok(None) => return Stage::Interim(interim),
            Ok(Some(0)) => return Stage::Over,
            Ok(Some(_)) => {}
            Err((_, alert)) => {
                outgoing.extend(alert);
                return Stage::Over;
            }
        }
    }
}

/// Takes what came for a session, as the layer over its engine does.
fn serve(mut records: Records, mut spare: Partials, bytes: &[u8], outgoing: &mut Vec<u8>, data: &mut Vec<u8>) -> Stage {
    let alert = match open(&mut records, &mut spare, &mut bytes.to_vec(), data) {
        Ok(true) => return Stage::Session(records, spare),
        Ok(false) => Some(Alert::CloseNotify),
        Err(fault) => fault.alert(),
    };
    if let Some(alert) = alert {
        records.alert(outgoing, alert);
    }
    Stage::Over
}
