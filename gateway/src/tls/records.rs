//! The records of one connection after its handshake (RFC 8446 section 5, RFC 5246 section 6): bytes in, plaintext in
//! place; plaintext in, records in place. No socket, no clock.
//!
//! Bounds: a record longer than the version allows ends the connection at its header; so do [`QUIET_RECORDS_MAX`] records
//! in a row that carry no data, a key used up under TLS 1.2, and everything that RFC 8446 forbids after a handshake. A
//! renegotiation is refused. After an error nothing may be opened any more.

use std::ops::Range;

use ring::aead::{Aad, Nonce};

use super::{
    alert::{Alert, Fault},
    keys::{Agreed, EXPLICIT_NONCE_BYTES, Keys, Side, Suite, TAG_BYTES},
    partial::{Partial, Partials},
};
use crate::limits::TLS_QUIET_RECORDS_MAX as QUIET_RECORDS_MAX;

/// Length of a record's header, bytes.
pub const HEADER_BYTES: usize = 5;
/// Most plaintext in a record, bytes.
pub const FRAGMENT_BYTES_MAX: usize = 1 << 14;
/// What TLS 1.3 allows a record to be longer than its plaintext: type, padding, tag.
const EXPANSION_V13: usize = 256;
/// What TLS 1.2 allows.
const EXPANSION_V12: usize = 2048;

pub(super) const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
const V12: [u8; 2] = [3, 3];

const KEY_UPDATE: u8 = 24;

/// We owe the peer a KeyUpdate, to be sent before more data (RFC 8446 section 4.6.3).
const OWES_UPDATE: u8 = 1 << 0;

/// One connection's records.
pub struct Records {
    keys: Keys,
    /// The beginning of a record whose rest has not come; none for an idle connection.
    partial: Option<Box<Partial>>,
    suite: Suite,
    flags: u8,
    /// Records in a row that brought no data.
    quiet: u8,
    /// For whoever holds the connection.
    pub(super) mark: u8,
}

/// What [`Records::open`] did.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened {
    /// Bytes used, from the front.
    pub used: usize,
    /// What they were; `None`: no whole record, they are kept until its rest comes.
    pub event: Option<Event>,
}

/// What a record was.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Data, in place: at these bytes of those given.
    Data(Range<usize>),
    /// Data that came in pieces, in a buffer of its own.
    Joined(Box<Partial>, Range<usize>),
    /// Something that is dealt with.
    Handled,
    /// close_notify: the peer sends nothing more.
    Closed,
}

/// Under TLS 1.2 the key has protected as many records as it may: the connection must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUsedUp;

impl Records {
    /// From what a handshake agreed on.
    pub fn new(suite: Suite, receive: &Agreed, send: &Agreed) -> Self {
        Self { keys: Keys::new(suite, receive, send), partial: None, suite, flags: 0, quiet: 0, mark: 0 }
    }

    /// Version and cipher.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Takes at most one record from the front of `bytes`. Call it until all are used.
    ///
    /// # Errors
    /// The connection must end, with the alert that the fault names.
    pub fn open(&mut self, bytes: &mut [u8], spare: &mut Partials) -> Result<Opened, Fault> {
        if self.partial.is_some() {
            return self.join(bytes, spare);
        }
        let whole = match bytes.first_chunk::<HEADER_BYTES>() {
            Some(header) => HEADER_BYTES + self.length(header)?,
            None => usize::MAX,
        };
        if bytes.len() < whole {
            let used = bytes.len();
            if used > 0 {
                self.partial = Some(spare.take(bytes));
            }
            return Ok(Opened { used, event: None });
        }
        let (kind, content) = self.decrypt(&mut bytes[..whole])?;
        let event = match self.interpret(kind, &bytes[content.clone()])? {
            Some(event) => event,
            None => Event::Data(content),
        };
        Ok(Opened { used: whole, event: Some(event) })
    }

    /// Adds to the record that has begun.
    fn join(&mut self, bytes: &[u8], spare: &mut Partials) -> Result<Opened, Fault> {
        let Some(mut partial) = self.partial.take() else { return Ok(Opened { used: 0, event: None }) };
        let mut used = partial.fill(bytes, HEADER_BYTES);
        let mut whole = usize::MAX;
        if let Some(header) = partial.bytes.first_chunk::<HEADER_BYTES>() {
            whole = HEADER_BYTES + self.length(header)?;
            used += partial.fill(&bytes[used..], whole);
        }
        if partial.bytes.len() < whole {
            self.partial = Some(partial);
            return Ok(Opened { used, event: None });
        }
        let (kind, content) = self.decrypt(&mut partial.bytes)?;
        let event = match self.interpret(kind, &partial.bytes[content.clone()])? {
            Some(event) => {
                spare.give_back(partial);
                event
            }
            None => Event::Joined(partial, content),
        };
        Ok(Opened { used, event: Some(event) })
    }

