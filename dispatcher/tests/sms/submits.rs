//! What is submitted, and what follows of each answer.

use std::sync::Arc;

use futures_util::future::join_all;
use pushgate_dispatcher::{
    channels::{
        Provider,
        config::AccountConfig,
        sms::{
            self,
            config::{LongName, SmppConfig},
        },
    },
    core::account::Answer,
};
use pushgate_protocol::apps::Secret;
use serde_json::json;

use crate::{
    centre::{BIND, Centre, SUBMIT, Submitted},
    parcels::{detail, parcel, text},
};

pub fn config(address: &str) -> AccountConfig {
    let mut config = AccountConfig::new("carrier", "smpp", &format!("smpp://shop@{address}"));
    config.password = Some(Secret::new("hunter2"));
    config.from = Some("Shop".into());
    // However slow the machine is.
    config.connection.open_ms = 300_000;
    config
}

pub fn open(address: &str, change: impl FnOnce(&mut SmppConfig)) -> Arc<dyn Provider> {
    let mut config = config(address);
    let mut smpp = SmppConfig { enquire_ms: 3_600_000, ..SmppConfig::default() };
    change(&mut smpp);
    config.smpp = Some(smpp);
    sms::open(&config).unwrap()
}

/// A centre that takes everything.
fn taking() -> Centre {
    let mut count = 0;
    Centre::start(move |session, pdu| {
        if !session.lets_in(&pdu) && pdu.command == SUBMIT {
            count += 1;
            session.answer(&pdu, 0, format!("id-{count}\0").as_bytes());
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_message_goes_out_as_configured_and_is_sent_by_the_name_that_it_got() {
    let centre = taking();
    let provider = open(&centre.address, |_| {});
    let answer = provider.deliver(&text("+86 138 0013 8000", "hi")).await;
    assert_eq!(answer, Answer::Sent { provider_id: Some("id-1".into()) });
    assert_eq!(centre.heard(BIND).texts()[..2], ["shop", "hunter2"]);
    let submitted = centre.heard(SUBMIT).submitted();
    let expected = Submitted {
        source: (5, 0, "Shop".into()),
        destination: (1, 1, "8613800138000".into()),
        esm_class: 0,
        validity: submitted.validity.clone(),
        receipt: 1,
        data_coding: 0,
        text: b"hi".to_vec(),
        payload: Vec::new(),
    };
    assert_eq!(submitted, expected);
    // A day, or the moment less that has passed.
    assert!(
        ["000001000000000R", "000000235959000R"].contains(&submitted.validity.as_str())
            || submitted.validity.starts_with("00000023"),
        "{}",
        submitted.validity
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_any_script_and_length_go_out_whole() {
    let centre = taking();
    let provider = open(&centre.address, |_| {});
    provider
        .deliver(&parcel(json!({"id": "m2", "to": {"phones": ["+8613800138000"]}, "channels": ["sms"],
        "content": {"body": "b"}, "overrides": {"sms": {"text": "你好", "sign": "店"}}})))
        .await;
    let one = centre.heard(SUBMIT).submitted();
    assert_eq!(one.data_coding, 8);
    let units: Vec<u16> = one.text.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    assert_eq!(String::from_utf16(&units).unwrap(), "【店】你好");
    let answer = provider.deliver(&text("+8613800138000", &"x".repeat(400))).await;
    assert_eq!(answer.as_str(), "sent");
    let parts: Vec<_> = (0..3).map(|_| centre.heard(SUBMIT).submitted()).collect();
    assert!(
        parts
            .iter()
            .all(|part| part.esm_class == 0x40 && part.text[..3] == [5, 0, 3] && part.text[3] == parts[0].text[3])
    );
    assert_eq!(parts.iter().map(|part| (part.text[4], part.text[5])).collect::<Vec<_>>(), [(3, 1), (3, 2), (3, 3)]);
    assert_eq!(parts.iter().map(|part| part.text.len() - 6).sum::<usize>(), 400);
    let whole = open(&centre.address, |smpp| smpp.long = LongName::Payload);
    whole.deliver(&text("+8613800138000", &"x".repeat(400))).await;
    let one = centre.heard(SUBMIT).submitted();
    assert_eq!((one.text.len(), one.payload.len(), one.esm_class), (0, 400, 0));
    let endless = provider.deliver(&text("+8613800138000", &"x".repeat(5_000))).await;
    assert_eq!(endless.as_str(), "content");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_is_full_and_no_fuller_and_answers_come_in_any_order() {
    let mut held = Vec::new();
    let centre = Centre::start(move |session, pdu| {
        if session.lets_in(&pdu) {
            return;
        }
        held.push(pdu);
        assert!(held.len() <= 10, "more than the window");
        if held.len() == 10 {
            for pdu in held.drain(..).rev() {
                let to = pdu.submitted().destination.2;
                session.answer(&pdu, 0, format!("{to}\0").as_bytes());
            }
        }
    });
    let provider = open(&centre.address, |smpp| smpp.window = 10);
    let parcels: Vec<_> = (0..500).map(|n| text(&format!("+861380013{n:04}"), "hi")).collect();
    let answers = join_all(parcels.iter().map(|parcel| provider.deliver(parcel))).await;
    for (parcel, answer) in parcels.iter().zip(answers) {
        let name = parcel.address.as_str().trim_start_matches('+').to_owned();
        assert_eq!(answer, Answer::Sent { provider_id: Some(name) });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_means_what_the_guide_says() {
    let centre = Centre::start(|session, pdu| {
        if !session.lets_in(&pdu) && pdu.command == SUBMIT {
            let status = pdu.submitted().text.iter().fold(0, |status, digit| status * 10 + u32::from(digit - b'0'));
            session.answer(&pdu, status, b"");
        }
    });
    let provider = open(&centre.address, |_| {});
    for (status, answer, said) in [
        (0x0b, "address_dead", "ESME_RINVDSTADR"),
        (0x01, "content", "ESME_RINVMSGLEN"),
        (0x0a, "policy", "ESME_RINVSRCADR"),
        (0x0f, "unavailable", "ESME_RINVSYSID"),
        (0x08, "retry_after", "ESME_RSYSERR"),
        (0x58, "retry_after", "ESME_RTHROTTLED"),
    ] {
        let parcel = text("+8613800138000", &status.to_string());
        let answered = provider.deliver(&parcel).await;
        assert_eq!((answered.as_str(), detail(&answered)), (answer, said));
        assert_eq!(parcel.sending.is_handed_over(), answer != "unavailable", "only then may another account send it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_long_text_goes_along_when_its_first_part_was_taken() {
    let mut count = 0;
    let centre = Centre::start(move |session, pdu| {
        if !session.lets_in(&pdu) && pdu.command == SUBMIT {
            count += 1;
            let status = if count == 2 { 0x58 } else { 0 };
            session.answer(&pdu, status, format!("p{count}\0").as_bytes());
        }
    });
    let provider = open(&centre.address, |_| {});
    let answer = provider.deliver(&text("+8613800138000", &"x".repeat(300))).await;
    assert_eq!(answer, Answer::Sent { provider_id: Some("p1".into()) });
    let parts: Vec<u8> = (0..3).map(|_| centre.heard(SUBMIT).submitted().text[5]).collect();
    assert_eq!(parts, [1, 2, 2]);
}
