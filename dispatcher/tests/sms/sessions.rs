//! Sessions that do not come about, break and come back.

use std::sync::Arc;

use pushgate_dispatcher::{
    channels::{Checked, sms},
    core::account::Answer,
};
use pushgate_protocol::apps::Secret;

use crate::{
    centre::{ANSWER, BIND, Centre, ENQUIRE, SUBMIT, UNBIND},
    parcels::{detail, text},
    submits::{config, open},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_submitted_when_the_connection_broke_is_unknown_and_the_next_goes_over_a_new_one() {
    let centre = Centre::start(|session, pdu| {
        if session.lets_in(&pdu) || pdu.command != SUBMIT {
            return;
        }
        match session.number {
            0 => session.hang_up(),
            _ => session.answer(&pdu, 0, b"again\0"),
        }
    });
    let provider = open(&centre.address, |_| {});
    let first = text("+8613800138000", "hi");
    let answer = provider.deliver(&first).await;
    assert_eq!(answer.as_str(), "unknown", "{answer:?}");
    assert!(detail(&answer).contains("not sent again") && first.sending.may_be_sent());
    // Until it is back nothing is sent, and that is known.
    loop {
        let parcel = text("+8613800138001", "hi");
        let answer = provider.deliver(&parcel).await;
        match answer.as_str() {
            "unavailable" => assert!(!parcel.sending.may_be_sent()),
            other => {
                assert_eq!(other, "sent");
                break;
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_centre_that_is_not_there_is_unavailable_with_why() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let provider = open(&gone.to_string(), |_| {});
    let answer = provider.deliver(&text("+8613800138000", "hi")).await;
    assert_eq!(answer.as_str(), "unavailable");
    assert!(detail(&answer).contains("cannot be connected to"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_is_told_and_looking_says_what_helps() {
    let centre = Centre::start(|session, pdu| {
        if pdu.command == BIND {
            let status = if pdu.texts()[1] == "hunter2" { 0 } else { 0x0e };
            session.answer(&pdu, status, b"centre\0");
        }
    });
    let right = config(&centre.address);
    assert_eq!(sms::open(&right).unwrap().check().await, Checked::Fit("it lets shop in as a transceiver".into()));
    let mut wrong = right.clone();
    wrong.password = Some(Secret::new("other"));
    let wrong = sms::open(&wrong).unwrap();
    let Checked::Unfit { what, remedy } = wrong.check().await else { panic!("unfit") };
    assert!(what.contains("ESME_RINVPASWD") && remedy.contains("password") && !what.contains("other"), "{what}");
    let answer = wrong.deliver(&text("+8613800138000", "hi")).await;
    assert_eq!((answer.as_str(), detail(&answer)), ("unavailable", "to bind it said ESME_RINVPASWD"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_account_says_goodbye() {
    let centre = Centre::start(|session, pdu| {
        if !session.lets_in(&pdu) {
            session.answer(&pdu, 0, b"x\0");
        }
    });
    let provider = open(&centre.address, |_| {});
    assert_eq!(provider.deliver(&text("+8613800138000", "hi")).await.as_str(), "sent");
    assert_eq!(Arc::strong_count(&provider), 1);
    drop(provider);
    let heard = tokio::task::spawn_blocking(move || centre.heard(6)).await.unwrap();
    assert_eq!(heard.command, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_centre_is_asked_whether_it_is_there_and_stays() {
    let centre = Centre::start(|session, pdu| {
        if !session.lets_in(&pdu) {
            session.answer(&pdu, 0, b"");
        }
    });
    let provider = open(&centre.address, |smpp| smpp.enquire_ms = 1_000);
    assert_eq!(provider.deliver(&text("+8613800138000", "hi")).await.as_str(), "sent");
    let centre = tokio::task::spawn_blocking(move || {
        centre.heard(ENQUIRE);
        centre.heard(ENQUIRE);
        centre
    });
    let centre = centre.await.unwrap();
    assert_eq!(provider.deliver(&text("+8613800138000", "hi")).await.as_str(), "sent");
    assert_eq!(centre.binds(), 1, "over the same connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_centre_that_ends_the_session_is_heard_out_and_bound_to_again() {
    let mut first = None;
    let centre = Centre::start(move |session, pdu| {
        if session.lets_in(&pdu) {
            return;
        }
        match (session.number, pdu.command) {
            // It leaves, and answers what it has.
            (0, SUBMIT) => {
                session.say(UNBIND, 0, 77, b"");
                session.say(ENQUIRE, 0, 78, b"");
                first = Some(pdu);
            }
            (0, command) if command == ANSWER | ENQUIRE => {
                let first = first.take().unwrap();
                session.answer(&first, 0, b"first\0");
            }
            (_, SUBMIT) => session.answer(&pdu, 0, b"second\0"),
            _ => {}
        }
    });
    let provider = open(&centre.address, |_| {});
    let answer = provider.deliver(&text("+8613800138000", "hi")).await;
    assert_eq!(answer, Answer::Sent { provider_id: Some("first".into()) });
    let centre = tokio::task::spawn_blocking(move || (centre.heard(ANSWER | UNBIND).sequence, centre));
    let (sequence, _centre) = centre.await.unwrap();
    assert_eq!(sequence, 77, "it is let go");
    loop {
        match provider.deliver(&text("+8613800138000", "hi")).await {
            Answer::Unavailable { .. } => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            answer => break assert_eq!(answer, Answer::Sent { provider_id: Some("second".into()) }),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_connections_share_what_is_sent() {
    let centre = Centre::start(|session, pdu| {
        let number = session.number;
        if !session.lets_in(&pdu) && pdu.command == SUBMIT && number == 0 {
            session.answer(&pdu, 0, b"x\0");
        } else if pdu.command == SUBMIT {
            session.answer(&pdu, 0, b"y\0");
        }
    });
    let provider = open(&centre.address, |smpp| {
        smpp.window = 1;
        smpp.binds = 2;
    });
    let parcels: Vec<_> = (0..50).map(|_| text("+8613800138000", "hi")).collect();
    let answers = futures_util::future::join_all(parcels.iter().map(|parcel| provider.deliver(parcel))).await;
    assert!(answers.iter().all(|answer| answer.as_str() == "sent"), "{answers:?}");
    centre.heard(BIND);
    centre.heard(BIND);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_ends_has_said_goodbye_and_sends_nothing_more() {
    let centre = Centre::start(|session, pdu| {
        if !session.lets_in(&pdu) {
            session.answer(&pdu, 0, if pdu.command == SUBMIT { b"x\0" } else { b"" });
        }
    });
    let provider = open(&centre.address, |_| {});
    assert_eq!(provider.deliver(&text("+8613800138000", "hi")).await.as_str(), "sent");
    provider.end().await;
    centre.heard(UNBIND);
    let late = text("+8613800138000", "hi");
    assert_eq!((provider.deliver(&late).await.as_str(), late.sending.may_be_sent()), ("unavailable", false));
}
