//! How far a gateway is in leaving. All threads read it; whoever is told to stop moves it on, never back.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// The state; see [`Stage`].
#[derive(Debug, Default)]
pub(crate) struct Departure {
    stage: AtomicU8,
    began_ms: AtomicU64,
    grace_ms: u64,
}

/// What a gateway does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It serves.
    Serving,
    /// It serves, and says that it is not ready: whoever spreads clients has time to notice.
    Grace,
    /// It takes nothing new and ends its sessions at the set pace.
    Draining,
    /// It ends all sessions at once.
    Stopping,
    /// It waits for nobody.
    Abandoning,
}

impl Departure {
    /// A gateway that serves, and will for `grace_ms` once it is told to drain.
    pub(crate) fn new(grace_ms: u32) -> Self {
        Self { grace_ms: grace_ms.into(), ..Self::default() }
    }

    /// Begins to drain, if nothing began before; whether it did.
    pub(crate) fn drain(&self, now_ms: u64) -> bool {
        let began = self.began_ms.compare_exchange(0, now_ms.max(1), Ordering::SeqCst, Ordering::SeqCst).is_ok();
        self.stage.fetch_max(Stage::Grace as u8, Ordering::SeqCst);
        began
    }

    /// Ends all sessions at once.
    pub(crate) fn stop(&self, now_ms: u64) {
        self.drain(now_ms);
        self.stage.fetch_max(Stage::Stopping as u8, Ordering::SeqCst);
    }

    /// Waits for nobody.
    pub(crate) fn abandon(&self, now_ms: u64) {
        self.stop(now_ms);
        self.stage.fetch_max(Stage::Abandoning as u8, Ordering::SeqCst);
    }

    /// Whether leaving began.
    pub(crate) fn began(&self) -> bool {
        self.stage.load(Ordering::Relaxed) != Stage::Serving as u8
    }

    /// Where it stands.
    pub(crate) fn stage(&self, now_ms: u64) -> Stage {
        match self.stage.load(Ordering::SeqCst) {
            n if n == Stage::Serving as u8 => Stage::Serving,
            n if n == Stage::Abandoning as u8 => Stage::Abandoning,
            n if n == Stage::Stopping as u8 => Stage::Stopping,
            _ if now_ms < self.began_ms.load(Ordering::SeqCst).saturating_add(self.grace_ms) => Stage::Grace,
            _ => Stage::Draining,
        }
    }

    /// Whether nothing new is taken.
    pub(crate) fn is_closed(&self, now_ms: u64) -> bool {
        self.began() && self.stage(now_ms) >= Stage::Draining
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_serves_through_its_grace_and_goes_one_way() {
        let departure = Departure::new(500);
        assert_eq!((departure.stage(9_000), departure.began()), (Stage::Serving, false));
        assert!(departure.drain(1_000) && !departure.drain(1_400), "it begins once");
        assert_eq!((departure.stage(1_499), departure.is_closed(1_499)), (Stage::Grace, false));
        assert_eq!((departure.stage(1_500), departure.is_closed(1_500)), (Stage::Draining, true));
        departure.abandon(1_600);
        departure.stop(1_700);
        assert_eq!(departure.stage(1_700), Stage::Abandoning);
    }
}
