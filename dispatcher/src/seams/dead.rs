//! Dead letters as they lie there: for whoever looks for what went wrong, and sends it once more.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use super::{BoxFuture, DeadRecord, StoreError};
use crate::limits::DEAD_PAGE_BYTES_MAX;

/// Where a dead letter lies; `partition-offset` in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeadPlace {
    /// Partition.
    pub partition: u32,
    /// Offset in the partition.
    pub offset: u64,
}

/// A dead letter.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Where it lies.
    pub place: DeadPlace,
    /// When it was written, Unix milliseconds; 0 if that is not known.
    pub time_ms: u64,
    /// What was written.
    pub record: DeadRecord,
}

/// Where a page begins: before these places, one of each partition; `0-17,1-4` in text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadCursor(pub Vec<DeadPlace>);

/// Dead letters, the newest first.
#[derive(Debug, Clone)]
pub struct DeadPage {
    /// The letters.
    pub letters: Vec<DeadLetter>,
    /// Where older ones begin, if there may be any.
    pub next: Option<DeadCursor>,
}

/// Reads dead letters.
pub trait DeadLetters: Send + Sync {
    /// The newest `limit` letters, or the newest before a cursor; fewer if their content is long, see [`Newest`].
    fn letters(&self, before: Option<DeadCursor>, limit: usize) -> BoxFuture<'_, Result<DeadPage, StoreError>>;

    /// The letter at this place, if it is still there.
    fn letter(&self, place: DeadPlace) -> BoxFuture<'_, Result<Option<DeadLetter>, StoreError>>;
}

impl<T: DeadLetters + ?Sized> DeadLetters for Arc<T> {
    fn letters(&self, before: Option<DeadCursor>, limit: usize) -> BoxFuture<'_, Result<DeadPage, StoreError>> {
        (**self).letters(before, limit)
    }

    fn letter(&self, place: DeadPlace) -> BoxFuture<'_, Result<Option<DeadLetter>, StoreError>> {
        (**self).letter(place)
    }
}

/// The newest of the letters that a page looks at, in bounded memory: of more than `limit` letters, or more than
/// [`DEAD_PAGE_BYTES_MAX`] of content, the oldest are left to the next page. One is always there.
#[derive(Debug, Default)]
pub struct Newest {
    limit: usize,
    bytes: usize,
    letters: BTreeMap<(u64, u64, u32), DeadLetter>,
}

impl Newest {
    /// None yet.
    pub fn of(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// One more; false if it, or an older one, was left out.
    pub fn add(&mut self, letter: DeadLetter) -> bool {
        self.bytes += letter.record.value.len();
        self.letters.insert((letter.time_ms, letter.place.offset, letter.place.partition), letter);
        let before = self.letters.len();
        while self.letters.len() > 1 && (self.letters.len() > self.limit || self.bytes > DEAD_PAGE_BYTES_MAX) {
            self.bytes -= self.letters.pop_first().map_or(0, |(_, oldest)| oldest.record.value.len());
        }
        self.letters.len() == before
    }

    /// All of them, in no order.
    pub fn into_letters(self) -> Vec<DeadLetter> {
        self.letters.into_values().collect()
    }
}

impl DeadPage {
    /// Of what lies between `lowest` and the cursor of each partition, the newest `limit`; the rest is for the next page.
    pub fn newest(mut found: Vec<DeadLetter>, ends: &[DeadPlace], lowest: &[DeadPlace], limit: usize) -> Self {
        found.sort_by_key(|letter| std::cmp::Reverse((letter.time_ms, letter.place.offset, letter.place.partition)));
        found.truncate(limit);
        let next: Vec<DeadPlace> = ends
            .iter()
            .map(|end| {
                let taken = found.iter().map(|l| l.place).filter(|p| p.partition == end.partition);
                DeadPlace { partition: end.partition, offset: taken.map(|p| p.offset).min().unwrap_or(end.offset) }
            })
            .collect();
        let low = |partition| lowest.iter().find(|p| p.partition == partition).map_or(0, |p| p.offset);
        let more = !found.is_empty() && next.iter().any(|p| p.offset > low(p.partition));
        Self { letters: found, next: more.then_some(DeadCursor(next)) }
    }
}

impl fmt::Display for DeadPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.partition, self.offset)
    }
}

