//! TLS of one connection, sans-I/O: what the peer sent in, plaintext and what to send it out.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, ServerConfig,
    client::UnbufferedClientConnection,
    pki_types::ServerName,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic},
};

use super::{HANDSHAKE, Trouble};

/// An alert record (RFC 8446 section 5.1).
const ALERT: u8 = 21;
/// Most plaintext in a record, bytes.
const FRAGMENT_BYTES_MAX: usize = 1 << 14;
/// What a record takes besides: header, content type and tag, bytes.
const RECORD_OVERHEAD_BYTES: usize = 5 + 1 + 16;

/// TLS of one connection, from its first byte on. After an error nothing may be taken or sealed.
pub struct Veil {
    end: End,
    /// The beginning of a record whose rest has not come.
    partial: Vec<u8>,
    /// Whether the peer said anything.
    heard: bool,
}

enum End {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

/// What follows a step.
enum Next {
    Step,
    /// Nothing more can be done with what came.
    Wait,
}

impl Veil {
    pub(super) fn accept(config: Arc<ServerConfig>) -> Result<Self, Trouble> {
        let end = End::Server(Box::new(UnbufferedServerConnection::new(config)?));
        Ok(Self { end, partial: Vec::new(), heard: false })
    }

    pub(super) fn dial(config: Arc<ClientConfig>, address: &str) -> Result<Self, Trouble> {
        let none = || Trouble::Address(address.to_owned());
        let (host, _) = address.rsplit_once(':').ok_or_else(none)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| none())?;
        let end = End::Client(Box::new(UnbufferedClientConnection::new(config, name)?));
        Ok(Self { end, partial: Vec::new(), heard: false })
    }

    /// Whether no plaintext can be sealed yet.
    pub fn is_shaking(&self) -> bool {
        match &self.end {
            End::Client(connection) => connection.is_handshaking(),
            End::Server(connection) => connection.is_handshaking(),
        }
    }

    /// Takes what the peer sent, whose bytes are of no use afterwards; appends plaintext to `plain`, and to `outgoing` what is to be sent, also when
    /// it fails. Who dialled begins with nothing.
    ///
    /// # Errors
    /// The connection must end.
    pub fn take(&mut self, sealed: &mut [u8], plain: &mut Vec<u8>, outgoing: &mut Vec<u8>) -> Result<(), Trouble> {
        if let Some(first) = sealed.first()
            && !std::mem::replace(&mut self.heard, true)
            && !matches!(*first, HANDSHAKE | ALERT)
        {
            return Err(Trouble::Plain);
        }
        if self.partial.is_empty() {
            let used = self.run(sealed, plain, outgoing)?;
            self.partial.extend_from_slice(&sealed[used..]);
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(sealed);
            let used = self.run(&mut whole, plain, outgoing)?;
            whole.drain(..used);
            self.partial = whole;
        }
        Ok(())
    }

    /// Appends records with `plain` to `outgoing`.
    ///
    /// # Errors
    /// The connection must end.
    pub fn seal(&mut self, plain: &[u8], outgoing: &mut Vec<u8>) -> Result<(), Trouble> {
        // What is queued before, such as new keys, goes first.
        loop {
            let (step, sealed) = match &mut self.end {
                End::Client(c) => seal(c.process_tls_records(&mut self.partial), plain, outgoing),
                End::Server(c) => seal(c.process_tls_records(&mut self.partial), plain, outgoing),
            };
            step?;
            if sealed {
                return Ok(());
            }
        }
    }

    /// How many bytes were used.
    fn run(&mut self, sealed: &mut [u8], plain: &mut Vec<u8>, outgoing: &mut Vec<u8>) -> Result<usize, Trouble> {
        let mut used = 0;
        loop {
            let rest = &mut sealed[used..];
            let (discard, next) = match &mut self.end {
                End::Client(connection) => step(connection.process_tls_records(rest), plain, outgoing),
                End::Server(connection) => step(connection.process_tls_records(rest), plain, outgoing),
            };
            used += discard;
            match next {
                Ok(Next::Step) => {}
                Ok(Next::Wait) => return Ok(used),
                Err(trouble) => {
                    self.last_words(outgoing);
                    return Err(trouble);
                }
            }
        }
    }