    /// The length that a header tells, if it may come now.
    fn length(&self, header: &[u8; HEADER_BYTES]) -> Result<usize, Fault> {
        let [kind, version @ .., high, low] = *header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if self.suite.is_v13() {
            // RFC 8446 section 5: everything is protected now and looks like data; the version is to be ignored.
            if kind != DATA {
                return Err(Fault::send(Alert::UnexpectedMessage));
            }
        } else {
            if !matches!(kind, ALERT | HANDSHAKE | DATA) {
                return Err(Fault::send(Alert::UnexpectedMessage));
            }
            if version != V12 {
                return Err(Fault::send(Alert::ProtocolVersion));
            }
        }
        let expansion = if self.suite.is_v13() { EXPANSION_V13 } else { EXPANSION_V12 };
        if length > FRAGMENT_BYTES_MAX + expansion {
            return Err(Fault::send(Alert::RecordOverflow));
        }
        Ok(length)
    }

    /// Decrypts a whole record in place. Returns what it is and where its content lies.
    fn decrypt(&mut self, record: &mut [u8]) -> Result<(u8, Range<usize>), Fault> {
        let bad = Fault::send(Alert::BadRecordMac);
        let seq = self.keys.seq(Side::Receive);
        let next = seq.checked_add(1).ok_or(Fault::send(Alert::InternalError))?;
        let (header, body) = record.split_first_chunk_mut::<HEADER_BYTES>().ok_or(bad)?;
        let explicit = self.suite.explicit_nonce_bytes();
        if body.len() < explicit + TAG_BYTES + usize::from(self.suite.is_v13()) {
            return Err(bad);
        }
        let mut nonce = self.keys.nonce(Side::Receive);
        if explicit > 0 {
            nonce = self.keys.iv(Side::Receive);
            nonce[4..].copy_from_slice(&body[..explicit]);
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let cipher = self.keys.cipher(self.suite, Side::Receive);
        let sealed = &mut body[explicit..];
        let mut kind = header[0];
        let opened = if self.suite.is_v13() {
            cipher.open_in_place(nonce, Aad::from(*header), sealed)
        } else {
            let length = sealed.len() - TAG_BYTES;
            cipher.open_in_place(nonce, Aad::from(v12_aad(seq, kind, length)), sealed)
        };
        let mut content: &[u8] = opened.map_err(|_| bad)?;
        self.keys.set_seq(Side::Receive, next);
        if self.suite.is_v13() {
            if content.len() > FRAGMENT_BYTES_MAX + 1 {
                return Err(Fault::send(Alert::RecordOverflow));
            }
            // The content's type stands before the padding (RFC 8446 section 5.4).
            let at = content.iter().rposition(|b| *b != 0).ok_or(Fault::send(Alert::UnexpectedMessage))?;
            kind = content[at];
            content = &content[..at];
        }
        if content.len() > FRAGMENT_BYTES_MAX {
            return Err(Fault::send(Alert::RecordOverflow));
        }
        let start = HEADER_BYTES + explicit;
        Ok((kind, start..start + content.len()))
    }

    /// Deals with what is not data; `None`: it is data.
    fn interpret(&mut self, kind: u8, content: &[u8]) -> Result<Option<Event>, Fault> {
        match kind {
            DATA if !content.is_empty() => {
                self.quiet = 0;
                return Ok(None);
            }
            DATA => {}
            ALERT => match (self.suite.is_v13(), content) {
                (_, [_, 0]) => return Ok(Some(Event::Closed)),
                // user_canceled says nothing; under TLS 1.2, no warning does.
                (true, [_, 90]) | (false, [1, _]) => {}
                (_, [_, alert]) => return Err(Fault::Told(*alert)),
                _ => return Err(Fault::send(Alert::DecodeError)),
            },
            HANDSHAKE if self.suite.is_v13() => self.key_update(content)?,
            HANDSHAKE => return Err(Fault::Renegotiation),
            _ => return Err(Fault::send(Alert::UnexpectedMessage)),
        }
        self.quiet += 1;
        if self.quiet > QUIET_RECORDS_MAX {
            return Err(Fault::TooQuiet);
        }
        Ok(Some(Event::Handled))
    }

    /// The one message that a client may send: nothing was asked of it that another would answer. As keys change with it, it
    /// must end its record (RFC 8446 section 5.1); one cut into several records is refused, which nobody sends.
    fn key_update(&mut self, content: &[u8]) -> Result<(), Fault> {
        let request = match content {
            [KEY_UPDATE, 0, 0, 1, request @ (0 | 1)] => *request,
            [KEY_UPDATE, 0, 0, 1, _] => return Err(Fault::send(Alert::IllegalParameter)),
            _ => return Err(Fault::send(Alert::UnexpectedMessage)),
        };
        self.keys.update(self.suite, Side::Receive);
        if request == 1 {
            self.flags |= OWES_UPDATE;
        }
        Ok(())
    }

    /// Bytes to leave free before the plaintext that [`Self::seal`] will find.
    pub fn prefix_bytes(&self) -> usize {
        HEADER_BYTES + self.suite.explicit_nonce_bytes()
    }

    /// Makes records of the plaintext that stands in `buffer` behind `start` and [`Self::prefix_bytes`], in place where it
    /// fits one record. Without plaintext nothing stays behind `start`.
    ///
    /// # Errors
    /// The key is used up; no plaintext stays behind `start`.
    pub fn seal(&mut self, buffer: &mut Vec<u8>, start: usize) -> Result<(), KeyUsedUp> {
        let content = start + self.prefix_bytes();
        if buffer.len() <= content {
            buffer.truncate(start);
            return Ok(());
        }
        let fits = buffer.len() - content <= FRAGMENT_BYTES_MAX;
        if fits && !self.must_update() {
            self.encrypt(buffer, start, DATA);
            return Ok(());
        }
        let plain = buffer.split_off(content);
        buffer.truncate(start);
        for fragment in plain.chunks(FRAGMENT_BYTES_MAX) {
            if self.must_update() {
                self.update(buffer)?;
            }
            self.append(buffer, DATA, fragment);
        }
        Ok(())
    }

    /// `plain` in records.
    ///
    /// # Errors
    /// The key is used up.
    pub fn sealed(&mut self, plain: &[u8]) -> Result<Vec<u8>, KeyUsedUp> {
        let mut buffer = Vec::with_capacity(self.prefix_bytes() + plain.len() + TAG_BYTES + 1);
        buffer.resize(self.prefix_bytes(), 0);
        buffer.extend_from_slice(plain);
        self.seal(&mut buffer, 0)?;
        Ok(buffer)
    }

    /// Appends an alert.
    pub fn alert(&mut self, buffer: &mut Vec<u8>, alert: Alert) {
        let level = if alert.is_warning() { 1 } else { 2 };
        if self.keys.seq(Side::Send) < u64::MAX {
            self.append(buffer, ALERT, &[level, alert as u8]);
        }
    }

    /// Asks the peer for new keys with the next data if `ask`, and changes ours: as a client may, and never a server by itself.
    pub(super) fn change_keys(&mut self, buffer: &mut Vec<u8>, ask: bool) {
        self.append(buffer, HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, ask.into()]);
        self.keys.update(self.suite, Side::Send);
    }

