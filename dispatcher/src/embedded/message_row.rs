//! The encodings of a message's rows on the embedded store: its head, a recipient, a reservation.

use pushgate_protocol::{
    ids::{DeviceId, UserId},
    link::Lane,
    result::{Recipient, State},
};

use crate::seams::{RecipientView, StateEntry};

const VERSION: u8 = 1;
/// Of a head that says when the message was taken back.
const HEAD_RECALLED: u8 = 2;
const STATES: usize = State::ALL.len();

/// What is counted of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Recipients by state, in the order of [`State::ALL`].
    pub(super) counts: [u64; STATES],
    /// Recipient rows.
    pub(super) rows: u64,
    /// The last change, Unix milliseconds.
    pub(super) touched_ms: u64,
    /// When it was taken back, Unix milliseconds.
    pub(super) recalled_ms: Option<u64>,
}

/// An idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reserved {
    /// Whether its append is durable.
    pub(super) confirmed: bool,
    /// The lane asked for.
    pub(super) lane: Lane,
    /// When it was reserved, Unix milliseconds.
    pub(super) time_ms: u64,
    /// Hash of the request.
    pub(super) body: [u8; 16],
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let numbers = [self.rows, self.touched_ms];
        let numbers = numbers.iter().chain(&self.counts).chain(&self.recalled_ms).flat_map(|n| n.to_le_bytes());
        std::iter::once(if self.recalled_ms.is_some() { HEAD_RECALLED } else { VERSION }).chain(numbers).collect()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let recalled = match *version {
            VERSION => 0,
            HEAD_RECALLED => 1,
            _ => return None,
        };
        if rest.len() != (2 + STATES + recalled) * 8 {
            return None;
        }
        let mut numbers = rest.as_chunks::<8>().0.iter().map(|n| u64::from_le_bytes(*n));
        let mut head = Self { rows: numbers.next()?, touched_ms: numbers.next()?, ..Self::default() };
        for count in &mut head.counts {
            *count = numbers.next()?;
        }
        head.recalled_ms = numbers.next();
        Some(head)
    }

    /// Whether anything is known of a recipient.
    pub(super) fn is_expanded(&self) -> bool {
        self.rows > 0 || self.counts.iter().any(|count| *count > 0)
    }

    /// Moves one recipient from one state (`None`: a new one) to another.
    pub(super) fn count(&mut self, from: Option<State>, to: State) {
        if let Some(from) = from {
            let count = &mut self.counts[from as usize - 1];
            *count = count.saturating_sub(1);
        }
        self.counts[to as usize - 1] += 1;
    }
}

impl Reserved {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, u8::from(self.confirmed), self.lane as u8];
        out.extend_from_slice(&self.time_ms.to_le_bytes());
        out.extend_from_slice(&self.body);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 27] = bytes.try_into().ok()?;
        let lane = *Lane::ALL.get(usize::from(bytes[2]))?;
        let time_ms = u64::from_le_bytes(*bytes[3..].first_chunk()?);
        let known = bytes[0] == VERSION;
        known.then_some(Self { confirmed: bytes[1] == 1, lane, time_ms, body: *bytes[11..].first_chunk()? })
    }
}

/// The key of a recipient within its message.
pub(super) fn recipient_key(recipient: &Recipient, channel: &str) -> Vec<u8> {
    let device = recipient.device.as_ref().map_or("", DeviceId::as_str);
    [channel.as_bytes(), &[0], recipient.user.as_str().as_bytes(), &[0], device.as_bytes()].concat()
}

/// Encodes a recipient row: version · count and (state, time) of its history · texts.
pub(super) fn encode_recipient(row: &RecipientView) -> Vec<u8> {
    let mut out = vec![VERSION, row.history.len() as u8];
    for entry in &row.history {
        out.push(entry.state as u8);
        out.extend_from_slice(&entry.time_ms.to_le_bytes());
    }
    let texts = [
        Some(row.channel.as_str()),
        Some(row.recipient.user.as_str()),
        row.recipient.device.as_ref().map(DeviceId::as_str),
        row.reason.as_deref(),
    ];
    for text in texts {
        out.push(u8::from(text.is_some()));
        let text = text.unwrap_or("");
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    out
}

/// `None` if the bytes are damaged.
pub(super) fn decode_recipient(bytes: &[u8]) -> Option<RecipientView> {
    let [version, states, rest @ ..] = bytes else { return None };
    if *version != VERSION {
        return None;
    }
    let mut rest = rest;
    let mut take = |length: usize| {
        let (taken, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(taken)
    };
    let mut history = Vec::new();
    for _ in 0..*states {
        let state = State::from_u8(take(1)?[0])?;
        history.push(StateEntry { state, time_ms: u64::from_le_bytes(*take(8)?.first_chunk()?) });
    }
    let mut text = || {
        let present = take(1)?[0] == 1;
        let length = u32::from_le_bytes(*take(4)?.first_chunk()?) as usize;
        let text = std::str::from_utf8(take(length)?).ok()?;
        Some(present.then_some(text))
    };
    let channel = text()??.to_owned();
    let user = UserId::parse(text()??).ok()?;
    let device = text()?.map(DeviceId::parse).transpose().ok()?;
    let reason = text()?.map(str::to_owned);
    let state = history.last()?.state;
    Some(RecipientView { recipient: Recipient { user, device }, channel, state, reason, history })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_recipient_survives_its_encoding(
            states in proptest::collection::vec((1u8..=12, any::<u64>()), 1..12),
            reason in proptest::option::of(".{0,30}"),
            device in proptest::option::of("[a-z]{1,9}"),
        ) {
            let entry = |(state, time_ms)| StateEntry { state: State::from_u8(state).unwrap(), time_ms };
            let history: Vec<StateEntry> = states.into_iter().map(entry).collect();
            let device = device.map(|d| DeviceId::parse(&d).unwrap());
            let recipient = Recipient { user: UserId::parse("ü1").unwrap(), device };
            let state = history.last().unwrap().state;
            let row = RecipientView { recipient, channel: "websocket".into(), state, reason, history };
            prop_assert_eq!(decode_recipient(&encode_recipient(&row)), Some(row));
        }

        #[test]
        fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..150)) {
            let _ = (decode_recipient(&bytes), Head::decode(&bytes), Reserved::decode(&bytes));
        }
    }

    #[test]
    fn head_and_reservation_survive_their_encoding() {
        let mut head = Head { rows: 3, touched_ms: 9, ..Head::default() };
        head.count(None, State::Accepted);
        head.count(Some(State::Accepted), State::Unknown);
        assert_eq!((head.counts[0], head.counts[11]), (0, 1));
        assert_eq!(Head::decode(&head.encode()), Some(head));
        let reserved = Reserved { confirmed: true, lane: Lane::Low, time_ms: 7, body: [3; 16] };
        assert_eq!(Reserved::decode(&reserved.encode()), Some(reserved));
    }
}
