//! Numbered pushes as link records and as frames.

use std::sync::LazyLock;

use pushgate_loadgen::stamp::{Addressee, Stamp};
use pushgate_protocol::{
    ids::Epoch,
    link::{All, Lane, OutboxPolicy, Place, Push, Target, ToGateway},
};

use crate::installation::APP;

/// The run of all messages of this program.
pub const RUN: u32 = 0xbe_c4;
/// The JSON text of a push that counts as one of 128 bytes: head and tail, with a number of three digits.
pub const PUSH_BYTES: usize = 128;
/// What the gateway puts before the tail, with such a number.
const HEAD_BYTES: usize = r#"{"type":"push","seq":100,"replay":false,"#.len();

/// What bodies are made of: words as often as they come, of a vocabulary that a shop's messages might have.
static WORDS: LazyLock<String> = LazyLock::new(|| {
    const VOCABULARY: &str = "your order has been shipped and will arrive on Monday between nine twelve o'clock a new message from Maria \
        you have three unread comments the price of item your list went down by ten percent today only until midnight please \
        confirm this sign in was Berlin Germany code expires minutes payment received thank for shopping with us meeting starts \
        room changed to second floor flight gate is now boarding weather warning heavy rain expected tonight stay safe";
    let vocabulary: Vec<&str> = VOCABULARY.split_whitespace().collect();
    let (mut words, mut state) = (String::new(), 11_u64);
    while words.len() < BODY_BYTES_MAX {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        words.push_str(vocabulary[(state >> 33) as usize % vocabulary.len()]);
        words.push(' ');
    }
    words
});
/// Longest body.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A push to be written.
#[derive(Debug, Clone, Copy)]
pub struct Numbered {
    /// The run that sends it.
    pub run: u32,
    /// Whom it is for.
    pub to: Addressee,
    /// Its number there.
    pub n: u32,
    /// When it was to be sent, Unix microseconds.
    pub planned_us: u64,
    /// Bytes of the frame's JSON text.
    pub bytes: usize,
}

impl Numbered {
    /// The message id.
    pub fn id(&self) -> String {
        let stamp = Stamp { run: self.run, to: self.to, lane: Lane::Normal, n: self.n, planned_us: self.planned_us };
        String::from_utf8_lossy(&stamp.write()).into_owned()
    }

    /// What all sessions share.
    pub fn tail(&self) -> String {
        let bare = format!(r#""id":"{}","body":""}}"#, self.id()).len();
        let pad = self.bytes.saturating_sub(HEAD_BYTES + bare);
        format!(r#""id":"{}","body":"{}"}}"#, self.id(), &WORDS[..pad])
    }

    /// Appends the link record for one user.
    pub fn encode(&self, reference: u64, user: &str, ack: bool, out: &mut Vec<u8>) {
        ToGateway::Push(Push {
            reference,
            lane: Lane::Normal,
            ack,
            replay: false,
            policy: OutboxPolicy::Close,
            collapse: None,
            place: Place::NONE,
            platforms: 0,
            epoch: Epoch::default(),
            expires_ms: u64::MAX,
            app: APP,
            user,
            target: Target::User,
            id: &self.id(),
            tail: self.tail().as_bytes(),
        })
        .encode(out);
    }

    /// Appends the one link record for everybody; with an acknowledgement as a push of the app's stream, which is numbered
    /// from 1.
    pub fn encode_all(&self, ack: bool, out: &mut Vec<u8>) {
        let position = u64::from(self.n) + 1;
        ToGateway::All(All {
            lane: Lane::Normal,
            ack,
            policy: OutboxPolicy::Close,
            collapse: None,
            platforms: 0,
            expires_ms: u64::MAX,
            place: if ack { Place { position, before: position - 1 } } else { Place::NONE },
            app: APP,
            id: &self.id(),
            exclude: Vec::new(),
            tail: self.tail().as_bytes(),
        })
        .encode(out);
    }

    /// The frame's JSON text as a session with three-digit numbers gets it.
    pub fn text(&self) -> String {
        format!(r#"{{"type":"push","seq":100,"replay":false,{}"#, self.tail())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_has_its_length_and_is_json() {
        for bytes in [PUSH_BYTES, 1_024] {
            let text = Numbered { run: RUN, to: Addressee::All, n: 7, planned_us: 1, bytes }.text();
            assert_eq!(text.len(), bytes);
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(Stamp::parse(json["id"].as_str().unwrap()).unwrap().n, 7);
        }
    }
}
