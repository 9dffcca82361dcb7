//! Frames between two processes of a run: four bytes of length, and a message in JSON that is sealed (ChaCha20-Poly1305, RFC 8439) under the
//! key of its direction. The nonce counts frames, so one that is dropped, repeated or moved ends the connection.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex, PoisonError},
};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use serde::{Serialize, de::DeserializeOwned};

use super::JoinError;
use crate::limits::JOIN_FRAME_BYTES_MAX;

/// What seals frames of one direction.
#[derive(Debug)]
pub(super) struct Sealing {
    key: LessSafeKey,
    frames: u64,
}

impl Sealing {
    /// Under this key, from the first frame on.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the algorithm's keys have 32 bytes");
        Self { key: LessSafeKey::new(key), frames: 0 }
    }

    /// Seals the next frame.
    pub(super) fn seal(&mut self, plain: &[u8]) -> Result<Vec<u8>, JoinError> {
        let mut bytes = plain.to_vec();
        let nonce = self.nonce();
        let sealed = self.key.seal_in_place_append_tag(nonce, Aad::empty(), &mut bytes);
        sealed.map(|()| bytes).map_err(|_| JoinError::Damaged)
    }

    /// Opens the next frame.
    pub(super) fn open(&mut self, mut sealed: Vec<u8>) -> Result<Vec<u8>, JoinError> {
        let nonce = self.nonce();
        let plain = self.key.open_in_place(nonce, Aad::empty(), &mut sealed).map_err(|_| JoinError::Damaged)?.len();
        sealed.truncate(plain);
        Ok(sealed)
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.frames.to_be_bytes());
        self.frames += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// The way out of a connection; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Outward(Arc<Mutex<(TcpStream, Sealing)>>);

/// The way in.
#[derive(Debug)]
pub(super) struct Inward<R> {
    stream: R,
    sealing: Sealing,
}

impl Outward {
    pub(super) fn new(stream: TcpStream, sealing: Sealing) -> Self {
        Self(Arc::new(Mutex::new((stream, sealing))))
    }

    /// Sends a message; it is with the system then.
    pub(super) fn send(&self, message: &impl Serialize) -> Result<(), JoinError> {
        let mut way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (stream, sealing) = &mut *way;
        stream.write_all(&frame(sealing, message)?)?;
        Ok(())
    }

    /// Nothing more is sent; what was is still delivered.
    pub(super) fn end(&self) {
        // One that is gone has ended.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).0.shutdown(std::net::Shutdown::Write);
    }
}

impl<R: Read> Inward<R> {
    pub(super) fn new(stream: R, sealing: Sealing) -> Self {
        Self { stream, sealing }
    }

    /// Waits for a message.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Result<T, JoinError> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > JOIN_FRAME_BYTES_MAX {
            return Err(JoinError::Long(length));
        }
        let mut sealed = Vec::new();
        // Memory is taken as bytes come, not as they are announced.
        if (&mut self.stream).take(length as u64).read_to_end(&mut sealed)? < length {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        serde_json::from_slice(&self.sealing.open(sealed)?).map_err(|error| JoinError::Message(error.to_string()))
    }
}

/// A message as it is sent.
fn frame(sealing: &mut Sealing, message: &impl Serialize) -> Result<Vec<u8>, JoinError> {
    let plain = serde_json::to_vec(message).map_err(|error| JoinError::Message(error.to_string()))?;
    let sealed = sealing.seal(&plain)?;
    if sealed.len() > JOIN_FRAME_BYTES_MAX {
        return Err(JoinError::Long(sealed.len()));
    }
    Ok([&(sealed.len() as u32).to_be_bytes()[..], &sealed].concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn frames(texts: &[String]) -> Vec<Vec<u8>> {
        let mut sealing = Sealing::new(&KEY);
        texts.iter().map(|text| frame(&mut sealing, text).unwrap()).collect()
    }

    fn read(bytes: &[u8]) -> Vec<Result<String, JoinError>> {
        let mut inward = Inward::new(bytes, Sealing::new(&KEY));
        let mut read = Vec::new();
        while read.last().is_none_or(Result::is_ok) {
            read.push(inward.next());
        }
        read
    }

    proptest! {
        #[test]
        fn messages_are_read_as_they_were_sent(texts in prop::collection::vec(".{0,200}", 0..5)) {
            let read = read(&frames(&texts).concat());
            let whole: Vec<_> = read.iter().filter_map(|text| text.as_ref().ok().cloned()).collect();
            prop_assert_eq!(whole, texts);
            prop_assert!(matches!(read.last(), Some(Err(JoinError::Io(_)))));
        }

        #[test]
        fn a_byte_that_is_another_ends_the_connection(
            texts in prop::collection::vec(".{0,50}", 1..5),
            at in any::<prop::sample::Index>(),
            flip in 1u8..,
        ) {
            let mut bytes = frames(&texts).concat();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let read = read(&bytes);
            prop_assert!(read.len() <= texts.len() && read.last().is_some_and(Result::is_err));
        }

        #[test]
        fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(read(&noise)[0].is_err());
        }
    }

    #[test]
    fn a_frame_that_is_repeated_dropped_or_moved_is_refused() {
        let frames = frames(&["one".into(), "two".into(), "three".into()]);
        for order in [&[0, 0][..], &[1], &[0, 2], &[1, 0]] {
            let bytes: Vec<u8> = order.iter().flat_map(|at| frames[*at].clone()).collect();
            assert!(matches!(read(&bytes).last(), Some(Err(JoinError::Damaged))), "{order:?}");
        }
    }

    #[test]
    fn a_frame_longer_than_any_is_refused_before_it_is_read() {
        assert!(matches!(read(&[0xff; 4])[0], Err(JoinError::Long(0xffff_ffff))));
    }
}
