//! What goes to addresses alone, beside pushes of the same app.

use pushgate_protocol::message::Channel;

use super::*;
use crate::{channels::Outlets, core::account::Parcel};

fn mail(offset: u64) -> Record {
    let value =
        format!(r#"{{"id":"m{offset}","to":{{"emails":["a@b.c"]}},"channels":["email"],"content":{{"title":"t"}}}}"#);
    record(offset, &value)
}

/// Accounts of mail with room for 50 recipients of a lane, and what they are given.
fn accounts() -> (Accounts, Outlets) {
    let (accounts, [outlets, _]) = Accounts::new(Vec::new());
    (accounts.with_room(Channel::Email, 50), outlets)
}

fn take(outlets: &mut Outlets) -> Vec<Parcel> {
    let mut taken = Vec::new();
    while let Ok(parcels) = outlets[Lane::High as usize].try_recv() {
        taken.extend(parcels);
    }
    taken
}

#[test]
fn pushes_go_on_while_no_more_than_there_is_room_for_waits_for_a_channel() {
    let (accounts, mut outlets) = accounts();
    let mut records: Vec<Record> = (0..3_000).map(mail).collect();
    records.extend((3_000..6_000).map(|n| of_app(n, "a", "u")));
    let script = Script { records, accounts: Some(accounts), apps: &["a", "b"], ..Script::default() };
    let mut lane = Lane1::start_with(1, script);
    let (mut pushes, mut parcels) = (0, Vec::new());
    while pushes < 3_000 {
        for (_, token) in next_batch(&mut lane) {
            pushes += 1;
            lane.settled.send(vec![token]).unwrap();
        }
        parcels.extend(take(&mut outlets));
    }
    assert!((1..=50).contains(&parcels.len()), "{}", parcels.len());
    // The next push is waited for, not what waits for the channel.
    let waited = lane.source.with(|s| s.waited);
    lane.source.until(|s| s.waited > waited + 5);
    // What settles there makes room.
    let mut settled = 0;
    while settled < 3_000 {
        for parcel in parcels.drain(..) {
            settled += 1;
            lane.settled.send(vec![parcel.token]).unwrap();
        }
        parcels.extend(take(&mut outlets));
        std::thread::yield_now();
    }
    lane.source.until(|s| s.settled.len() == 6_000);
    lane.end();
}

#[test]
fn accounts_are_told_where_what_waits_for_them_soon_keeps_a_lane_from_reading_on() {
    let (accounts, mut outlets) = accounts();
    let script =
        Script { records: (0..200).map(mail).collect(), accounts: Some(accounts.clone()), ..Script::default() };
    let lane = Lane1::start_with(1, script);
    let crowded = || accounts.crowded().lanes()[Lane::High as usize];
    lane.source.until(|s| s.records.is_empty() && s.waited > 5);
    assert!(!crowded(), "there is room");
    lane.source.with(|s| s.room = Some(limits::LEDGER_RECORDS_MAX / 2 - 1));
    while !crowded() {
        std::thread::yield_now();
    }
    while crowded() {
        let tokens = take(&mut outlets).into_iter().map(|parcel| parcel.token).collect();
        lane.settled.send(tokens).unwrap();
        std::thread::yield_now();
    }
    lane.end();
}
