//! What a gateway said about pushes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pushgate_protocol::link::{Lane, ToDispatcher, ToGateway};

use crate::limits::HANDED_BACK_MAX;

/// Answers of all links so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    /// Pushes acknowledged by their clients.
    pub acked: u64,
    /// Acknowledgements of pushes to everybody.
    pub acked_all: u64,
    /// Pushes without acknowledgement that were written.
    pub written: u64,
    /// Pushes for users without a session.
    pub offline: u64,
    /// Pushes that are to wait in the stream.
    pub deferred: u64,
    /// Pushes for which there was no room.
    pub dropped: u64,
    /// Users told that their stream is empty.
    pub replayed: u64,
    /// Anything else about a push.
    pub other: u64,
}

/// A push that the gateway did not deliver. A dispatcher would keep it for later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandedBack {
    /// What the sender calls it.
    pub reference: u64,
    /// Why.
    pub why: &'static str,
}

/// The answers of a peer's links.
#[derive(Default)]
pub(super) struct Answered(Mutex<Book>);

#[derive(Default)]
pub(super) struct Book {
    pub(super) counts: Answers,
    pub(super) handed_back: Vec<HandedBack>,
}

impl Answered {
    pub(super) fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Takes a frame; appends to `out` what is answered, and tells the credit of a lane that it grants.
    pub(super) fn note(&mut self, frame: &ToDispatcher<'_>, out: &mut Vec<u8>) -> Option<(Lane, u32)> {
        let counts = &mut self.counts;
        match *frame {
            ToDispatcher::Credit { lane, bytes } => return Some((lane, bytes)),
            ToDispatcher::Online { app, user, episode, round, .. } => {
                counts.replayed += 1;
                ToGateway::Replayed { app, user, episode, round, k: 0, all: 0 }.encode(out);
            }
            // What was deferred is in no stream. It was told, and its user may go on.
            ToDispatcher::ReplayMore { app, user, episode, round, k } => {
                ToGateway::Replayed { app, user, episode, round, k, all: 0 }.encode(out);
            }
            ToDispatcher::Acked { .. } | ToDispatcher::AckedFor { .. } => counts.acked += 1,
            ToDispatcher::AckedAll { .. } => counts.acked_all += 1,
            ToDispatcher::Written { .. } => counts.written += 1,
            ToDispatcher::Offline { reference } => {
                counts.offline += 1;
                self.hand_back(reference, "handed back: the user is not connected");
            }
            ToDispatcher::Deferred { reference, .. } => {
                counts.deferred += 1;
                self.hand_back(reference, "handed back: the user was just connecting");
            }
            ToDispatcher::Dropped { reference } => {
                counts.dropped += 1;
                self.hand_back(reference, "handed back: the client takes too little");
            }
            ToDispatcher::Returned { reference: Some(reference), .. } => {
                counts.other += 1;
                self.hand_back(reference, "handed back: the client left without an acknowledgement");
            }
            ToDispatcher::Expired { reference } => {
                counts.other += 1;
                self.hand_back(reference, "handed back: it had expired");
            }
            ToDispatcher::Moved { reference, .. } => {
                counts.other += 1;
                self.hand_back(reference, "handed back: another gateway owns the user");
            }
            ToDispatcher::Pong | ToDispatcher::Gone { .. } => {}
            _ => counts.other += 1,
        }
        None
    }

    fn hand_back(&mut self, reference: u64, why: &'static str) {
        if self.handed_back.len() < HANDED_BACK_MAX {
            self.handed_back.push(HandedBack { reference, why });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_who_comes_is_told_that_its_stream_is_empty() {
        let (mut book, mut out, mut wanted) = (Book::default(), Vec::new(), Vec::new());
        let online = ToDispatcher::Online { app: "a", user: "u", episode: 3, round: 1, resume: None };
        assert_eq!(book.note(&online, &mut out), None);
        ToGateway::Replayed { app: "a", user: "u", episode: 3, round: 1, k: 0, all: 0 }.encode(&mut wanted);
        assert_eq!((out, book.counts.replayed), (wanted, 1));
    }

    #[test]
    fn what_is_not_delivered_is_handed_back_with_its_reason_and_credit_is_the_lanes() {
        let (mut book, mut out) = (Book::default(), Vec::new());
        for frame in [
            ToDispatcher::Acked { reference: 1, device: None },
            ToDispatcher::Offline { reference: 2 },
            ToDispatcher::Deferred { reference: 3, episode: 1, k: 0 },
        ] {
            assert_eq!(book.note(&frame, &mut out), None);
        }
        let references: Vec<_> = book.handed_back.iter().map(|back| back.reference).collect();
        assert_eq!((references, book.counts.acked), (vec![2, 3], 1));
        let credit = ToDispatcher::Credit { lane: Lane::Low, bytes: 77 };
        assert_eq!(book.note(&credit, &mut out), Some((Lane::Low, 77)));
        assert!(out.is_empty());
    }
}
