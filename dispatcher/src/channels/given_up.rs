//! What goes on though the attempt that it was for was given up, counted so that it can be bounded: a thread in a call, a connection
//! that is being opened.

use std::sync::{
    Arc, OnceLock, Weak,
    atomic::{AtomicUsize, Ordering},
};

/// How much of an account goes on for nobody. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct GivenUp(Arc<AtomicUsize>);

/// Held by whoever does the work, until it is done.
#[derive(Debug)]
pub(super) struct Work {
    _under_way: Arc<OnceLock<Counted>>,
}

/// Held by whoever waits for the work. Dropped before it is done, it may be left.
#[derive(Debug)]
pub(super) struct Wait {
    work: Weak<OnceLock<Counted>>,
    all: GivenUp,
}

/// Counts as long as it is there.
#[derive(Debug)]
struct Counted(GivenUp);

impl GivenUp {
    /// How much goes on for nobody now.
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// A piece of work begins that somebody waits for.
    pub(super) fn begin(&self) -> (Wait, Work) {
        let work = Arc::new(OnceLock::new());
        (Wait { work: Arc::downgrade(&work), all: self.clone() }, Work { _under_way: work })
    }

    fn counted(&self, most: usize) -> Option<Counted> {
        let add = |count: usize| (count < most).then_some(count + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok().map(|_| Counted(self.clone()))
    }
}

impl Wait {
    /// Nobody waits any more: the work goes on, and counts until it is done, unless `most` of them do. Answers whether it may go on.
    pub(super) fn leave(&self, most: usize) -> bool {
        let Some(work) = self.work.upgrade() else { return true };
        let counted = self.all.counted(most);
        // Left twice, it counts once.
        counted.is_some_and(|counted| work.set(counted).is_ok())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_counts_until_it_is_done_and_what_is_done_does_not() {
        let all = GivenUp::default();
        let (wait, work) = all.begin();
        assert_eq!(all.count(), 0, "somebody waits");
        assert!(wait.leave(1) && all.count() == 1);
        let (other, others) = all.begin();
        assert!(!other.leave(1) && all.count() == 1, "there is no room for it");
        drop(work);
        assert_eq!(all.count(), 0);
        drop(others);
        assert!(other.leave(1) && all.count() == 0, "it is done");
    }
}
