//! Accounts between lanes, stores and providers.

mod closing;
mod copies;
mod failover;
mod late_greeter;
mod noted;
mod rates;
mod reconfigured;
mod withdrawn;

use pushgate_protocol::{
    ids::{AppId, MessageId, UserId},
    link::Lane,
    message::{self, Channel, Retry},
    result::{Class, ResultInfo, State},
};
use serde_json::json;

use std::sync::Arc;

use super::*;
use crate::{
    core::worker::{Past, Token},
    limits::MARKS_BATCH_MAX,
    seams::{Hold, Mark, StoreError},
    suppressed::{Reason, Reasons},
};

const NOW: u64 = 1_800_000_000_000;

fn settings() -> PoolSettings {
    PoolSettings {
        channel: Channel::Email,
        policy: RetryPolicy { attempts_max: 3, base_ms: 1_000, cap_ms: 60_000, retry_unknown: true },
        queue_max: 3,
        deadline_ms: 10_000,
    }
}

fn relay() -> AccountSettings {
    AccountSettings {
        name: "relay".into(),
        priority: 1,
        weight: 1,
        concurrency: 2,
        reserved_high: 1,
        failover_ms: 500,
        open_ms: 5_000,
        rates: Rates::default(),
    }
}

/// A pool of one account.
fn account() -> Pool {
    Pool::new(settings(), vec![relay()], 1)
}

fn parcel(id: &str, token: u64, lane: Lane) -> Parcel {
    let json = json!({"to": {"emails": ["a@b.c", "d@e.f"]}, "channels": ["email"], "content": {"title": id}});
    let info = ResultInfo {
        occurrence: None,
        lane,
        class: Class::Transactional,
        accepted_ms: NOW,
        bytes: 10,
        meta: None,
        trace: None,
    };
    Parcel {
        token: Token(token),
        hold: Hold::default(),
        app: AppId::parse("shop").unwrap(),
        id: MessageId::parse(id).unwrap(),
        channel: Channel::Email,
        address: UserId::parse("a@b.c").unwrap(),
        lane,
        expires_ms: NOW + 86_400_000,
        retry: Retry { attempts: 0, parked: 0, unknown: 0, accepted_ms: NOW, origin: "normal/0/7".into() },
        sending: Sending::default(),
        redacted: false,
        info,
        message: Arc::new(message::decode(json.to_string().as_bytes()).unwrap()),
    }
}

/// Lets the stores answer that nothing is known of what is asked.
fn check(account: &mut Pool, now_ms: u64) {
    while let Some(query) = account.take_past() {
        let past = Past {
            marks: vec![None; query.marks.len()],
            recalled: vec![false; query.messages.len()],
            suppressed: vec![Reasons::default(); query.addresses.len()],
        };
        account.past(now_ms, Ok(past));
    }
}

fn begun(account: &mut Pool, now_ms: u64) -> Vec<Attempt> {
    check(account, now_ms);
    account.take_attempts(now_ms)
}

fn over(account: &mut Pool) -> Vec<(State, Option<String>, bool)> {
    let ended = account.take_ended().into_iter().filter_map(|ended| match ended {
        Ended::Over(over) => Some((over.state.record.state, over.state.record.reason, over.dead.is_some())),
        Ended::Later(_) | Ended::Withdrawn(_) => None,
    });
    ended.collect()
}

fn later(account: &mut Pool) -> Vec<Later> {
    let ended = account.take_ended().into_iter();
    ended.filter_map(|ended| if let Ended::Later(later) = ended { Some(later) } else { None }).collect()
}

fn retry_of(later: &Later) -> Retry {
    message::decode(&later.task.body).unwrap().retry.unwrap()
}

