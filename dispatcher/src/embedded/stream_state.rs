//! What the embedded store remembers of one stream besides its entries: its bounds and how many deferred pushes it took
//! per replay episode.

use crate::{limits, seams::DeferredTag};

const VERSION: u8 = 1;

/// State of a stream. A stream that never held anything has the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StreamState {
    /// No entry stands before this position.
    pub(super) first: u64,
    /// When the entry at `first` expires; `None` if it is not known, or there is none.
    pub(super) first_expires_ms: Option<u64>,
    /// The last position given; positions grow.
    pub(super) last: u64,
    /// Entries.
    pub(super) entries: u64,
    /// Their encoded bytes.
    pub(super) bytes: u64,
    /// When the sweep looks at the stream; 0 if it is not told to.
    pub(super) due_ms: u64,
    /// Episodes, oldest first.
    pub(super) episodes: Vec<Episode>,
}

/// Deferred pushes taken in one replay episode.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Episode {
    id: u64,
    touched_ms: u64,
    taken: u64,
    /// Numbers taken, as runs (first, last), ascending and apart.
    runs: Vec<(u64, u64)>,
}

impl StreamState {
    /// Counts a deferred push once, however often it is told. Whether anything changed.
    pub(super) fn defer(&mut self, tag: DeferredTag, now_ms: u64) -> bool {
        let at = match self.episodes.iter().position(|e| e.id == tag.episode) {
            Some(at) => at,
            None => {
                if self.episodes.len() >= limits::STREAM_EPISODES_MAX {
                    self.episodes.remove(0);
                }
                self.episodes.push(Episode { id: tag.episode, ..Episode::default() });
                self.episodes.len() - 1
            }
        };
        self.episodes[at].take(tag.k, now_ms)
    }

    /// Deferred pushes taken in this episode.
    pub(super) fn deferred(&self, episode: u64) -> u64 {
        self.episodes.iter().find(|e| e.id == episode).map_or(0, |e| e.taken)
    }

    /// Forgets episodes that ended long ago; returns when the last of the others may be forgotten.
    pub(super) fn forget_episodes(&mut self, now_ms: u64) -> Option<u64> {
        let until = |e: &Episode| e.touched_ms.saturating_add(limits::STREAM_EPISODE_KEEP_MS);
        self.episodes.retain(|e| until(e) > now_ms);
        self.episodes.iter().map(until).max()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        let mut put = |n: u64| out.extend_from_slice(&n.to_le_bytes());
        put(self.first);
        put(u64::from(self.first_expires_ms.is_some()));
        put(self.first_expires_ms.unwrap_or(0));
        put(self.last);
        put(self.entries);
        put(self.bytes);
        put(self.due_ms);
        put(self.episodes.len() as u64);
        for episode in &self.episodes {
            put(episode.id);
            put(episode.touched_ms);
            put(episode.taken);
            put(episode.runs.len() as u64);
            for (first, last) in &episode.runs {
                put(*first);
                put(*last);
            }
        }
        out
    }

    /// `None` if the bytes are damaged.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, mut rest) = bytes.split_first()?;
        let mut take = || {
            let (number, after) = rest.split_first_chunk::<8>()?;
            rest = after;
            Some(u64::from_le_bytes(*number))
        };
        if *version != VERSION {
            return None;
        }
        let first = take()?;
        let known = take()? != 0;
        let expires_ms = take()?;
        let mut state = Self {
            first,
            first_expires_ms: known.then_some(expires_ms),
            last: take()?,
            entries: take()?,
            bytes: take()?,
            due_ms: take()?,
            episodes: Vec::new(),
        };
        for _ in 0..take()? {
            let mut episode = Episode { id: take()?, touched_ms: take()?, taken: take()?, runs: Vec::new() };
            for _ in 0..take()? {
                episode.runs.push((take()?, take()?));
            }
            state.episodes.push(episode);
        }
        Some(state)
    }
}

impl Episode {
    fn take(&mut self, k: u64, now_ms: u64) -> bool {
        let at = self.runs.partition_point(|run| run.1 < k);
        if self.runs.get(at).is_some_and(|run| run.0 <= k) {
            return false;
        }
        let joins_next = self.runs.get(at).is_some_and(|run| k.checked_add(1) == Some(run.0));
        let joins_last = at > 0 && self.runs[at - 1].1.checked_add(1) == Some(k);
        match (joins_last, joins_next) {
            (true, true) => self.runs[at - 1].1 = self.runs.remove(at).1,
            (true, false) => self.runs[at - 1].1 = k,
            (false, true) => self.runs[at].0 = k,
            (false, false) => self.runs.insert(at, (k, k)),
        }
        if self.runs.len() > limits::STREAM_EPISODE_RUNS_MAX {
            self.runs[0].1 = self.runs.remove(1).1;
        }
        self.taken += 1;
        self.touched_ms = now_ms;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_number_counts_once(ks in proptest::collection::vec(0u64..60, 0..200)) {
            let mut state = StreamState::default();
            for k in &ks {
                state.defer(DeferredTag { episode: 5, k: *k }, 1);
            }
            let distinct = ks.iter().collect::<std::collections::BTreeSet<_>>().len() as u64;
            prop_assert_eq!(state.deferred(5), distinct);
            prop_assert_eq!(StreamState::decode(&state.encode()), Some(state));
        }

        #[test]
        fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = StreamState::decode(&bytes);
        }
    }

    #[test]
    fn episodes_and_runs_are_bounded() {
        let mut state = StreamState::default();
        for episode in 0..100 {
            for k in 0..1_000 {
                state.defer(DeferredTag { episode, k: k * 2 }, 1);
            }
        }
        assert_eq!(state.episodes.len(), limits::STREAM_EPISODES_MAX);
        assert!(state.episodes.iter().all(|e| e.runs.len() <= limits::STREAM_EPISODE_RUNS_MAX));
        assert_eq!((state.deferred(0), state.deferred(99)), (0, 1_000));
    }
}
