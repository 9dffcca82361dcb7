//! One handshake, sans-I/O: what the client sent in, what to send it out, and at the end its records.
//!
//! rustls hands over keys and IVs when a handshake is done, but not the traffic secrets that a KeyUpdate (RFC 8446 section
//! 7.2) derives the next keys from; those it tells its key log while it works. [`Capture`] keeps them for the very call that
//! made them, on the thread that made it. That they belong together is checked, by deriving the keys from them.

use std::{cell::RefCell, sync::Arc};

use rustls::{
    AlertDescription, ConnectionTrafficSecrets, Error, HandshakeKind, KeyLog, ProtocolVersion, ServerConfig,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, EncodeTlsData, InsufficientSizeError, UnbufferedStatus},
};

use super::{
    alert::Alert,
    keys::{Agreed, IV_BYTES, Suite},
    records::{ALERT, Records},
};

const FATAL: u8 = 2;

/// A handshake under way.
pub(crate) struct Handshake {
    connection: UnbufferedServerConnection,
    told: Told,
    /// Something was sent.
    answered: bool,
    /// Data that came so early that rustls opened it.
    early: Vec<u8>,
}

/// What a handshake led to.
pub(crate) enum Progress {
    /// Send what is to be sent, and read more.
    NeedsMore(Box<Handshake>),
    /// Send what is to be sent; from here on records are ours.
    Done(Box<Established>),
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub(crate) struct Established {
    /// Its records.
    pub(crate) records: Records,
    /// The first plaintext.
    pub(crate) early: Vec<u8>,
    /// Whether it went on with a session of before.
    pub(crate) resumed: bool,
}

/// Why a handshake failed. The connection is closed; the client may try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The client went away, or sent nothing more.
    Gone,
    /// It was not done in time.
    Timeout,
    /// The client speaks HTTP without TLS.
    PlainHttp,
    /// No version, cipher or protocol in common.
    Incompatible,
    /// The client ended it with an alert: most often, it does not trust the certificate.
    Refused,
    /// The client broke the protocol.
    Malformed,
    /// Something of ours.
    Internal,
}

impl Failure {
    /// Every failure.
    pub(crate) const ALL: [Self; 7] = [
        Self::Gone,
        Self::Timeout,
        Self::PlainHttp,
        Self::Incompatible,
        Self::Refused,
        Self::Malformed,
        Self::Internal,
    ];

    /// As in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Timeout => "timeout",
            Self::PlainHttp => "plain_http",
            Self::Incompatible => "incompatible",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
            Self::Internal => "internal",
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::Incompatible,
            Error::AlertReceived(AlertDescription::CloseNotify) => Self::Gone,
            Error::AlertReceived(_) => Self::Refused,
            Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::InvalidMessage(_)
            | Error::DecryptError
            | Error::PeerMisbehaved(_)
            | Error::PeerSentOversizedRecord => Self::Malformed,
            _ => Self::Internal,
        }
    }
}

impl Handshake {
    /// Begins one.
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Box<Self>, Failure> {
        let connection = UnbufferedServerConnection::new(config)?;
        Ok(Box::new(Self { connection, told: Told::default(), answered: false, early: Vec::new() }))
    }

    /// Takes what is in `incoming`, of which the rest stays, and appends to `outgoing`, also when it fails (an alert).
    pub(crate) fn advance(
        mut self: Box<Self>,
        incoming: &mut Vec<u8>,
        outgoing: &mut Vec<u8>,
    ) -> Result<Progress, Failure> {
        loop {
            let blocked = self.step(incoming, outgoing)?;
            if !self.connection.is_handshaking() && !self.connection.wants_write() {
                return self.finish().map(|done| Progress::Done(Box::new(done)));
            }
            if blocked {
                return Ok(Progress::NeedsMore(self));
            }
        }
    }

