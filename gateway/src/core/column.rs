//! A value per slot that most sessions do not have: kept beside the table, in chunks that exist only where one is.

const CHUNK: usize = 256;

/// Values by slot; those not set are the default.
#[derive(Debug)]
pub(super) struct Column<T>(Vec<Option<Box<[T; CHUNK]>>>);

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + Default + PartialEq> Column<T> {
    pub(super) fn read(&self, slot: u32) -> T {
        let slot = slot as usize;
        let chunk = self.0.get(slot / CHUNK).and_then(Option::as_deref);
        chunk.map_or_else(T::default, |c| c[slot % CHUNK])
    }

    /// Sets a value. Setting the default costs nothing where nothing else was set.
    pub(super) fn set(&mut self, slot: u32, value: T) {
        let slot = slot as usize;
        let (chunk, place) = (slot / CHUNK, slot % CHUNK);
        if value == T::default() {
            if let Some(Some(chunk)) = self.0.get_mut(chunk) {
                chunk[place] = value;
            }
            return;
        }
        if self.0.len() <= chunk {
            self.0.resize_with(chunk + 1, || None);
        }
        self.0[chunk].get_or_insert_with(|| Box::new([T::default(); CHUNK]))[place] = value;
    }

    /// Sets the default and returns what was there.
    pub(super) fn take(&mut self, slot: u32) -> T {
        let value = self.read(slot);
        self.set(slot, T::default());
        value
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let chunks = self.0.iter().flatten().count();
        self.0.capacity() * size_of::<Option<Box<[T; CHUNK]>>>() + chunks * CHUNK * size_of::<T>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_the_default_and_costs_nothing() {
        let mut column = Column::<u32>::default();
        column.set(9_000, 0);
        assert_eq!((column.read(9_000), column.bytes()), (0, 0));
        column.set(300, 7);
        assert_eq!((column.read(300), column.read(301), column.read(9_000)), (7, 0, 0));
        assert!(column.bytes() >= CHUNK * 4 && column.bytes() < 2 * CHUNK * 4, "{}", column.bytes());
        assert_eq!((column.take(300), column.read(300)), (7, 0));
    }
}