#[test]
fn what_was_sent_is_told_with_the_providers_name_for_it_and_marked() {
    let mut account = account();
    account.take(NOW, vec![parcel("m", 5, Lane::Normal)]);
    let attempts = begun(&mut account, NOW);
    account.answered(NOW + 40, attempts[0].id, Answer::Sent { provider_id: Some("p9".into()) });
    let [Ended::Over(over)] = &account.take_ended()[..] else { panic!() };
    let record = &over.state.record;
    assert_eq!((record.state, record.provider_id.as_deref(), record.attempt), (State::Sent, Some("p9"), 1));
    assert_eq!((record.account.as_deref(), record.channel), (Some("relay"), "email"));
    assert_eq!(over.state.token, Some(Token(5)));
    assert!(matches!(over.mark, Some(crate::seams::StreamOp::Mark { mark: Mark::Delivered, .. })));
    assert!(account.is_empty());
}

#[test]
fn a_failed_attempt_waits_in_the_schedule_as_a_message_to_its_recipient_alone() {
    let mut account = account();
    account.take(NOW, vec![parcel("m", 5, Lane::Low)]);
    let attempts = begun(&mut account, NOW);
    let busy = Answer::RetryAfter { after_ms: Some(30_000), detail: "421 busy".into() };
    account.answered(NOW, attempts[0].id, busy);
    let [later] = &later(&mut account)[..] else { panic!() };
    let message = message::decode(&later.task.body).unwrap();
    assert_eq!((message.to.emails, message.id.as_ref().map(MessageId::as_str)), (vec!["a@b.c".to_owned()], Some("m")));
    assert_eq!((message.retry.map(|r| r.attempts), later.task.head.lane), (Some(1), Lane::Low));
    assert!((NOW + 30_000..=NOW + 31_000).contains(&later.task.head.due_ms));
    let state = later.state.as_ref().map(|s| (s.record.state, s.record.reason.clone(), s.token));
    assert_eq!(state, Some((State::Scheduled, Some("421 busy".into()), None)));
    assert_eq!(later.token, Token(5));
}

#[test]
fn after_the_last_attempt_it_is_a_dead_letter_with_reason_attempts_and_origin() {
    let mut account = account();
    let last = Parcel { retry: Retry { attempts: 2, ..parcel("m", 5, Lane::Low).retry }, ..parcel("m", 5, Lane::Low) };
    let secret = Parcel { redacted: true, address: UserId::parse("d@e.f").unwrap(), ..last.clone() };
    account.take(NOW, vec![last, secret]);
    for _ in 0..2 {
        let attempts = begun(&mut account, NOW);
        account.answered(NOW, attempts[0].id, Answer::unavailable("refused"));
    }
    let dead: Vec<_> =
        account.take_ended().into_iter().filter_map(|e| if let Ended::Over(o) = e { o.dead } else { None }).collect();
    assert_eq!(dead.len(), 2);
    assert_eq!((dead[0].reason.as_str(), dead[0].attempts, dead[0].origin.as_str()), ("refused", 3, "normal/0/7"));
    assert_eq!(message::decode(&dead[0].value).unwrap().to.emails, ["a@b.c"]);
    assert!(dead[1].value.is_empty(), "what is redacted is in no dead letter");
}

#[test]
fn a_provider_that_answers_nothing_holds_no_parcel_past_its_deadline() {
    let mut account = account();
    account.take(NOW, (0..20).map(|n| parcel(&format!("m{n}"), n, Lane::Normal)).collect());
    let mut settled = later(&mut account).len();
    let attempts = begun(&mut account, NOW);
    settled += later(&mut account).len();
    assert_eq!(
        (attempts.len(), settled),
        (1, 17),
        "one worker of two is for lane high, three wait, the others are away"
    );
    let due_ms = account.tick(NOW).unwrap();
    assert_eq!(due_ms, NOW + 5_000);
    account.tick(due_ms);
    settled += later(&mut account).len();
    assert_eq!(settled, 19, "what waits for a worker is away at half of the deadline");
    account.tick(NOW + 10_000);
    let [late] = &later(&mut account)[..] else { panic!() };
    assert_eq!((retry_of(late).attempts, account.take_given_up()), (1, vec![attempts[0].id]));
    assert!(account.is_empty());
    account.answered(NOW + 10_001, attempts[0].id, Answer::Sent { provider_id: None });
    assert!(account.take_ended().is_empty(), "nobody listens any more");
}

