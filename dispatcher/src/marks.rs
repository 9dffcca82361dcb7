//! How much marks take, and for how long they can be kept within the bound on that.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::{Registry, Unit},
};

use crate::{limits::MARK_BYTES, seams::UserKey};

/// What a mark of this user takes, bytes: an estimate, for stores differ.
pub fn bytes_of(user: &UserKey) -> u64 {
    MARK_BYTES + (user.app.as_str().len() + user.user.as_str().len()) as u64
}

/// What is told of windows that were shortened; clones count into the same numbers.
#[derive(Debug, Clone, Default)]
pub struct MarkMetrics {
    /// Times that marks left, or were given less time, because they took too much.
    pub shortened: Counter,
    /// For how long the newest marks are kept at least, seconds.
    pub window: Gauge<f64, AtomicU64>,
}

impl MarkMetrics {
    /// Registers everything.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        let help = "Times that the window of marks was shortened because they took too much";
        registry.register("dedupe_window_shortened", help, new.shortened.clone());
        let help = "How long a settled delivery was remembered at least, lately";
        registry.register_with_unit("dedupe_window", help, Unit::Seconds, new.window.clone());
        new
    }

    pub(crate) fn show(&self, window_ms: u64) {
        self.window.set(window_ms as f64 / 1_000.0);
    }
}

/// Marks that are written at some rate are kept for as long as the bound takes at that rate: for stores whose marks leave by
/// themselves, each at its time.
#[derive(Debug)]
pub struct MarkRate {
    bytes_max: u64,
    parts: Mutex<Parts>,
    metrics: MarkMetrics,
    pressed: AtomicU64,
}

#[derive(Debug, Default)]
struct Parts {
    /// Bytes written, by part of time, the oldest first.
    parts: VecDeque<(u64, u64)>,
    bytes: u64,
}

/// A part of the time over which the rate is taken, milliseconds.
const PART_MS: u64 = 1_000;
/// How many there are.
const PARTS: usize = 60;
/// The shortest time over which a rate is taken, milliseconds.
const PARTS_MS_MIN: u64 = 10_000;
/// Marks are kept this long whatever they take, milliseconds: repetitions after a crash come within it.
const KEEP_MS_MIN: u64 = 1_000;

impl MarkRate {
    /// Marks may take so many bytes.
    pub fn new(bytes_max: u64, metrics: MarkMetrics) -> Arc<Self> {
        Arc::new(Self { bytes_max, parts: Mutex::default(), metrics, pressed: AtomicU64::new(0) })
    }

    /// Marks of so many bytes are written. Answers for how long they are kept, at most `full_ms`; what is shorter than `window_ms` is
    /// counted, once in each part of time.
    pub fn keep_ms(&self, now_ms: u64, bytes: u64, window_ms: u64, full_ms: u64) -> u64 {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let part = now_ms / PART_MS;
        match parts.parts.back_mut() {
            Some((last, written)) if *last >= part => *written += bytes,
            _ => parts.parts.push_back((part, bytes)),
        }
        parts.bytes += bytes;
        while parts.parts.front().is_some_and(|(first, _)| first + (PARTS as u64) <= part) {
            parts.bytes -= parts.parts.pop_front().map_or(0, |(_, bytes)| bytes);
        }
        let since = parts.parts.front().map_or(part, |(first, _)| *first);
        let over_ms = (now_ms.saturating_sub(since * PART_MS)).max(PARTS_MS_MIN);
        let fits_ms = u128::from(self.bytes_max) * u128::from(over_ms) / u128::from(parts.bytes.max(1));
        let keep_ms = u64::try_from(fits_ms).unwrap_or(u64::MAX).clamp(KEEP_MS_MIN, full_ms.max(KEEP_MS_MIN));
        if keep_ms < window_ms && self.pressed.swap(part, Ordering::Relaxed) != part {
            self.metrics.shortened.inc();
        }
        self.metrics.show(keep_ms.min(window_ms));
        keep_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_slowly_is_kept_in_full_and_a_flood_as_long_as_it_fits() {
        let metrics = MarkMetrics::default();
        let rate = MarkRate::new(1_000_000, metrics.clone());
        for second in 0..100 {
            assert_eq!(rate.keep_ms(second * 1_000, 1_000, 600_000, 600_000), 600_000, "1 kB/s fits 1,000 s");
        }
        assert_eq!(metrics.shortened.get(), 0);
        let mut keep_ms = 0;
        for second in 100..200 {
            keep_ms = rate.keep_ms(second * 1_000, 10_000, 600_000, 600_000);
        }
        assert!((95_000..=105_000).contains(&keep_ms), "10 kB/s fit 100 s: {keep_ms}");
        assert!(metrics.shortened.get() > 10 && metrics.window.get() < 106.0);
        assert_eq!(rate.keep_ms(200_000, 1 << 40, 600_000, 600_000), KEEP_MS_MIN);
    }
}
