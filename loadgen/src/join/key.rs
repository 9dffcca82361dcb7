//! The key that the processes of a run share, and how two of them prove to each other that they have it.
//!
//! Each side sends a fresh X25519 key (RFC 7748). What they agree on and the shared key make, by HKDF (RFC 5869), one key for each proof and one for each
//! direction; so the key itself is never sent, a listener cannot try guesses, and what was recorded cannot be read later by who learns the key.
//! A proof is an HMAC of both fresh keys, compared in constant time. The joiner proves first: who does not have the key learns nothing.

use std::{
    fmt,
    io::{Read, Write},
};

use ring::{
    agreement::{self, EphemeralPrivateKey, UnparsedPublicKey, X25519},
    hkdf, hmac,
    rand::SystemRandom,
};

use super::{JoinError, sealed::Sealing};
use crate::limits::JOIN_KEY_BYTES_MIN;

/// Says what is spoken, and in which form.
const MAGIC: &[u8; 8] = b"pgjoin\x00\x01";
const PUBLIC_BYTES: usize = 32;
const PROOF_BYTES: usize = 32;
/// The leader's answer to a proof.
const WELCOME: u8 = 1;
const WRONG: u8 = 0;

/// A key that all processes of a run have.
#[derive(Clone)]
pub struct SharedKey(Vec<u8>);

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(…)")
    }
}

impl SharedKey {
    /// A key as it stands in a file or a variable; white space around it is ignored.
    pub fn parse(text: &str) -> Result<Self, JoinError> {
        let text = text.trim();
        match text.len() {
            bytes if bytes < JOIN_KEY_BYTES_MIN => Err(JoinError::ShortKey(bytes)),
            _ => Ok(Self(text.as_bytes().to_vec())),
        }
    }
}

/// Who is at this end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Leader,
    Joiner,
}

/// What both ends have made of their keys.
struct Agreed {
    transcript: Vec<u8>,
    leader_proof: hmac::Key,
    joiner_proof: hmac::Key,
    to_joiner: [u8; 32],
    to_leader: [u8; 32],
}

/// The leader's part; answers how frames are sealed in both directions, this side's first.
pub(super) fn welcome(stream: &mut (impl Read + Write), key: &SharedKey) -> Result<(Sealing, Sealing), JoinError> {
    let (mine, public) = fresh()?;
    stream.write_all(&[&MAGIC[..], &public].concat())?;
    let theirs = hello(stream)?;
    let mut proof = [0; PROOF_BYTES];
    stream.read_exact(&mut proof)?;
    let agreed = agree(Side::Leader, mine, &public, &theirs, key)?;
    if hmac::verify(&agreed.joiner_proof, &agreed.transcript, &proof).is_err() {
        stream.write_all(&[WRONG])?;
        return Err(JoinError::WrongKey);
    }
    let proof = hmac::sign(&agreed.leader_proof, &agreed.transcript);
    stream.write_all(&[&[WELCOME], proof.as_ref()].concat())?;
    Ok((Sealing::new(&agreed.to_joiner), Sealing::new(&agreed.to_leader)))
}

/// The joiner's part.
pub(super) fn greet(stream: &mut (impl Read + Write), key: &SharedKey) -> Result<(Sealing, Sealing), JoinError> {
    let (mine, public) = fresh()?;
    let theirs = hello(stream)?;
    let agreed = agree(Side::Joiner, mine, &public, &theirs, key)?;
    let proof = hmac::sign(&agreed.joiner_proof, &agreed.transcript);
    stream.write_all(&[&MAGIC[..], &public, proof.as_ref()].concat())?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    if answer != [WELCOME] {
        return Err(JoinError::WrongKey);
    }
    let mut proof = [0; PROOF_BYTES];
    stream.read_exact(&mut proof)?;
    hmac::verify(&agreed.leader_proof, &agreed.transcript, &proof).map_err(|_| JoinError::WrongKey)?;
    Ok((Sealing::new(&agreed.to_leader), Sealing::new(&agreed.to_joiner)))
}

fn fresh() -> Result<(EphemeralPrivateKey, [u8; PUBLIC_BYTES]), JoinError> {
    let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).map_err(|_| JoinError::Random)?;
    let public = private.compute_public_key().map_err(|_| JoinError::Random)?;
    let public = public.as_ref().try_into().map_err(|_| JoinError::Random)?;
    Ok((private, public))
}

