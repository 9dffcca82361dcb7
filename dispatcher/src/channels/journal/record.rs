//! What a journal says of a delivery, and how it is read after a crash.
//!
//! A file is [`HEAD`] and places of 512 bytes, the first of which is that of the head. In a place stands nothing yet (0), or a record: its kind
//! (1 byte), the length of what follows the checksum (2, little-endian), a checksum of length and content (4), the delivery's key (16), the
//! app's name and the recipient's, each behind its length (1). The kind alone is written anew when more is known of the delivery. What is
//! damaged is passed over.
//!
//! Files of before ([`FIRST`]) have records of what was taken, one behind the other and without a kind.

use pushgate_protocol::{
    ids::{AppId, UserId},
    limits::{APP_ID_BYTES_MAX, USER_ID_BYTES_MAX},
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    limits::{JOURNAL_PLACE_BYTES, JOURNAL_RECORD_BYTES_MAX},
    seams::{DeliveryKey, Mark, MarkQuery, UserKey},
};

/// The first bytes of a file.
pub const HEAD: &[u8; 16] = b"pushgate taken 2";
/// Those of a file of before.
pub const FIRST: &[u8; 16] = b"pushgate taken 1";
/// Length and checksum.
const FRONT: usize = 6;
/// A key and the lengths of two names of a byte each.
const CONTENT_MIN: usize = 16 + 2 + 2;
const CONTENT_MAX: usize = JOURNAL_RECORD_BYTES_MAX - 1 - FRONT;

const _: () = assert!(APP_ID_BYTES_MAX <= 255 && USER_ID_BYTES_MAX <= 255, "a length fits a byte");

/// What is known of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A provider is given it, and may send it from here on.
    HandedOver = b'h',
    /// A provider took it.
    Taken = b't',
    /// It did not, and does not send it.
    GivenBack = b'g',
}

/// What a file holds.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Deliveries that providers took, or may have taken, and how they are to be marked.
    pub noted: Vec<(MarkQuery, Mark)>,
    /// Records that are damaged, or bytes that are none.
    pub damaged: usize,
    /// Bytes at the end that belong to a record that was being written.
    pub torn: usize,
    /// It is no file of this form.
    pub foreign: bool,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [Self::HandedOver, Self::Taken, Self::GivenBack].into_iter().find(|kind| *kind as u8 == byte)
    }

    /// How a delivery is to be marked of which this is known; `None` if it may be sent.
    fn mark(self) -> Option<Mark> {
        match self {
            Self::HandedOver => Some(Mark::Unknown),
            Self::Taken => Some(Mark::Delivered),
            Self::GivenBack => None,
        }
    }
}

/// Where a place begins in the file.
pub fn offset(place: u32) -> u64 {
    (u64::from(place) + 1) * JOURNAL_PLACE_BYTES as u64
}

/// Appends the record of a delivery.
pub fn write(kind: Kind, delivery: &MarkQuery, out: &mut Vec<u8>) {
    out.push(kind as u8);
    write_behind(delivery, out);
}

fn write_behind(delivery: &MarkQuery, out: &mut Vec<u8>) {
    let UserKey { app, user } = &delivery.user;
    let at = out.len();
    out.extend_from_slice(&[0; FRONT]);
    out.extend_from_slice(&delivery.key.0);
    for name in [app.as_str(), user.as_str()] {
        out.push(name.len() as u8);
        out.extend_from_slice(name.as_bytes());
    }
    let length = (out.len() - at - FRONT) as u16;
    let sum = checksum(length, &out[at + FRONT..]);
    out[at..at + 2].copy_from_slice(&length.to_le_bytes());
    out[at + 2..at + FRONT].copy_from_slice(&sum.to_le_bytes());
}

/// Reads what is left of a file, whatever it holds.
pub fn read(bytes: &[u8]) -> Page {
    let mut page = Page::default();
    if let Some(records) = bytes.strip_prefix(FIRST) {
        page.read_first(records);
    } else if bytes.starts_with(HEAD) {
        bytes.chunks(JOURNAL_PLACE_BYTES).skip(1).for_each(|place| page.read_place(place));
    } else {
        // Killed before its first bytes were written.
        page.foreign = !HEAD.starts_with(bytes) && !FIRST.starts_with(bytes);
    }
    page
}

impl Page {
    fn read_place(&mut self, place: &[u8]) {
        let Some((kind @ 1.., rest)) = place.split_first() else { return };
        match Kind::of(*kind).zip(record(rest)) {
            Some((kind, Record::Whole(delivery, _))) => self.noted.extend(kind.mark().map(|mark| (delivery, mark))),
            // The last place ends with its record.
            Some((_, Record::Torn)) if place.len() < JOURNAL_PLACE_BYTES => self.torn += place.len(),
            _ => self.damaged += 1,
        }
    }

    fn read_first(&mut self, mut rest: &[u8]) {
        while !rest.is_empty() {
            rest = match record(rest) {
                Some(Record::Whole(delivery, after)) => {
                    self.noted.push((delivery, Mark::Delivered));
                    after
                }
                Some(Record::Damaged(after)) => {
                    self.damaged += 1;
                    after
                }
                Some(Record::Torn) => {
                    self.torn = rest.len();
                    return;
                }
                None => {
                    // Where the next begins is not known.
                    self.damaged += 1;
                    return;
                }
            };
        }
    }
}

/// What stands at the beginning of some bytes, and what follows it.
enum Record<'a> {
    Whole(MarkQuery, &'a [u8]),
    Damaged(&'a [u8]),
    /// It is cut short.
    Torn,
}

/// `None` if there is no record of a length that one has.
fn record(bytes: &[u8]) -> Option<Record<'_>> {
    let Some((front, behind)) = bytes.split_first_chunk::<FRONT>() else { return Some(Record::Torn) };
    let length = u16::from_le_bytes([front[0], front[1]]);
    let sum = u32::from_le_bytes([front[2], front[3], front[4], front[5]]);
    if !(CONTENT_MIN..=CONTENT_MAX).contains(&usize::from(length)) {
        return None;
    }
    let Some((content, after)) = behind.split_at_checked(usize::from(length)) else { return Some(Record::Torn) };
    Some(match delivery(content).filter(|_| checksum(length, content) == sum) {
        Some(delivery) => Record::Whole(delivery, after),
        None => Record::Damaged(after),
    })
}

fn delivery(content: &[u8]) -> Option<MarkQuery> {
    let (key, rest) = content.split_first_chunk::<16>()?;
    let (app, rest) = name(rest)?;
    let (user, []) = name(rest)? else { return None };
    let user = UserKey { app: AppId::parse(app).ok()?, user: UserId::parse(user).ok()? };
    Some(MarkQuery { user, key: DeliveryKey(*key) })
}

fn name(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(name).ok()?, rest))
}

fn checksum(length: u16, content: &[u8]) -> u32 {
    xxh3_64_with_seed(content, u64::from(length)) as u32
}

#[cfg(test)]
mod tests;
