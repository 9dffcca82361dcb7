//! Values by a number that is handed out elsewhere. Chunks exist only where a value is.

use super::{CHUNK, ground::Ground};

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
    ground: Ground<T, N>,
    /// How many of each chunk are not blank.
    set: Vec<u16>,
}

impl<T, const N: usize> Default for Sheet<T, N> {
    fn default() -> Self {
        const { assert!(N <= u16::MAX as usize, "values of a chunk are counted in 16 bits") };
        Self { ground: Ground::default(), set: Vec::new() }
    }
}

impl<T: Blank, const N: usize> Sheet<T, N> {
    /// Every number at which a value is, or ever was, is below this.
    pub(crate) fn end(&self) -> u32 {
        (self.set.len() * N) as u32
    }

    /// Bytes held, without what values own.
    pub(crate) fn bytes(&self) -> usize {
        self.ground.bytes() + self.set.capacity() * size_of::<u16>()
    }

    /// `None`: it is blank, and so are those around it.
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        self.ground.get(number as usize / N).map(|values| &values[number as usize % N])
    }

    /// As [`Self::get`]. Whether a value is blank is for [`Self::replace`] to change.
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.ground.get_mut(number as usize / N).map(|values| &mut values[number as usize % N])
    }

    /// Sets a value and returns what was there. A blank one makes no chunk, and the last that goes takes its chunk with it.
    pub(crate) fn replace(&mut self, number: u32, value: T) -> T {
        let (index, at) = (number as usize / N, number as usize % N);
        let blank = value.is_blank();
        if blank && self.set.get(index).is_none_or(|set| *set == 0) {
            return value;
        }
        if self.set.len() <= index {
            self.set.resize(index + 1, 0);
        }
        let values = self.ground.get_or_make(index, |_| T::default());
        let was = std::mem::replace(&mut values[at], value);
        let set = &mut self.set[index];
        match (was.is_blank(), blank) {
            (true, false) => *set += 1,
            (false, true) => *set -= 1,
            _ => {}
        }
        if *set == 0 {
            self.ground.clear(index);
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
        assert!((4_096..4_400).contains(&sheet.bytes()), "one page: {}", sheet.bytes());
    }

    #[test]
    fn the_last_value_of_a_chunk_takes_the_chunk_with_it() {
        let mut sheet = Sheet::<Option<Box<u8>>>::default();
        (0..1_000).for_each(|n| drop(sheet.replace(n, Some(Box::new(1)))));
        let full = sheet.bytes();
        (0..999).for_each(|n| assert_eq!(sheet.take(n), Some(Box::new(1))));
        assert_eq!((sheet.get(0), sheet.get(999)), (None, Some(&Some(Box::new(1)))));
        sheet.take(999);
        assert!(sheet.bytes() < full / 3, "{} of {full}: the last chunk's pages, and no other's", sheet.bytes());
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
            prop_assert_eq!(sheet.ground.standing(), chunks.len());
        }
    }
}