    /// Whether nothing more can be done with what came.
    fn step(&mut self, incoming: &mut Vec<u8>, outgoing: &mut Vec<u8>) -> Result<bool, Failure> {
        let early = &mut self.early;
        let connection = &mut self.connection;
        let (told, (discard, blocked)) = Capture::around(|| {
            let UnbufferedStatus { discard, state, .. } = connection.process_tls_records(incoming);
            let blocked = match state {
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, outgoing).map(|()| false),
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Ok(false)
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        early.extend_from_slice(record.payload);
                    }
                    Ok(false)
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => Ok(true),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Err(Failure::Gone),
                // No early data is offered, and there are no other states.
                Ok(_) => Err(Failure::Internal),
                Err(error) => Err(Failure::from(error)),
            };
            (discard, blocked)
        });
        self.told.take(told);
        incoming.drain(..discard);
        if let Err(failure) = blocked {
            self.last_words(failure, incoming, outgoing);
        }
        self.answered |= !outgoing.is_empty();
        blocked
    }

    /// The alert that rustls made of an error. It makes none of bytes that are no record; those are answered here, which only
    /// the first may be: later alerts are protected.
    fn last_words(&mut self, failure: Failure, incoming: &mut [u8], outgoing: &mut Vec<u8>) {
        // With nothing queued, rustls would look at the same bytes again.
        while self.connection.wants_write() {
            let UnbufferedStatus { state, .. } = self.connection.process_tls_records(incoming);
            let Ok(ConnectionState::EncodeTlsData(data)) = state else { return };
            if encode(data, outgoing).is_err() {
                return;
            }
        }
        if failure == Failure::Malformed && outgoing.is_empty() && !self.answered {
            outgoing.extend_from_slice(&[ALERT, 3, 3, 0, 2, FATAL, Alert::DecodeError as u8]);
        }
    }

    fn finish(self) -> Result<Established, Failure> {
        let Self { connection, told, early, .. } = self;
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let v13 = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => true,
            Some(ProtocolVersion::TLSv1_2) => false,
            _ => return Err(Failure::Internal),
        };
        // What remains of rustls could only make tickets and key updates; both are done here.
        let (secrets, _rest) = connection.dangerous_into_kernel_connection()?;
        let (suite, receive) = agreed(v13, secrets.rx, told.client.as_ref())?;
        let (same, send) = agreed(v13, secrets.tx, told.server.as_ref())?;
        if suite != same {
            return Err(Failure::Internal);
        }
        Ok(Established { records: Records::new(suite, &receive, &send), early, resumed })
    }
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) -> Result<(), Failure> {
    let start = outgoing.len();
    let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) = data.encode(&mut []) else {
        return Err(Failure::Internal);
    };
    outgoing.resize(start + required_size, 0);
    data.encode(&mut outgoing[start..]).map(|_| ()).map_err(|_| Failure::Internal)
}

fn agreed(
    v13: bool,
    (seq, secrets): (u64, ConnectionTrafficSecrets),
    secret: Option<&Agreed>,
) -> Result<(Suite, Agreed), Failure> {
    let (suite, key, iv) = match (v13, &secrets) {
        (true, ConnectionTrafficSecrets::Aes128Gcm { key, iv }) => (Suite::V13Aes128, key, iv),
        (true, ConnectionTrafficSecrets::Aes256Gcm { key, iv }) => (Suite::V13Aes256, key, iv),
        (true, ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) => (Suite::V13Chacha, key, iv),
        (false, ConnectionTrafficSecrets::Aes128Gcm { key, iv }) => (Suite::V12Aes128, key, iv),
        (false, ConnectionTrafficSecrets::Aes256Gcm { key, iv }) => (Suite::V12Aes256, key, iv),
        (false, ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) => (Suite::V12Chacha, key, iv),
        _ => return Err(Failure::Internal),
    };
    let (key, iv) = (key.as_ref(), iv.as_ref());
    if key.len() != suite.key_bytes() || iv.len() != IV_BYTES {
        return Err(Failure::Internal);
    }
    let mut agreed = Agreed::empty();
    if v13 {
        agreed = Agreed::from_secret(suite, &secret.ok_or(Failure::Internal)?.secret);
        if agreed.key[..key.len()] != *key || agreed.iv != *iv {
            return Err(Failure::Internal);
        }
    }
    agreed.seq = seq;
    agreed.key[..key.len()].copy_from_slice(key);
    agreed.iv.copy_from_slice(iv);
    Ok((suite, agreed))
}

/// The traffic secrets of one handshake.
#[derive(Debug, Default)]
struct Told {
    client: Option<Agreed>,
    server: Option<Agreed>,
}

impl Told {
    fn take(&mut self, later: Self) {
        self.client = later.client.or(self.client.take());
        self.server = later.server.or(self.server.take());
    }
}

/// Takes the traffic secrets from rustls; nothing is logged.
#[derive(Debug)]
pub(super) struct Capture;

thread_local! {
    /// Set while a handshake of this thread is at work.
    static TOLD: RefCell<Option<Told>> = const { RefCell::new(None) };
}

const CLIENT: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER: &str = "SERVER_TRAFFIC_SECRET_0";

impl Capture {
    /// Runs a step of one handshake and returns the secrets that it made.
    fn around<T>(step: impl FnOnce() -> T) -> (Told, T) {
        TOLD.set(Some(Told::default()));
        let result = step();
        (TOLD.take().unwrap_or_default(), result)
    }
}

impl KeyLog for Capture {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        TOLD.with_borrow_mut(|told| {
            let Some(told) = told else { return };
            let mut kept = Agreed::empty();
            let Some(place) = kept.secret.get_mut(..secret.len()) else { return };
            place.copy_from_slice(secret);
            match label {
                CLIENT => told.client = Some(kept),
                SERVER => told.server = Some(kept),
                _ => {}
            }
        });
    }

    fn will_log(&self, label: &str) -> bool {
        label == CLIENT || label == SERVER
    }
}

#[cfg(test)]
mod tests;
