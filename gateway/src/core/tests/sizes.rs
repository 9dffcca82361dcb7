//! What an idle session costs.

use crate::core::{
    outbox::Held,
    slots::{Entry, Session},
    users::User,
};

/// Bytes of an idle session of a user with one session, on 64 bits: its slot, its user's place (with app interned), the
/// index (a `u32` and a control byte at 7/8 load, twice that right after growth) and the user id's block
/// (two counts and, say, 16 bytes of text).
#[test]
fn an_idle_session_costs_at_most_176_bytes() {
    assert_eq!(size_of::<Session>(), 80);
    assert_eq!(size_of::<Entry>(), 80, "telling what a slot holds costs nothing");
    assert_eq!(size_of::<Option<User>>(), 48);
    let index = (size_of::<u32>() + 1) * 8 / 7 * 2;
    let block = 2 * size_of::<usize>() + 16;
    assert!(size_of::<Entry>() + size_of::<User>() + index + block <= 176);
    assert_eq!(size_of::<Held>(), 32, "one unacknowledged push, besides what sessions share");
}
