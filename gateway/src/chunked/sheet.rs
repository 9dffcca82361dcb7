//! Values by a number that is handed out elsewhere. Chunks exist only where a value is.

use super::{CHUNK, pool::chunk_of};

/// A value that says nothing is there: the default.
pub(crate) trait Blank: Default {
    /// Whether it is the default.
    fn is_blank(&self) -> bool;
}

impl Blank for u32 {
    fn is_blank(&self) -> bool {
        *self == 0
    }
}

impl Blank for u64 {
    fn is_blank(&self) -> bool {
        *self == 0
    }
}

impl<T> Blank for Option<T> {
    fn is_blank(&self) -> bool {
        self.is_none()
    }
}

/// The values, in chunks of `N`.
#[derive(Debug)]
pub(crate) struct Sheet<T, const N: usize = CHUNK> {
    chunks: Vec<Chunk<T, N>>,
}

#[derive(Debug)]
struct Chunk<T, const N: usize> {
    values: Option<Box<[T; N]>>,
    /// How many are not blank.
    set: u32,
}

impl<T, const N: usize> Default for Sheet<T, N> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T: Blank, const N: usize> Sheet<T, N> {
    /// Every number at which a value is, or ever was, is below this.
    pub(crate) fn end(&self) -> u32 {
        (self.chunks.len() * N) as u32
    }

    /// Bytes held, without what values own.
    pub(crate) fn bytes(&self) -> usize {
        let chunks = self.chunks.iter().filter(|chunk| chunk.values.is_some()).count();
        chunks * N * size_of::<T>() + self.chunks.capacity() * size_of::<Chunk<T, N>>()
    }

    /// `None`: it is blank, and so are those around it.
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        let values = self.chunks.get(number as usize / N)?.values.as_ref()?;
        Some(&values[number as usize % N])
    }

    /// As [`Self::get`]. Whether a value is blank is for [`Self::replace`] to change.
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let values = self.chunks.get_mut(number as usize / N)?.values.as_mut()?;
        Some(&mut values[number as usize % N])
    }

    /// Sets a value and returns what was there. A blank one makes no chunk, and the last that goes takes its chunk with it.
    pub(crate) fn replace(&mut self, number: u32, value: T) -> T {
        let (index, at) = (number as usize / N, number as usize % N);
        if self.chunks.len() <= index {
            if value.is_blank() {
                return value;
            }
            self.chunks.resize_with(index + 1, || Chunk { values: None, set: 0 });
        }
        let chunk = &mut self.chunks[index];
        if chunk.values.is_none() && value.is_blank() {
            return value;
        }
        let values = chunk.values.get_or_insert_with(|| chunk_of(|_| T::default()));
        let blank = value.is_blank();
        let was = std::mem::replace(&mut values[at], value);
        match (was.is_blank(), blank) {
            (true, false) => chunk.set += 1,
            (false, true) => chunk.set -= 1,
            _ => {}
        }
        if chunk.set == 0 {
            chunk.values = None;
        }
        was
    }

    /// Sets the default and returns what was there.
    pub(crate) fn take(&mut self, number: u32) -> T {
        self.replace(number, T::default())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_set_is_blank_and_costs_nothing() {
        let mut sheet = Sheet::<u32>::default();
        assert_eq!((sheet.replace(9_000, 0), sheet.bytes(), sheet.end()), (0, 0, 0));
        sheet.replace(300, 7);
        assert_eq!((sheet.get(300), sheet.get(301), sheet.get(9_000), sheet.get(0)), (Some(&7), Some(&0), None, None));
        assert!((CHUNK * 4..2 * CHUNK * 4).contains(&sheet.bytes()), "{}", sheet.bytes());
    }

    #[test]
    fn the_last_value_of_a_chunk_takes_the_chunk_with_it() {
        let mut sheet = Sheet::<Option<Box<u8>>>::default();
        (0..1_000).for_each(|n| drop(sheet.replace(n, Some(Box::new(1)))));
        let full = sheet.bytes();
        (0..999).for_each(|n| assert_eq!(sheet.take(n), Some(Box::new(1))));
        assert_eq!((sheet.get(0), sheet.get(999)), (None, Some(&Some(Box::new(1)))));
        sheet.take(999);
        assert!(sheet.bytes() < full / 20, "{} of {full}", sheet.bytes());
        assert_eq!((sheet.take(999), sheet.end()), (None, 1_024));
    }

    proptest! {
        /// Against a map without its blanks.
        #[test]
        fn a_sheet_tells_what_a_map_tells(steps in prop::collection::vec((0u32..1_200, 0u32..3), 1..2_000)) {
            let mut sheet: Sheet<u32> = Sheet::default();
            let mut model = BTreeMap::new();
            for (number, value) in steps {
                prop_assert_eq!(sheet.replace(number, value), model.insert(number, value).unwrap_or(0));
            }
            for number in 0..1_300 {
                let value = model.get(&number).copied().unwrap_or(0);
                prop_assert_eq!(sheet.get(number).copied().unwrap_or(0), value);
            }
            model.retain(|_, value| *value != 0);
            let chunks: std::collections::BTreeSet<u32> = model.keys().map(|number| number / CHUNK as u32).collect();
            prop_assert_eq!(sheet.chunks.iter().filter(|c| c.values.is_some()).count(), chunks.len());
        }
    }
}
