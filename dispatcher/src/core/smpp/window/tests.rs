//! The window, driven by bytes of a message centre and by the time.

use super::*;
use crate::{
    core::smpp::{pdu::Address, receipt::ReceiptState},
    limits::SMPP_PDU_BYTES_MAX,
};

const BIND: Bind<'static> = Bind { system_id: "shop", password: "secret", system_type: "" };

/// A PDU of the message centre.
fn pdu(command: u32, status: u32, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut out = ((16 + body.len()) as u32).to_be_bytes().to_vec();
    for field in [command, status, sequence] {
        out.extend(field.to_be_bytes());
    }
    out.extend(body);
    out
}

fn opened() -> Window<u32> {
    Window::open(&BIND, 30_000, IdForm::Same, 0)
}

fn bound() -> Window<u32> {
    let mut window = opened();
    written(&mut window);
    assert_eq!(heard(&mut window, &pdu(command::BIND_TRANSCEIVER_RESP, 0, 1, b"smsc\0")), Ok(vec![Event::Bound]));
    window
}

fn heard(window: &mut Window<u32>, bytes: &[u8]) -> Result<Vec<Event<u32>>, Fault> {
    let mut events = Vec::new();
    window.received(bytes, 1_000, |event| events.push(event)).map(|()| events)
}

/// Heads of what is to be written.
fn written(window: &mut Window<u32>) -> Vec<Head> {
    let (mut out, mut frames, mut heads) = (Vec::new(), Frames::default(), Vec::new());
    window.take_out(&mut out);
    frames.push(&out);
    while let Some(frame) = frames.take().unwrap() {
        heads.push(pdu::head(frame).unwrap());
    }
    heads
}

fn submit(window: &mut Window<u32>, whom: u32) {
    let source = Address { ton: 5, npi: 0, digits: "Shop".into() };
    let submit = Submit {
        service_type: "",
        source: &source,
        to: (1, 1),
        digits: "8613800000000",
        has_head: false,
        receipt: true,
        data_coding: 0,
        valid_s: None,
        payload: false,
        body: b"hi",
    };
    window.submit(&submit, whom, 1_000);
}

#[test]
fn answers_find_their_submits_in_any_order() {
    let mut window = bound();
    (0..3).for_each(|whom| submit(&mut window, whom));
    let sequences: Vec<u32> = written(&mut window).iter().map(|head| head.sequence).collect();
    assert_eq!((sequences.as_slice(), window.len()), (&[2, 3, 4][..], 3));
    let mut answers = pdu(command::SUBMIT_SM_RESP, 0, 4, b"id-c\0");
    answers.extend(pdu(command::SUBMIT_SM_RESP, 0x58, 2, b""));
    answers.extend(pdu(command::GENERIC_NACK, 3, 3, b""));
    let events = heard(&mut window, &answers).unwrap();
    let expected =
        [Event::Answered(2, 0, Some("id-c".into())), Event::Answered(0, 0x58, None), Event::Answered(1, 3, None)];
    assert_eq!((events.as_slice(), window.is_empty()), (&expected[..], true));
    assert_eq!(heard(&mut window, &answers), Ok(vec![]), "an answer counts once");
}

#[test]
fn what_was_not_handed_over_is_not_perhaps_sent() {
    let mut window = bound();
    submit(&mut window, 1);
    written(&mut window);
    submit(&mut window, 2);
    let mut closed = window.close();
    closed.sort_unstable();
    assert_eq!(closed, [(1, true), (2, false)]);
    assert!(!window.is_bound() && window.close().is_empty());
}

#[test]
fn a_silent_message_centre_is_asked_and_then_given_up() {
    let mut window = bound();
    assert_eq!(window.tick(2_000, |_| {}), Ok(31_000));
    assert!(written(&mut window).is_empty());
    assert_eq!(window.tick(31_000, |_| {}), Ok(41_000));
    assert_eq!(written(&mut window)[0].command, command::ENQUIRE_LINK);
    assert_eq!(window.tick(40_999, |_| {}), Ok(41_000));
    let mut answered = window;
    assert_eq!(answered.tick(41_000, |_| {}), Err(Fault::Silent));
    let mut other = bound();
    other.tick(31_000, |_| {}).unwrap();
    let sequence = written(&mut other)[0].sequence;
    other.received(&pdu(command::ENQUIRE_LINK_RESP, 0, sequence, b""), 32_000, |_| {}).unwrap();
    assert_eq!(other.tick(32_000, |_| {}), Ok(62_000));
}

#[test]
fn a_submit_that_nobody_answers_gives_its_place_back() {
    let mut window = bound();
    submit(&mut window, 7);
    written(&mut window);
    let mut events = Vec::new();
    window.heard_ms = 61_000;
    window.tick(61_000, |event| events.push(event)).unwrap();
    assert_eq!((events.as_slice(), window.len()), (&[Event::Forgotten(7)][..], 0));
}

