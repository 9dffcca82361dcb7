//! Numbered messages: the message id says which run sent it, to whom, through which lane, as which number, and when it was planned. So a client
//! can judge what it receives without knowing its producer, and every way into Pushgate carries the numbers unchanged.

use pushgate_protocol::link::Lane;

/// Characters of a stamp.
pub const STAMP_CHARS: usize = 40;
/// The mark of messages to all.
const ALL: u32 = u32::MAX;
/// Set in the addressee's digits where it is a device.
const DEVICE: u32 = 1 << 31;
/// Bits of a message's number; the two above them are its lane.
const NUMBER_BITS: u32 = 30;
/// Users and devices a run may have, each.
pub const ADDRESSEES_MAX: u32 = DEVICE - 1;
/// Messages an addressee may get in a lane.
pub const NUMBERS_MAX: u32 = 1 << NUMBER_BITS;

/// Whom a numbered message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressee {
    /// One user, by number.
    User(u32),
    /// One device, by the number of its client.
    Device(u32),
    /// Everybody.
    All,
}

/// What a message id says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The run, so that what an earlier one left behind is told apart.
    pub run: u32,
    /// Whom it is for; users and devices below [`ADDRESSEES_MAX`].
    pub to: Addressee,
    /// The lane it goes through.
    pub lane: Lane,
    /// Counts up from 0 for each addressee and lane, below [`NUMBERS_MAX`].
    pub n: u32,
    /// When it was to be sent, Unix microseconds.
    pub planned_us: u64,
}

impl Stamp {
    /// Whom it is for, its lane and number: no other message of the run has the same.
    pub fn reference(&self) -> u64 {
        u64::from(self.to.number()) << 32 | u64::from((self.lane as u32) << NUMBER_BITS | self.n)
    }

    /// Whom a message with such a reference is for, and its lane; `None` if it is none.
    pub fn of_reference(reference: u64) -> Option<(Addressee, Lane)> {
        let lane = Lane::ALL.get((reference as u32 >> NUMBER_BITS) as usize)?;
        Some((Addressee::of((reference >> 32) as u32), *lane))
    }

    /// The message id: 40 lower-case hexadecimal digits.
    pub fn write(&self) -> [u8; STAMP_CHARS] {
        let (to, n) = (self.to.number(), (self.lane as u32) << NUMBER_BITS | self.n);
        let mut text = [0; STAMP_CHARS];
        let fields = [(self.run.into(), 8), (to.into(), 8), (n.into(), 8), (self.planned_us, 16)];
        let mut at = 0;
        for (value, digits) in fields {
            for place in (0..digits).rev() {
                text[at] = b"0123456789abcdef"[(value >> (4 * place) & 15) as usize];
                at += 1;
            }
        }
        text
    }

    /// Reads a message id; `None` if it is no stamp.
    pub fn parse(id: &str) -> Option<Self> {
        let id = id.as_bytes();
        if id.len() != STAMP_CHARS {
            return None;
        }
        let to = Addressee::of(number(&id[8..16])? as u32);
        let n = number(&id[16..24])? as u32;
        Some(Self {
            run: number(&id[..8])? as u32,
            to,
            lane: *Lane::ALL.get((n >> NUMBER_BITS) as usize)?,
            n: n & (NUMBERS_MAX - 1),
            planned_us: number(&id[24..])?,
        })
    }
}

impl Addressee {
    fn number(self) -> u32 {
        match self {
            Self::User(user) => user,
            Self::Device(client) => DEVICE | client,
            Self::All => ALL,
        }
    }

    fn of(number: u32) -> Self {
        match number {
            ALL => Self::All,
            device if device & DEVICE != 0 => Self::Device(device & !DEVICE),
            user => Self::User(user),
        }
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let last = ADDRESSEES_MAX - 1;
        let whom =
            [Addressee::User(0), Addressee::User(last), Addressee::Device(0), Addressee::Device(last), Addressee::All];
        for (to, lane) in whom.into_iter().flat_map(|to| Lane::ALL.map(|lane| (to, lane))) {
            let stamp = Stamp { run: 7, to, lane, n: NUMBERS_MAX - 1, planned_us: 1_790_000_000_123_456 };
            let text = stamp.write();
            assert_eq!(Stamp::parse(std::str::from_utf8(&text).unwrap()), Some(stamp));
            assert_eq!(Stamp::of_reference(stamp.reference()), Some((to, lane)));
        }
    }

    #[test]
    fn other_ids_are_no_stamps() {
        let id = "018f2c3a-7b1e-7000-8000-0123456789ab";
        assert_eq!(Stamp::parse(id), None);
        assert_eq!(Stamp::parse(&"g".repeat(STAMP_CHARS)), None);
        assert_eq!(Stamp::parse(&"A".repeat(STAMP_CHARS)), None);
        assert_eq!(Stamp::parse(&"f".repeat(STAMP_CHARS)), None, "there is no fourth lane");
    }
}