impl FromStr for DeadPlace {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let (partition, offset) = text.split_once('-').filter(|(p, o)| digits(p) && digits(o)).ok_or(())?;
        Ok(Self { partition: partition.parse().map_err(|_| ())?, offset: offset.parse().map_err(|_| ())? })
    }
}

impl fmt::Display for DeadCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, place) in self.0.iter().enumerate() {
            write!(f, "{}{place}", if n > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl FromStr for DeadCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn letter(partition: u32, offset: u64, time_ms: u64) -> DeadLetter {
        letter_of(partition, offset, time_ms, Bytes::new())
    }

    fn letter_of(partition: u32, offset: u64, time_ms: u64, value: Bytes) -> DeadLetter {
        let record = DeadRecord { key: None, value, reason: "r".into(), attempts: 1, origin: "high/0/1".into() };
        DeadLetter { place: DeadPlace { partition, offset }, time_ms, record }
    }

    #[test]
    fn places_and_cursors_survive_their_text() {
        let cursor =
            DeadCursor(vec![DeadPlace { partition: 0, offset: 17 }, DeadPlace { partition: 3, offset: u64::MAX }]);
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", "1", "1-", "-1", "+1-2", "1-2-3", "1-2,", "4294967296-0", "0-18446744073709551616"] {
            assert_eq!(text.parse::<DeadCursor>(), Err(()), "{text}");
        }
    }

    #[test]
    fn pages_go_back_through_all_partitions_and_end() {
        let all: Vec<DeadLetter> = (0..10).map(|n| letter(n % 2, u64::from(n / 2), u64::from(n))).collect();
        let low: Vec<DeadPlace> = (0..2).map(|partition| DeadPlace { partition, offset: 0 }).collect();
        let mut ends: Vec<DeadPlace> = (0..2).map(|partition| DeadPlace { partition, offset: 5 }).collect();
        let mut times = Vec::new();
        loop {
            let before = |l: &&DeadLetter| ends.iter().any(|e| e.partition == l.place.partition && l.place < *e);
            let found = all.iter().filter(before).cloned().collect();
            let page = DeadPage::newest(found, &ends, &low, 3);
            times.extend(page.letters.iter().map(|l| l.time_ms));
            match page.next {
                Some(next) => ends = next.0,
                None => break,
            }
        }
        assert_eq!(times, (0..10).rev().collect::<Vec<_>>());
    }

    #[test]
    fn a_page_of_long_letters_is_shorter_and_the_next_goes_on() {
        let value = Bytes::from(vec![0; DEAD_PAGE_BYTES_MAX / 2 - 1]);
        let all: Vec<DeadLetter> =
            (0..7).map(|n| letter_of(n % 2, u64::from(n / 2), n.into(), value.clone())).collect();
        let low: Vec<DeadPlace> = (0..2).map(|partition| DeadPlace { partition, offset: 0 }).collect();
        let mut ends: Vec<DeadPlace> = (0..2).map(|partition| DeadPlace { partition, offset: 4 }).collect();
        let (mut times, mut pages) = (Vec::new(), 0);
        loop {
            let before = |l: &&DeadLetter| ends.iter().any(|e| e.partition == l.place.partition && l.place < *e);
            let mut newest = Newest::of(100);
            all.iter().filter(before).for_each(|l| {
                newest.add(l.clone());
            });
            let page = DeadPage::newest(newest.into_letters(), &ends, &low, 100);
            pages += 1;
            times.extend(page.letters.iter().map(|l| l.time_ms));
            match page.next {
                Some(next) => ends = next.0,
                None => break,
            }
        }
        assert_eq!((times, pages), ((0..7).rev().collect::<Vec<_>>(), 4));
    }

    #[test]
    fn a_letter_longer_than_a_page_is_a_page() {
        let mut newest = Newest::of(100);
        assert!(newest.add(letter_of(0, 0, 1, Bytes::from(vec![0; 2 * DEAD_PAGE_BYTES_MAX]))));
        assert!(!newest.add(letter(0, 1, 2)), "the older one is left to the next page");
        assert_eq!(newest.into_letters().iter().map(|l| l.time_ms).collect::<Vec<_>>(), [2]);
    }
}
