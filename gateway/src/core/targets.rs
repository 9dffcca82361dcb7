//! The sessions that one push is for.

/// The sessions of a user that a push is for: nearly always one, so it is not put on the heap.
pub(super) enum Targets {
    None,
    One([u32; 1]),
    Many(Vec<u32>),
}

impl Targets {
    pub(super) fn as_slice(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(slot) => slot,
            Self::Many(slots) => slots,
        }
    }
}

impl FromIterator<u32> for Targets {
    fn from_iter<T: IntoIterator<Item = u32>>(slots: T) -> Self {
        let mut slots = slots.into_iter();
        let Some(first) = slots.next() else { return Self::None };
        match slots.next() {
            None => Self::One([first]),
            Some(second) => Self::Many([first, second].into_iter().chain(slots).collect()),
        }
    }
}
