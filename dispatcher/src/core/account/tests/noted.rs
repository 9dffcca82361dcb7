//! What is noted of parcels that may not be sent twice.

use std::sync::{Mutex, PoisonError};

use super::*;
use crate::seams::StreamOp;

/// What was noted: in which place something stands, and whether it does.
#[derive(Debug, Clone, Default)]
struct Places(Arc<Mutex<Vec<bool>>>);

#[derive(Debug)]
struct Book {
    places: Places,
    /// As somebody does while it is noted.
    meanwhile: Option<Sending>,
}

impl Places {
    fn now(&self) -> Vec<bool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Notebook for Book {
    fn handed_over(&self) -> Option<Noted> {
        let mut places = self.places.0.lock().unwrap();
        places.push(true);
        if let Some(sending) = &self.meanwhile {
            assert!(sending.revoke());
        }
        Some(Noted(places.len() as u32 - 1))
    }

    fn given_back(&self, noted: Noted) {
        self.places.0.lock().unwrap()[noted.0 as usize] = false;
    }
}

fn noted_in(places: &Places, sending: &Sending) {
    sending.note_in(|| Box::new(Book { places: places.clone(), meanwhile: None }));
}

#[test]
fn it_is_noted_before_it_is_handed_over_and_once() {
    let (places, sending) = (Places::default(), Sending::default());
    noted_in(&places, &sending);
    sending.begin();
    assert!((sending.noted(), places.now()) == (None, vec![]));
    assert!(sending.hand_over_in(sending.turn()));
    let _ = sending.hand_over();
    assert_eq!((sending.noted(), places.now()), (Some(Noted(0)), vec![true]));
    assert_eq!((sending.take_noted(), sending.take_noted()), (Some(Noted(0)), None));
    // Another attempt is noted anew.
    sending.clear();
    sending.begin();
    let _ = sending.hand_over();
    assert_eq!(sending.noted(), Some(Noted(1)));
}

#[test]
fn one_that_is_given_up_while_it_is_noted_is_not_handed_over_and_leaves_no_note() {
    let (places, sending) = (Places::default(), Sending::default());
    sending.note_in(|| Box::new(Book { places: places.clone(), meanwhile: Some(sending.clone()) }));
    sending.begin();
    assert!(!sending.hand_over_in(sending.turn()));
    assert_eq!((sending.noted(), places.now(), sending.may_be_sent()), (None, vec![false], false));
    // Nor does one that was given up before.
    assert!(!sending.hand_over_in(sending.turn()));
    assert_eq!(places.now().len(), 1);
}

#[test]
fn what_nobody_answered_is_marked_so_and_stays_noted_until_then() {
    let settings = PoolSettings { policy: RetryPolicy { retry_unknown: false, ..settings().policy }, ..settings() };
    let mut pool = Pool::new(settings, vec![relay()], 1);
    assert!(pool.settles_unknown() && !account().settles_unknown());
    pool.take(NOW, vec![parcel("m", 5, Lane::Normal)]);
    let attempts = begun(&mut pool, NOW);
    let (places, sending) = (Places::default(), &attempts[0].parcel.sending);
    noted_in(&places, sending);
    sending.begin();
    let _ = sending.hand_over();
    pool.tick(NOW + 10_000);
    let [Ended::Over(over)] = &pool.take_ended()[..] else { panic!() };
    assert_eq!((over.state.record.state, over.noted), (State::Unknown, Some(Noted(0))));
    assert!(matches!(over.mark, Some(StreamOp::Mark { mark: Mark::Unknown, .. })));
    assert_eq!(places.now(), [true]);
}