#[test]
fn what_there_is_no_room_for_is_not_counted_as_tried() {
    let mut account = account();
    account.take(NOW, (0..5).map(|n| parcel(&format!("m{n}"), n, Lane::Normal)).collect());
    let away = later(&mut account);
    assert_eq!(away.iter().map(|l| (retry_of(l).attempts, retry_of(l).parked)).collect::<Vec<_>>(), [(0, 1), (0, 1)]);
    let names: std::collections::HashSet<_> = away.iter().map(|l| l.task.key.clone()).collect();
    assert_eq!(names.len(), 2);
    assert_eq!(away[0].state.as_ref().map(|s| s.record.reason.as_deref()), Some(Some("no room")));
}

#[test]
fn lane_high_has_workers_of_its_own_and_goes_first() {
    let mut account =
        Pool::new(PoolSettings { queue_max: 10, ..settings() }, vec![AccountSettings { concurrency: 3, ..relay() }], 1);
    account.take(NOW, (0..9).map(|n| parcel(&format!("low{n}"), n, Lane::Low)).collect());
    assert_eq!(begun(&mut account, NOW).len(), 2);
    account.take(NOW, vec![parcel("code", 99, Lane::High)]);
    let begun = begun(&mut account, NOW);
    assert_eq!(begun.iter().map(|a| a.parcel.id.as_str()).collect::<Vec<_>>(), ["code"]);
}

#[test]
fn lane_high_that_never_ends_leaves_a_turn_to_each_lower_lane() {
    let relay = AccountSettings { concurrency: 1, reserved_high: 0, ..relay() };
    let mut account = Pool::new(PoolSettings { queue_max: 100, ..settings() }, vec![relay], 1);
    let of_lane = |lane| (0..50).map(move |n| parcel(&format!("{lane:?}-{n}"), n, lane));
    account.take(NOW, Lane::ALL.into_iter().flat_map(of_lane).collect());
    let mut lanes = Vec::new();
    for _ in 0..36 {
        let attempt = begun(&mut account, NOW).remove(0);
        lanes.push(attempt.parcel.lane);
        account.answered(NOW, attempt.id, Answer::Sent { provider_id: None });
    }
    let of = |lane| lanes.iter().filter(|other| **other == lane).count();
    assert_eq!((of(Lane::High), of(Lane::Normal), of(Lane::Low)), (32, 2, 2), "{lanes:?}");
}

#[test]
fn what_is_over_or_taken_back_or_expired_is_not_tried() {
    let expired = Parcel { expires_ms: NOW, ..parcel("d", 5, Lane::Normal) };
    let all = ["a", "b", "u", "c"].map(|id| parcel(id, 1, Lane::Normal)).into_iter().chain([expired]);
    let mut account = Pool::new(PoolSettings { queue_max: 10, ..settings() }, vec![relay()], 1);
    account.take(NOW, all.collect());
    let query = account.take_past().unwrap();
    assert_eq!((query.marks.len(), query.messages.len()), (5, 5));
    let marks = vec![Some(Mark::Delivered), Some(Mark::Ended), Some(Mark::Unknown), None, None];
    let suppressed = vec![Reasons::default(); marks.len()];
    account.past(NOW, Ok(Past { marks, recalled: vec![false, false, false, true, false], suppressed }));
    assert!(account.take_attempts(NOW).is_empty());
    let states: Vec<State> = over(&mut account).into_iter().map(|(state, ..)| state).collect();
    assert_eq!(states, [State::Sent, State::Skipped, State::Unknown, State::Recalled, State::Expired]);
}

#[test]
fn nothing_is_tried_before_the_stores_have_answered() {
    let mut account = account();
    account.take(NOW, vec![parcel("m", 5, Lane::High)]);
    assert!(account.take_past().is_some() && account.take_attempts(NOW).is_empty());
    account.past(NOW, Err(StoreError::Unavailable { what: "fake", detail: "gone".into() }));
    assert!(account.take_past().is_none(), "there is a pause");
    let again_ms = account.tick(NOW).unwrap();
    account.tick(again_ms);
    assert_eq!(begun(&mut account, again_ms).len(), 1);
}

