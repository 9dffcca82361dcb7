//! What a journal says of a delivery, and how it is read after a crash.
//!
//! A file is [`HEAD`] and records: the length of what follows the checksum (2 bytes, little-endian), a checksum of length and content (4), the
//! delivery's key (16), the app's name and the recipient's, each behind its length (1). One that was being written is cut short; one that is
//! damaged is passed over.

use pushgate_protocol::{
    ids::{AppId, UserId},
    limits::{APP_ID_BYTES_MAX, USER_ID_BYTES_MAX},
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    limits::JOURNAL_RECORD_BYTES_MAX,
    seams::{DeliveryKey, MarkQuery, UserKey},
};

/// The first bytes of a file.
pub const HEAD: &[u8; 16] = b"pushgate taken 1";
/// Length and checksum.
const FRONT: usize = 6;
/// A key and the lengths of two names of a byte each.
const CONTENT_MIN: usize = 16 + 2 + 2;

const _: () = assert!(APP_ID_BYTES_MAX <= 255 && USER_ID_BYTES_MAX <= 255, "a length fits a byte");

/// What a file holds.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Deliveries that providers took.
    pub taken: Vec<MarkQuery>,
    /// Records that are damaged, or bytes that are none.
    pub damaged: usize,
    /// Bytes at the end that belong to a record that was being written.
    pub torn: usize,
    /// It is no file of this form.
    pub foreign: bool,
}

/// Appends the record of a delivery.
pub fn write(delivery: &MarkQuery, out: &mut Vec<u8>) {
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
    let Some(mut rest) = bytes.strip_prefix(HEAD) else {
        // Killed before its first bytes were written.
        page.foreign = !HEAD.starts_with(bytes);
        return page;
    };
    while let Some((front, behind)) = rest.split_first_chunk::<FRONT>() {
        let length = u16::from_le_bytes([front[0], front[1]]);
        let sum = u32::from_le_bytes([front[2], front[3], front[4], front[5]]);
        if !(CONTENT_MIN..=JOURNAL_RECORD_BYTES_MAX - FRONT).contains(&usize::from(length)) {
            // Where the next begins is not known.
            page.damaged += 1;
            return page;
        }
        let Some((content, after)) = behind.split_at_checked(usize::from(length)) else { break };
        match delivery(content).filter(|_| checksum(length, content) == sum) {
            Some(delivery) => page.taken.push(delivery),
            None => page.damaged += 1,
        }
        rest = after;
    }
    page.torn = rest.len();
    page
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn delivery(n: usize) -> MarkQuery {
        let user =
            UserKey { app: AppId::parse("shop").unwrap(), user: UserId::parse(&format!("u{n}@ü.example")).unwrap() };
        MarkQuery { user, key: DeliveryKey::of_user(&format!("m{n}"), "email") }
    }

    fn names(page: &Page) -> Vec<String> {
        page.taken.iter().map(|taken| taken.user.user.to_string()).collect()
    }

    /// A file of so many records, and where each begins.
    fn file(records: usize) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut begins) = (HEAD.to_vec(), Vec::new());
        for n in 0..records {
            begins.push(bytes.len());
            write(&delivery(n), &mut bytes);
        }
        (bytes, begins)
    }

    #[test]
    fn what_is_written_is_read_and_one_cut_short_is_left_out_wherever_it_is_cut() {
        let (bytes, begins) = file(3);
        let page = read(&bytes);
        assert_eq!((page.damaged, page.torn, page.foreign), (0, 0, false));
        assert_eq!(names(&page), ["u0@ü.example", "u1@ü.example", "u2@ü.example"]);
        assert_eq!(page.taken[2].key, delivery(2).key);
        for cut in 0..bytes.len() {
            let page = read(&bytes[..cut]);
            let whole = begins.iter().skip(1).chain([&bytes.len()]).filter(|end| **end <= cut).count();
            assert_eq!((page.taken.len(), page.damaged, page.foreign), (whole, 0, false), "cut at {cut}");
        }
    }

    #[test]
    fn a_damaged_record_is_passed_over_and_the_longest_has_room() {
        let (bytes, begins) = file(3);
        for at in begins[1] + 2..begins[2] {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x20;
            let page = read(&bytes);
            assert_eq!((names(&page), page.damaged), (vec!["u0@ü.example".into(), "u2@ü.example".into()], 1), "{at}");
        }
        let mut lengthless = bytes.clone();
        lengthless[begins[1]..].fill(0);
        let page = read(&lengthless);
        assert_eq!((page.taken.len(), page.damaged), (1, 1));
        assert!(read(b"something else altogether").foreign && !read(b"").foreign);
        let user =
            UserKey { app: AppId::parse(&"a".repeat(64)).unwrap(), user: UserId::parse(&"u".repeat(255)).unwrap() };
        let mut longest = Vec::new();
        write(&MarkQuery { user, key: DeliveryKey([7; 16]) }, &mut longest);
        assert_eq!(longest.len(), JOURNAL_RECORD_BYTES_MAX);
    }

    proptest! {
        /// Whatever stands in a file: it is read to its end, and only what was written is found.
        #[test]
        fn bytes_of_any_kind_are_read_without_harm(noise in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..300) {
            let (mut bytes, _) = file(4);
            for (n, byte) in noise.iter().enumerate() {
                if let Some(of_file) = bytes.get_mut(HEAD.len() + at + n) {
                    *of_file = *byte;
                }
            }
            let page = read(&bytes);
            let written: Vec<_> = (0..4).map(|n| delivery(n).key).collect();
            prop_assert!(page.taken.len() <= 4 && page.taken.iter().all(|taken| written.contains(&taken.key)));
        }
    }
}
