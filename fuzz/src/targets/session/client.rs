//! A client's ear: it takes a server's bytes as they come and holds the server to what it promises.

use pushgate_protocol::ws::{Decoder, Event, Rules};
use serde_json::Value;

/// One client.
pub(super) struct Client {
    decoder: Decoder,
    rules: Rules,
    /// Number of the last push or gap.
    last: u64,
    closed: bool,
}

impl Client {
    /// That takes deflated messages or not.
    pub(super) fn new(deflate: bool) -> Self {
        let rules = Rules { masked: false, message_bytes_max: usize::MAX, deflate };
        Self { decoder: Decoder::default(), rules, last: 0, closed: false }
    }

    /// Bytes come.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        let (mut rest, mut at) = (bytes.to_vec(), 0);
        loop {
            let (used, event) =
                self.decoder.next(&self.rules, &mut rest[at..]).expect("the server keeps to the protocol");
            let Some(event) = event else {
                // The decoder holds what it has of a frame.
                break;
            };
            at += used;
            assert!(!self.closed, "nothing follows a close");
            match event {
                Event::Text(text) => {
                    if let Ok(frame) = serde_json::from_str::<Value>(text) {
                        self.last = number(&frame, self.last);
                    }
                }
                Event::Close(..) => self.closed = true,
                _ => {}
            }
        }
    }
}

/// The last number, after this frame.
fn number(frame: &Value, last: u64) -> u64 {
    match frame["type"].as_str() {
        Some("push") => {
            assert_eq!(frame["seq"].as_u64(), Some(last + 1), "no number is missing or repeated");
            last + 1
        }
        Some("gap") => {
            assert_eq!(frame["from"].as_u64(), Some(last + 1), "a gap stands in its place");
            frame["to"].as_u64().filter(|to| *to > last).expect("a gap goes forward")
        }
        _ => last,
    }
}