/// An account with ten workers whose provider has not answered ten attempts.
fn unanswered() -> Pool {
    let relay = AccountSettings { concurrency: 10, reserved_high: 0, ..relay() };
    let mut account = Pool::new(PoolSettings { queue_max: 100, ..settings() }, vec![relay], 1);
    account.take(NOW, (0..10).map(|n| parcel(&format!("m{n}"), n, Lane::Normal)).collect());
    assert_eq!(begun(&mut account, NOW).len(), 10);
    account.tick(NOW + 10_000);
    assert_eq!(later(&mut account).len(), 10);
    account
}

#[test]
fn while_a_provider_answers_nothing_no_attempt_is_spent_on_it_and_nothing_waits_for_long() {
    let mut account = unanswered();
    let open_ms = NOW + 10_000;
    account.take(open_ms, (20..25).map(|n| parcel(&format!("m{n}"), n, Lane::Normal)).collect());
    assert!(begun(&mut account, open_ms).is_empty());
    let due_ms = account.tick(open_ms).unwrap();
    assert_eq!(due_ms, open_ms + 1_000);
    account.tick(due_ms);
    let away = later(&mut account);
    assert_eq!(away.iter().map(|l| (retry_of(l).attempts, retry_of(l).parked)).collect::<Vec<_>>(), [(0, 1); 5]);
    // One attempt finds out whether it answers again.
    account.take(due_ms, (30..35).map(|n| parcel(&format!("m{n}"), n, Lane::Normal)).collect());
    let probe = begun(&mut account, due_ms);
    assert_eq!(probe.len(), 1);
    account.answered(due_ms + 5, probe[0].id, Answer::Sent { provider_id: None });
    assert_eq!(begun(&mut account, due_ms + 5).len(), 4);
}

#[test]
fn in_a_crowded_lane_no_more_waits_than_what_is_tried_next() {
    let relay = AccountSettings { concurrency: 2, reserved_high: 0, ..relay() };
    let mut account = Pool::new(PoolSettings { queue_max: 100, ..settings() }, vec![relay], 1);
    let lanes = [Lane::Normal, Lane::Low];
    account.take(NOW, (0..40).map(|n| parcel(&format!("m{n}"), n, lanes[n as usize % 2])).collect());
    assert_eq!(begun(&mut account, NOW).len(), 2);
    account.crowded([false, true, false]);
    account.tick(NOW);
    let away = later(&mut account);
    assert!(away.iter().all(|later| later.task.head.lane == Lane::Normal));
    assert_eq!(away.len(), 20 - 2 - 4, "two are tried, four wait");
    account.take(NOW, (50..70).map(|n| parcel(&format!("m{n}"), n, Lane::Normal)).collect());
    account.tick(NOW);
    assert_eq!(later(&mut account).len(), 16, "also of what is not yet known not to be over");
}

#[test]
fn a_crowded_lane_waits_for_an_account_that_keeps_up() {
    let relay = AccountSettings { concurrency: 2, reserved_high: 0, ..relay() };
    let mut account = Pool::new(PoolSettings { queue_max: 100, ..settings() }, vec![relay], 1);
    account.crowded([false, true, false]);
    let (mut now, mut next) = (NOW, 0);
    // A parcel each millisecond, answered in the next.
    while now < NOW + 500 {
        account.take(now, vec![parcel(&format!("m{next}"), next, Lane::Normal)]);
        next += 1;
        let attempts = begun(&mut account, now);
        now += 1;
        attempts.iter().for_each(|a| account.answered(now, a.id, Answer::Sent { provider_id: None }));
    }
    let away = |account: &mut Pool| account.take_ended().iter().filter(|e| matches!(e, Ended::Later(_))).count();
    assert_eq!(away(&mut account), 0);
    account.take(now, (0..90).map(|n| parcel(&format!("n{n}"), 1_000 + n, Lane::Normal)).collect());
    assert_eq!(begun(&mut account, now).len(), 2);
    account.tick(now);
    assert_eq!(away(&mut account), 0, "it will be through with them in a moment");
    account.tick(now + 1_500);
    assert_eq!(away(&mut account), 90 - 2 - 4, "it does not answer any more: two are tried, four wait");
}

