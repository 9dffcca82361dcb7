//! What an idle session costs.

use crate::core::{
    outbox::Held,
    slots::{Entry, Session},
    users::User,
};

/// Bytes of an idle session of a user with one session, on 64 bits: its slot, its place in the wheel, its user's place (with app
/// interned), the index (a `u32` and a control byte at 7/8 load, twice that right after growth) and the ids' blocks
/// (24 bytes of user and 16 of device, in sizes that the allocator rounds to 16).
#[test]
fn an_idle_session_costs_at_most_184_bytes() {
    assert_eq!(size_of::<Session>(), 72);
    assert_eq!(size_of::<Entry>(), 72, "telling what a slot holds costs nothing");
    assert_eq!(size_of::<Option<User>>(), 48);
    let index = (size_of::<u32>() + 1) * 8 / 7 * 2;
    let blocks = 32 + 16;
    let wheel = size_of::<u32>();
    assert!(size_of::<Entry>() + wheel + size_of::<User>() + index + blocks <= 184);
    assert_eq!(size_of::<Held>(), 32, "one unacknowledged push, besides what sessions share");
}