#[test]
fn receipts_are_answered_once_they_are_recorded_and_messages_at_once() {
    let mut window = bound();
    let deliver = |sequence, class: u8, text: &str| {
        let mut body = b"\0\x01\x01123\0\x01\x01456\0".to_vec();
        body.extend([class, 0, 0, 0, 0, 0, 0, 0, 0, text.len() as u8]);
        body.extend(text.as_bytes());
        pdu(command::DELIVER_SM, 0, sequence, &body)
    };
    let events = heard(&mut window, &deliver(9, 4, "id:ab stat:DELIVRD")).unwrap();
    let receipt = Receipt { id: "ab".into(), state: ReceiptState::Delivered, error: None };
    assert_eq!(events, [Event::Receipt(9, receipt)]);
    assert!(written(&mut window).is_empty());
    window.confirm(9, status::QUEUE_FULL);
    assert_eq!(heard(&mut window, &deliver(10, 0, "STOP")), Ok(vec![]));
    let heads: Vec<_> = written(&mut window).iter().map(|head| (head.sequence, head.status)).collect();
    assert_eq!(heads, [(9, status::QUEUE_FULL), (10, 0)]);
}

#[test]
fn it_answers_what_it_is_asked_and_ends_when_told() {
    let mut window = bound();
    let asked =
        [pdu(command::ENQUIRE_LINK, 0, 5, b""), pdu(0x77, 0, 6, b""), pdu(command::ALERT_NOTIFICATION, 0, 7, b"x")];
    assert_eq!(heard(&mut window, &asked.concat()), Ok(vec![]));
    let heads: Vec<_> = written(&mut window).iter().map(|head| (head.command, head.status, head.sequence)).collect();
    assert_eq!(heads, [(command::ENQUIRE_LINK_RESP, 0, 5), (command::GENERIC_NACK, 3, 6)]);
    window.unbind();
    assert_eq!(written(&mut window)[0].command, command::UNBIND);
    assert_eq!(heard(&mut window, &pdu(command::UNBIND_RESP, 0, 2, b"")), Err(Fault::Unbound));
}

#[test]
fn a_centre_that_leaves_may_answer_what_is_under_way_before_it_is_let_go() {
    let left = |window: &mut Window<u32>, now_ms| {
        window.tick(now_ms, |_| {}).unwrap();
        let agreed = window.has_left();
        (agreed, written(window).iter().any(|head| (head.command, head.sequence) == (command::UNBIND_RESP, 8)))
    };
    for answered in [true, false] {
        let mut window = bound();
        submit(&mut window, 7);
        written(&mut window);
        assert_eq!(heard(&mut window, &pdu(command::UNBIND, 0, 8, b"")), Ok(vec![Event::Leaving]));
        assert_eq!((window.is_bound(), left(&mut window, 1_001)), (false, (false, false)));
        assert_eq!(heard(&mut window, &pdu(command::UNBIND, 0, 9, b"")), Ok(vec![]), "once is enough");
        if answered {
            let events = heard(&mut window, &pdu(command::SUBMIT_SM_RESP, 0, 2, b"a\0")).unwrap();
            assert_eq!(events, [Event::Answered(7, 0, Some("a".into()))]);
            assert_eq!(left(&mut window, 1_002), (true, true));
        } else {
            assert_eq!(left(&mut window, 1_000 + SMPP_UNBIND_ANSWERS_MS - 1), (false, false));
            assert_eq!(left(&mut window, 1_000 + SMPP_UNBIND_ANSWERS_MS), (true, true));
            assert_eq!(window.close(), [(7, true)]);
        }
        assert!(!left(&mut window, 9_000).1, "once is enough");
    }
}

#[test]
fn who_asks_and_does_not_read_is_not_read_either() {
    let mut window = bound();
    let asked = pdu(command::ENQUIRE_LINK, 0, 5, b"");
    for _ in 0..SMPP_ANSWERS_WAITING_MAX {
        assert!(!window.is_crowded());
        heard(&mut window, &asked).unwrap();
    }
    assert!(window.is_crowded());
    assert_eq!(written(&mut window).len(), SMPP_ANSWERS_WAITING_MAX);
    assert!(!window.is_crowded());
}

#[test]
fn who_is_not_let_in_is_told_why_and_nonsense_ends_it() {
    let refused = pdu(command::BIND_TRANSCEIVER_RESP, 0x0e, 1, b"");
    assert_eq!(heard(&mut opened(), &refused), Err(Fault::Refused("ESME_RINVPASWD".into())));
    assert_eq!(
        heard(&mut opened(), &pdu(command::GENERIC_NACK, 3, 1, b"")),
        Err(Fault::Refused("ESME_RINVCMDID".into()))
    );
    let endless = (SMPP_PDU_BYTES_MAX as u32 + 1).to_be_bytes();
    assert!(matches!(heard(&mut bound(), &endless), Err(Fault::Nonsense(_))));
}

#[test]
fn a_receipt_that_cannot_be_read_is_answered_lest_it_come_again_and_ends_nothing() {
    let mut window = bound();
    submit(&mut window, 1);
    written(&mut window);
    assert_eq!(heard(&mut window, &pdu(command::DELIVER_SM, 0, 9, b"x")), Ok(vec![]));
    let heads: Vec<_> = written(&mut window).iter().map(|head| (head.command, head.status, head.sequence)).collect();
    assert_eq!(heads, [(command::DELIVER_SM_RESP, status::OK, 9)]);
    assert_eq!(window.len(), 1);
}

#[test]
fn numbers_begin_anew_after_the_last_and_none_is_taken_twice() {
    let mut window = bound();
    submit(&mut window, 1);
    window.sequence = 0x7fff_fffe;
    (2..6).for_each(|whom| submit(&mut window, whom));
    let mut sequences: Vec<u32> = window.under_way.keys().copied().collect();
    sequences.sort_unstable();
    assert_eq!(sequences, [1, 2, 3, 4, 0x7fff_ffff]);
}