#[test]
fn an_attempt_that_is_given_up_before_it_could_send_costs_no_once_more() {
    let given_up = |begun: bool, unknown: u32| {
        let mut account = Pool::new(settings(), vec![relay()], 7);
        let first = parcel("m", 1, Lane::Normal);
        account.take(NOW, vec![Parcel { retry: Retry { attempts: unknown, unknown, ..first.retry.clone() }, ..first }]);
        check(&mut account, NOW);
        let attempts = account.take_attempts(NOW);
        if begun {
            attempts[0].parcel.sending.begin();
        }
        account.tick(NOW + 10_000);
        account.take_ended().remove(0)
    };
    for (begun, unknown, wanted) in [(true, 0, Some(0)), (true, 1, Some(1)), (false, 0, Some(1)), (false, 1, None)] {
        match (given_up(begun, unknown), wanted) {
            (Ended::Later(later), Some(wanted)) => assert_eq!(retry_of(&later).unknown, wanted, "{begun} {unknown}"),
            (Ended::Over(over), None) => assert_eq!(over.state.record.state, State::Unknown),
            (other, _) => panic!("{begun} {unknown}: {other:?}"),
        }
    }
}

#[test]
fn an_address_that_is_sent_nothing_is_skipped_with_the_reason_unless_it_is_a_code_for_who_opted_out() {
    let opted_out = Reasons::of(Reason::OptedOut);
    let dead = opted_out.with(Reasons::of(Reason::Bounced));
    for (class, reasons, said) in [
        (Class::Marketing, opted_out, Some("suppressed: opted_out")),
        (Class::Transactional, opted_out, Some("suppressed: opted_out")),
        (Class::Otp, opted_out, None),
        (Class::Otp, dead, Some("suppressed: bounced")),
    ] {
        let mut account = account();
        let mut parcel = parcel("m1", 1, Lane::High);
        (parcel.info.class, parcel.address) = (class, UserId::parse("A@Bücher.example").unwrap());
        account.take(NOW, vec![parcel]);
        let query = account.take_past().unwrap();
        assert_eq!(query.addresses[0].address, "a@xn--bcher-kva.example");
        account.past(NOW, Ok(Past { marks: vec![None], recalled: vec![false], suppressed: vec![reasons] }));
        assert_eq!(account.take_attempts(NOW).len(), usize::from(said.is_none()), "{class:?}");
        let expected: Vec<_> = said.into_iter().map(|said| (State::Skipped, Some(said.to_owned()), false)).collect();
        assert_eq!(over(&mut account), expected, "{class:?}");
        assert_eq!(account.take_suppressed(), u64::from(said.is_some()));
    }
}

#[test]
fn a_code_is_looked_up_before_all_that_wait_for_that_in_lower_lanes_and_finds_room() {
    let mut account = Pool::new(PoolSettings { queue_max: 10_000, ..settings() }, vec![relay()], 1);
    account.take(NOW, (0..12_000).map(|n| parcel(&format!("m{n}"), n, Lane::Low)).collect());
    assert_eq!(later(&mut account).len(), 2_000, "as much of a lane as there is room for");
    account.take(NOW, vec![parcel("code", 20_000, Lane::High)]);
    assert!(account.take_ended().is_empty());
    let query = account.take_past().unwrap();
    assert_eq!(query.messages[0].id.as_str(), "code");
    // Lower lanes have their part of each question.
    account.past(NOW, Err(StoreError::Unavailable { what: "fake", detail: "gone".into() }));
    account.take(NOW, (0..5_000).map(|n| parcel(&format!("c{n}"), 30_000 + n, Lane::High)).collect());
    account.tick(NOW + 60);
    let query = account.take_past().unwrap();
    assert_eq!(query.messages[0].id.as_str(), "code");
    let low = query.messages.iter().filter(|message| message.id.as_str().starts_with('m')).count();
    assert_eq!((query.messages.len(), low), (MARKS_BATCH_MAX, MARKS_BATCH_MAX / 16));
}
