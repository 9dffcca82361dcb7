//! What goes on while something does not settle: behind a full ledger, and beside apps that are slow.

use super::*;

/// Polls of a lane that find nothing after which it is said to stand.
const STANDS: u64 = 50;

fn ledger(room: usize) -> Option<(Ledger, usize)> {
    let mut ledger = Ledger::new();
    ledger.assign(0);
    Some((ledger, room))
}

/// The next deliveries; none once the lane stands.
fn next_or_standing(lane: &mut Lane1) -> Vec<(String, Token)> {
    let from = lane.source.with(|s| s.idle);
    loop {
        // Looked at before the inbox: what came meanwhile is seen.
        let stands = lane.source.with(|s| s.idle) > from + STANDS;
        if let Ok(batch) = lane.inboxes[0].deliveries[0].try_recv() {
            return batch.into_iter().map(|d| (d.user.app.to_string(), d.token)).collect();
        }
        if stands {
            return Vec::new();
        }
        std::thread::yield_now();
    }
}

/// Takes deliveries until the lane stands, settles those of apps that are not slow. Answers how many, and the slow ones' tokens.
fn take_all(lane: &mut Lane1, slow: &[&str]) -> (usize, Vec<Token>) {
    let (mut settled, mut left) = (0, Vec::new());
    loop {
        let batch = next_or_standing(lane);
        if batch.is_empty() {
            return (settled, left);
        }
        for (app, token) in batch {
            if slow.contains(&app.as_str()) {
                left.push(token);
            } else {
                settled += 1;
                lane.settled.send(vec![token]).unwrap();
            }
        }
    }
}

#[test]
fn a_full_ledger_stops_reading_and_not_what_was_read() {
    let mut records = vec![of_app(0, "slow", "u")];
    records.extend((1..6_000).map(|n| of_app(n, &format!("app{}", n % 20), "u")));
    let script = Script { records, ledger: ledger(3_000), ..Script::default() };
    let mut lane = Lane1::start_with(1, script);
    let (settled, slow) = take_all(&mut lane, &["slow"]);
    assert_eq!((settled, slow.len()), (2_999, 1));
    lane.settled.send(vec![slow[0]]).unwrap();
    let (settled, _) = take_all(&mut lane, &[]);
    assert_eq!(settled, 3_000);
    lane.source.until(|s| s.settled.len() == 6_000);
    lane.end();
}

#[test]
fn the_record_that_stands_first_is_taken_however_far_off_its_apps_turn_is() {
    // A ledger smaller than a turn of all apps: what stands first is read long before its turn.
    let records = (0..3_000).map(|n| of_app(n, &format!("app{}", n / 100 % 20), "u")).collect();
    let mut lane = Lane1::start_with(1, Script { records, ledger: ledger(1_200), ..Script::default() });
    let mut waiting = std::collections::VecDeque::new();
    let mut settled = 0;
    loop {
        // Those taken last settle first, so that the ledger fills behind those taken first.
        let batch = next_or_standing(&mut lane);
        let standing = batch.is_empty();
        waiting.extend(batch);
        let some = if standing { waiting.len().div_ceil(2) } else { waiting.len() / 3 };
        for (_, token) in waiting.split_off(waiting.len() - some) {
            settled += 1;
            lane.settled.send(vec![token]).unwrap();
        }
        if standing && some == 0 {
            break;
        }
    }
    assert_eq!(settled, 3_000);
    lane.source.until(|s| s.ledger.as_ref().is_some_and(|(ledger, _)| ledger.committable(0) == Some(3_000)));
    lane.end();
}

#[test]
fn two_apps_that_do_not_settle_leave_room_for_one_that_does() {
    let records = (0..4_500).map(|n| of_app(n, ["slow1", "slow2", "quick"][n as usize % 3], "u")).collect();
    let script = Script { records, app_in_flight_max: Some(750), ledger: ledger(100_000), ..Script::default() };
    let mut lane = Lane1::start_with(1, script);
    let (settled, slow) = take_all(&mut lane, &["slow1", "slow2"]);
    assert_eq!(settled, 1_500);
    assert!((600..700).contains(&slow.len()), "{}", slow.len());
    lane.end();
}