/// Reads who is there, and its fresh key.
fn hello(stream: &mut impl Read) -> Result<[u8; PUBLIC_BYTES], JoinError> {
    let mut magic = [0; MAGIC.len()];
    stream.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Err(JoinError::Stranger);
    }
    let mut public = [0; PUBLIC_BYTES];
    stream.read_exact(&mut public)?;
    Ok(public)
}

fn agree(
    side: Side,
    mine: EphemeralPrivateKey,
    public: &[u8; PUBLIC_BYTES],
    theirs: &[u8; PUBLIC_BYTES],
    key: &SharedKey,
) -> Result<Agreed, JoinError> {
    let (leader, joiner) = if side == Side::Leader { (public, theirs) } else { (theirs, public) };
    let transcript = [&MAGIC[..], leader, joiner].concat();
    // A key that leads nowhere is refused by the agreement.
    let secret = agreement::agree_ephemeral(mine, &UnparsedPublicKey::new(&X25519, theirs), |secret| {
        [secret, &key.0[..]].concat()
    });
    let secret = secret.map_err(|_| JoinError::Stranger)?;
    let root = hkdf::Salt::new(hkdf::HKDF_SHA256, &transcript).extract(&secret);
    let derive = |what: &[u8]| {
        let mut out = [0; 32];
        let filled = root.expand(&[what], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut out));
        filled.map(|()| out).map_err(|_| JoinError::Random)
    };
    Ok(Agreed {
        leader_proof: hmac::Key::new(hmac::HMAC_SHA256, &derive(b"leader's proof")?),
        joiner_proof: hmac::Key::new(hmac::HMAC_SHA256, &derive(b"joiner's proof")?),
        to_joiner: derive(b"to the joiner")?,
        to_leader: derive(b"to the leader")?,
        transcript,
    })
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixStream, thread};

    use super::*;

    type Met = Result<(Sealing, Sealing), JoinError>;

    fn key(text: &str) -> SharedKey {
        SharedKey::parse(text).unwrap()
    }

    fn meet(leader: &str, joiner: &str) -> (Met, Met) {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        let leader = key(leader);
        let leading = thread::spawn(move || welcome(&mut here, &leader));
        let joined = greet(&mut there, &key(joiner));
        (leading.join().unwrap(), joined)
    }

    #[test]
    fn who_has_the_key_is_welcome_and_both_ends_read_each_other() {
        let (leader, joiner) = meet("0123456789abcdef", " 0123456789abcdef\n");
        let ((mut out, mut inward), (mut theirs, mut their_inward)) = (leader.unwrap(), joiner.unwrap());
        for text in ["first", "second"] {
            let sealed = out.seal(text.as_bytes()).unwrap();
            assert_eq!(their_inward.open(sealed).unwrap(), text.as_bytes());
            let sealed = theirs.seal(text.as_bytes()).unwrap();
            assert_eq!(inward.open(sealed).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn another_key_is_refused_and_both_ends_say_so() {
        let (leader, joiner) = meet("0123456789abcdef", "0123456789abcdeg");
        assert!(matches!(leader, Err(JoinError::WrongKey)) && matches!(joiner, Err(JoinError::WrongKey)));
        assert!(matches!(SharedKey::parse(" short \n"), Err(JoinError::ShortKey(5))));
    }

    #[test]
    fn neither_end_proves_anything_to_one_that_repeats_what_it_hears() {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        let joining = thread::spawn(move || greet(&mut here, &key("0123456789abcdef")));
        // A leader that has the joiner's proof sent back as its own.
        let (_, public) = fresh().unwrap();
        there.write_all(&[&MAGIC[..], &public].concat()).unwrap();
        let mut said = [0; MAGIC.len() + PUBLIC_BYTES + PROOF_BYTES];
        there.read_exact(&mut said).unwrap();
        there.write_all(&[&[WELCOME], &said[MAGIC.len() + PUBLIC_BYTES..]].concat()).unwrap();
        assert!(matches!(joining.join().unwrap(), Err(JoinError::WrongKey)));
    }

    #[test]
    fn another_protocol_is_told_apart() {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        there.write_all(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n").unwrap();
        assert!(matches!(welcome(&mut here, &key("0123456789abcdef")), Err(JoinError::Stranger)));
    }
}
