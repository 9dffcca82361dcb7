//! Receipts of a message centre become results.

use std::sync::{Arc, atomic::Ordering};

use pushgate_dispatcher::channels::sms::config::IdName;
use pushgate_protocol::result::State;

use crate::{
    centre::{ANSWER, BIND, Centre, ENQUIRE, SUBMIT},
    parcels::{Told, text},
    submits::open,
};

const RECEIVED: u32 = ANSWER | 5;

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_tells_that_a_message_arrived_or_will_not() {
    let centre = Centre::start(|session, pdu| {
        if session.lets_in(&pdu) || pdu.command != SUBMIT {
            return;
        }
        let (id, word) = match pdu.submitted().text.as_slice() {
            b"arrives" => ("0A1", "DELIVRD"),
            _ => ("0a2", "UNDELIV"),
        };
        // A receipt may overtake its answer.
        if word == "UNDELIV" {
            session.receipt(7, "id:A2 sub:001 stat:UNDELIV err:00b text:secret");
        }
        session.answer(&pdu, 0, format!("{id}\0").as_bytes());
        if word == "DELIVRD" {
            session.receipt(8, "id:A1 sub:001 dlvrd:001 stat:DELIVRD err:000 text:secret");
        }
    });
    let provider = open(&centre.address, |smpp| smpp.receipt_ids = IdName::Loose);
    let told = Arc::new(Told::default());
    provider.start(told.reports());
    for words in ["arrives", "does not"] {
        assert_eq!(provider.deliver(&text("+8613800138000", words)).await.as_str(), "sent");
    }
    let records = told.until(2).await;
    let find = |state| records.iter().find(|record| record.state == state).unwrap();
    let arrived = find(State::Delivered);
    assert_eq!((arrived.provider_id.as_deref(), arrived.account.as_deref()), (Some("0A1"), Some("carrier")));
    assert_eq!((arrived.message.as_str(), arrived.recipient.user.as_str()), ("m1", "+8613800138000"));
    assert_eq!(find(State::Failed).reason.as_deref(), Some("the receipt says UNDELIV, error 00b"));
    assert!(!format!("{records:?}").contains("secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_cannot_be_recorded_is_refused_and_counts_when_it_comes_again() {
    let centre = Centre::start(|session, pdu| match pdu.command {
        SUBMIT => {
            session.answer(&pdu, 0, b"r1\0");
            session.receipt(1, "id:r1 stat:DELIVRD err:0");
        }
        RECEIVED if pdu.status != 0 => session.receipt(2, "id:r1 stat:DELIVRD err:0"),
        _ => {
            session.lets_in(&pdu);
        }
    });
    let provider = open(&centre.address, |_| {});
    let told = Arc::new(Told::default());
    told.fails.store(true, Ordering::Relaxed);
    provider.start(told.reports());
    assert_eq!(provider.deliver(&text("+8613800138000", "hi")).await.as_str(), "sent");
    assert_eq!(told.until(1).await[0].state, State::Delivered);
    let answers = [centre.heard(RECEIVED), centre.heard(RECEIVED)];
    assert_eq!(answers.map(|answer| (answer.sequence, answer.status)), [(1, 0x14), (2, 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_in_an_earlier_session_is_not_answered_in_the_next() {
    let centre = Centre::start(|session, pdu| {
        if session.lets_in(&pdu) || pdu.command != SUBMIT {
            return;
        }
        match session.number {
            0 => {
                session.answer(&pdu, 0, b"r1\0");
                session.receipt(71, "id:r1 stat:DELIVRD err:0");
                // It is here once what comes behind it is answered.
                session.say(ENQUIRE, 0, 72, b"");
            }
            _ => {
                session.answer(&pdu, 0, b"r2\0");
                session.receipt(5, "id:r2 stat:DELIVRD err:0");
            }
        }
    });
    let provider = open(&centre.address, |_| {});
    let told = Arc::new(Told::default());
    provider.start(told.reports());
    let held = told.hold.lock().await;
    assert_eq!(provider.deliver(&text("+8613800138000", "hi")).await.as_str(), "sent");
    let centre = tokio::task::spawn_blocking(move || {
        centre.heard(ANSWER | ENQUIRE);
        centre.hang_up();
        centre.heard(BIND);
        centre
    });
    let centre = centre.await.unwrap();
    while provider.deliver(&text("+8613800138001", "hi")).await.as_str() != "sent" {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    drop(held);
    assert_eq!(told.until(2).await.len(), 2, "both are recorded");
    let answer = tokio::task::spawn_blocking(move || centre.heard(RECEIVED)).await.unwrap();
    assert_eq!((answer.sequence, answer.status), (5, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_receipts_none_is_asked_for() {
    let centre = Centre::start(|session, pdu| {
        if !session.lets_in(&pdu) {
            session.answer(&pdu, 0, b"x\0");
        }
    });
    let provider = open(&centre.address, |smpp| smpp.receipts = false);
    provider.deliver(&text("+8613800138000", "hi")).await;
    assert_eq!(centre.heard(SUBMIT).submitted().receipt, 0);
}
