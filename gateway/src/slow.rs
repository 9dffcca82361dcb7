//! A slow-down built into the push path, to see that comparisons find one. Only with the feature `slow-push`, which no release has.
//!
//! `PUSHGATE_SLOW_PUSH_NS` says for how long each push is held up, nanoseconds; 0 or nothing: not at all.

use std::{
    hint::spin_loop,
    sync::LazyLock,
    time::{Duration, Instant},
};

static PAUSE: LazyLock<Duration> = LazyLock::new(|| {
    let ns = std::env::var("PUSHGATE_SLOW_PUSH_NS").ok().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ns.unwrap_or(0))
});

/// Takes processor time, as slower code would.
pub(crate) fn push() {
    if PAUSE.is_zero() {
        return;
    }
    let began = Instant::now();
    while began.elapsed() < *PAUSE {
        spin_loop();
    }
}
