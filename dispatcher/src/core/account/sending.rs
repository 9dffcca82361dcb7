//! How far an attempt is, and where that is noted for the case that the process is killed.
//!
//! Invariant: what is noted as handed over is noted before it is, and known by whoever looks how far the attempt is: both stand in one word.

use std::{
    fmt,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

/// How far an attempt is: what it means if it is given up. A provider that says nothing may have sent what it was given.
#[derive(Debug, Clone, Default)]
pub struct Sending(Arc<Progress>);

#[derive(Debug, Default)]
pub(super) struct Progress {
    /// As [`At`] has it.
    at: AtomicU64,
    /// Where it is noted before it is handed over; nowhere if it may be sent again.
    notebook: OnceLock<Box<dyn Notebook>>,
}

/// Where it is noted that a parcel is handed over.
pub trait Notebook: fmt::Debug + Send + Sync {
    /// It is about to be. Where that stands now, if it could be noted.
    fn handed_over(&self) -> Option<Noted>;

    /// It was not, after all.
    fn given_back(&self, noted: Noted);
}

/// The place in a journal where something of a parcel is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted(pub u32);

/// An attempt, for whoever goes on with it where it cannot be held up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn(u32);

/// An attempt, how far it is, and where that is noted.
#[derive(Debug, Clone, Copy)]
struct At {
    turn: Turn,
    reached: u8,
    noted: Option<Noted>,
}

impl At {
    /// In the lowest bits how far it is, above them the attempt's number, and in the upper half the place plus 1.
    const BITS: u32 = 3;

    fn pack(self) -> u64 {
        let noted = self.noted.map_or(0, |Noted(place)| u64::from(place) + 1);
        noted << 32 | u64::from(self.turn.0 << Self::BITS | u32::from(self.reached))
    }

    fn unpack(packed: u64) -> Self {
        let low = packed as u32;
        let noted = ((packed >> 32) as u32).checked_sub(1).map(Noted);
        Self { turn: Turn(low >> Self::BITS), reached: (low & ((1 << Self::BITS) - 1)) as u8, noted }
    }

    fn is_unsent(self) -> bool {
        matches!(self.reached, Sending::BEGUN | Sending::CALLED | Sending::REACHED | Sending::REVOKED)
    }
}

impl Sending {
    const BEGUN: u8 = 1;
    const CALLED: u8 = 2;
    const REACHED: u8 = 3;
    const HANDED_OVER: u8 = 4;
    const REVOKED: u8 = 5;

    /// From now on it is noted there before it is handed over. Once: later ones do not count.
    pub fn note_in(&self, notebook: impl FnOnce() -> Box<dyn Notebook>) {
        self.0.notebook.get_or_init(notebook);
    }

    /// It begins, and nothing is sent before [`Self::hand_over`].
    pub fn begin(&self) {
        self.reach(Self::BEGUN, |_| true);
    }

    /// From here on the provider is waited for, and nothing is sent before [`Self::hand_over`].
    pub fn call(&self) {
        self.reach(Self::CALLED, |_| true);
    }

    /// The provider was heard of in this attempt: it is there, however long it takes from here on. Says nothing of an attempt that did not
    /// [`call`](Self::call), nor of one that was handed over.
    pub fn reached(&self) {
        self.reach(Self::REACHED, |at| at.reached == Self::CALLED);
    }

    /// From here on the recipient may get it. `false` if the attempt was given up, and nothing may be sent.
    #[must_use]
    pub fn hand_over(&self) -> bool {
        self.hand_over_if(|at| at.reached != Self::REVOKED)
    }

    /// This attempt.
    pub fn turn(&self) -> Turn {
        self.at().turn
    }

    /// The same for whoever is not polled, and goes on though nobody waits: `false` if the attempt was given up, and nothing may be sent.
    pub fn hand_over_in(&self, turn: Turn) -> bool {
        self.hand_over_if(|at| at.turn == turn && at.reached != Self::REVOKED)
    }

    /// Notes it first: between the two it may be given up, and then is not handed over.
    fn hand_over_if(&self, may: impl Fn(At) -> bool) -> bool {
        let before = self.at();
        let notebook = self.0.notebook.get().filter(|_| before.noted.is_none() && may(before));
        let noted = notebook.and_then(|notebook| notebook.handed_over());
        let went = self.go(|at| may(at).then(|| At { reached: Self::HANDED_OVER, noted: at.noted.or(noted), ..at }));
        if let (None, Some(notebook), Some(noted)) = (went, notebook, noted) {
            notebook.given_back(noted);
        }
        went.is_some()
    }

    /// Gives it up if nothing was handed over: then nothing is. Answers whether that is so.
    pub fn revoke(&self) -> bool {
        self.reach(Self::REVOKED, At::is_unsent)
    }

    /// What is known of it is noted there.
    pub fn note(&self, noted: Noted) {
        self.go(|at| Some(At { noted: Some(noted), ..at }));
    }

    /// Where it is noted that it was handed over, or taken.
    pub fn noted(&self) -> Option<Noted> {
        self.at().noted
    }

    /// The same, for whoever makes sure that it is needed no more.
    pub fn take_noted(&self) -> Option<Noted> {
        self.go(|at| Some(At { noted: None, ..at })).and_then(|before| before.noted)
    }

    /// Says for how long it is held by anybody.
    pub(super) fn presence(&self) -> Weak<Progress> {
        Arc::downgrade(&self.0)
    }

    /// Whether the recipient may get it.
    pub fn may_be_sent(&self) -> bool {
        !self.at().is_unsent()
    }

    /// An attempt is about to be made: nothing is known of it.
    pub(super) fn clear(&self) {
        self.go(|At { turn: Turn(turn), noted, .. }| Some(At { turn: Turn(turn.wrapping_add(1)), reached: 0, noted }));
    }

    /// Whether it began and did not call the provider yet.
    pub(super) fn is_begun(&self) -> bool {
        self.at().reached == Self::BEGUN
    }

    /// Whether the provider was called and not heard of since.
    pub fn is_unheard(&self) -> bool {
        self.at().reached == Self::CALLED
    }

    /// Whether it was handed over.
    pub fn is_handed_over(&self) -> bool {
        self.at().reached == Self::HANDED_OVER
    }

    fn at(&self) -> At {
        At::unpack(self.0.at.load(Ordering::Relaxed))
    }

    fn reach(&self, reached: u8, may: impl Fn(At) -> bool) -> bool {
        self.go(|at| may(at).then_some(At { reached, ..at })).is_some()
    }

    /// Goes on from where it is. Answers where that was, if it did.
    fn go(&self, next: impl Fn(At) -> Option<At>) -> Option<At> {
        let next = |packed| next(At::unpack(packed)).map(At::pack);
        self.0.at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok().map(At::unpack)
    }
}