    /// Has it count as if so many records had gone this way.
    pub(super) fn pretend(&mut self, side: Side, records: u64) {
        self.keys.set_seq(side, records);
    }

    fn must_update(&self) -> bool {
        self.flags & OWES_UPDATE != 0 || self.keys.seq(Side::Send) >= self.suite.records_max()
    }

    /// Tells the peer that our key changes, and changes it.
    fn update(&mut self, buffer: &mut Vec<u8>) -> Result<(), KeyUsedUp> {
        if !self.suite.is_v13() {
            return Err(KeyUsedUp);
        }
        self.append(buffer, HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 0]);
        self.keys.update(self.suite, Side::Send);
        self.flags &= !OWES_UPDATE;
        Ok(())
    }

    /// Appends a record of any kind.
    pub(super) fn append(&mut self, buffer: &mut Vec<u8>, kind: u8, content: &[u8]) {
        let start = buffer.len();
        buffer.resize(start + self.prefix_bytes(), 0);
        buffer.extend_from_slice(content);
        self.encrypt(buffer, start, kind);
    }

    /// Encrypts in place what stands behind the prefix, up to the end of `buffer`, and adds type and tag.
    fn encrypt(&mut self, buffer: &mut Vec<u8>, start: usize, kind: u8) {
        let seq = self.keys.seq(Side::Send);
        let nonce = self.keys.nonce(Side::Send);
        let content = start + self.prefix_bytes();
        let length = buffer.len() - content;
        let v13 = self.suite.is_v13();
        if v13 {
            buffer.push(kind);
        }
        let body = (buffer.len() - start - HEADER_BYTES + TAG_BYTES) as u16;
        let header = [if v13 { DATA } else { kind }, V12[0], V12[1], (body >> 8) as u8, body as u8];
        buffer[start..start + HEADER_BYTES].copy_from_slice(&header);
        if self.suite.explicit_nonce_bytes() > 0 {
            buffer[start + HEADER_BYTES..content].copy_from_slice(&nonce[4..4 + EXPLICIT_NONCE_BYTES]);
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let cipher = self.keys.cipher(self.suite, Side::Send);
        let plain = &mut buffer[content..];
        let tag = if v13 {
            cipher.seal_in_place_separate_tag(nonce, Aad::from(header), plain)
        } else {
            cipher.seal_in_place_separate_tag(nonce, Aad::from(v12_aad(seq, kind, length)), plain)
        };
        let tag = tag.expect("a record is far shorter than the cipher allows");
        buffer.extend_from_slice(tag.as_ref());
        self.keys.set_seq(Side::Send, seq.wrapping_add(1));
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Records {{ {:?}, [secret] }}", self.suite)
    }
}

/// RFC 5246 section 6.2.3.3.
fn v12_aad(seq: u64, kind: u8, length: usize) -> [u8; 13] {
    let mut aad = [0; 13];
    aad[..8].copy_from_slice(&seq.to_be_bytes());
    aad[8] = kind;
    aad[9..11].copy_from_slice(&V12);
    aad[11..].copy_from_slice(&(length as u16).to_be_bytes());
    aad
}

#[cfg(test)]
pub(super) mod tests;