    /// The alert that was made of an error.
    fn last_words(&mut self, outgoing: &mut Vec<u8>) {
        // Only what is queued is asked for: otherwise the same bytes would be looked at again.
        loop {
            let encoded = match &mut self.end {
                End::Client(c) if c.wants_write() => step(c.process_tls_records(&mut []), &mut Vec::new(), outgoing).1,
                End::Server(c) if c.wants_write() => step(c.process_tls_records(&mut []), &mut Vec::new(), outgoing).1,
                _ => return,
            };
            if !matches!(encoded, Ok(Next::Step)) {
                return;
            }
        }
    }
}

impl fmt::Debug for Veil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Veil(…)")
    }
}

/// Deals with one state; how many bytes were used, and what follows.
fn step<Data>(
    UnbufferedStatus { discard, state, .. }: UnbufferedStatus<'_, '_, Data>,
    plain: &mut Vec<u8>,
    outgoing: &mut Vec<u8>,
) -> (usize, Result<Next, Trouble>) {
    let next = match state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            while let Some(Ok(record)) = traffic.next_record() {
                plain.extend_from_slice(record.payload);
            }
            Ok(Next::Step)
        }
        Ok(ConnectionState::EncodeTlsData(data)) => encode(data, outgoing).map(|()| Next::Step),
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Next::Step)
        }
        Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => Ok(Next::Wait),
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Err(Trouble::Closed),
        // No early data is offered, and there are no other states.
        Ok(_) => Err(Trouble::Tls("a state that is not known".into())),
        Err(error) => Err(error.into()),
    };
    (discard, next)
}

/// Deals with one state while plaintext waits; whether it was sealed.
fn seal<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &[u8],
    outgoing: &mut Vec<u8>,
) -> (Result<(), Trouble>, bool) {
    match status.state {
        Ok(ConnectionState::WriteTraffic(traffic)) => (encrypt(traffic, plain, outgoing), true),
        Ok(ConnectionState::EncodeTlsData(data)) => (encode(data, outgoing), false),
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            (Ok(()), false)
        }
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => (Err(Trouble::Closed), false),
        Ok(_) => (Err(Trouble::Tls("nothing can be sealed yet".into())), false),
        Err(error) => (Err(error.into()), false),
    }
}

fn encrypt<Data>(mut traffic: WriteTraffic<'_, Data>, plain: &[u8], outgoing: &mut Vec<u8>) -> Result<(), Trouble> {
    let start = outgoing.len();
    let mut room = plain.len() + plain.len().div_ceil(FRAGMENT_BYTES_MAX) * RECORD_OVERHEAD_BYTES;
    loop {
        outgoing.resize(start + room, 0);
        match traffic.encrypt(plain, &mut outgoing[start..]) {
            Ok(written) => {
                outgoing.truncate(start + written);
                return Ok(());
            }
            // New keys are told of first.
            Err(EncryptError::InsufficientSize(more)) if more.required_size > room => room = more.required_size,
            Err(error) => {
                outgoing.truncate(start);
                return Err(Trouble::Tls(error.to_string()));
            }
        }
    }
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) -> Result<(), Trouble> {
    let start = outgoing.len();
    let internal = |error: EncodeError| Trouble::Tls(error.to_string());
    let room = match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(needed)) => needed.required_size,
        Err(error) => return Err(internal(error)),
        Ok(_) => return Ok(()),
    };
    outgoing.resize(start + room, 0);
    data.encode(&mut outgoing[start..]).map(|_| ()).map_err(internal)
}
