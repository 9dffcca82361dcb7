//! A message centre at the other end of a pipe.

use std::sync::Arc;

use pushgate_protocol::apps::Secret;
use tokio::{
    io::{AsyncWriteExt, duplex, split},
    sync::oneshot,
};

use super::*;
use crate::{
    channels::{
        config::AccountConfig,
        sms::smpp::{receipts::Book, settings::Settings},
    },
    core::{
        account::Sending,
        smpp::{
            pdu::{Address, Bind, Submit},
            window::Window,
        },
    },
};

/// What the pipe holds, bytes.
const PIPE_BYTES: usize = 256;

fn submit(source: &Address) -> Submit<'_> {
    Submit {
        service_type: "",
        source,
        to: (1, 1),
        digits: "8613800138000",
        has_head: false,
        receipt: false,
        data_coding: 0,
        valid_s: None,
        payload: false,
        body: &[b'x'; 140],
    }
}

#[tokio::test]
async fn a_message_centre_that_does_not_read_is_hung_up_on() {
    let mut account = AccountConfig::new("carrier", "smpp", "smpp://shop@127.0.0.1:2775");
    account.password = Some(Secret::new("hunter2"));
    // However slow the machine is.
    account.connection.open_ms = 300_000;
    let settings = Settings { write_for: Duration::from_millis(20), ..Settings::of(&account).unwrap() };
    let link = Link::new(Arc::new(settings));
    let mut receipts = Receipts::new(Book::new(&link.settings.smpp));
    let bind = Bind { system_id: "shop", password: "hunter2", system_type: "" };
    link.shared().window = Some(Window::open(&bind, 3_600_000, link.settings.smpp.ids(), link.now_ms()));
    let (ours, mut centre) = duplex(PIPE_BYTES);
    let (reader, writer) = split(ours);
    let halves = Halves { reader: Box::new(reader), writer: Box::new(writer) };
    let (_keep, mut stop) = watch::channel(());
    let says = async {
        let mut head = [0; 16];
        centre.read_exact(&mut head).await.unwrap();
        let mut rest = vec![0; u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize - head.len()];
        centre.read_exact(&mut rest).await.unwrap();
        let mut answer = vec![0, 0, 0, 17, 0x80, 0, 0, head[7], 0, 0, 0, 0];
        answer.extend_from_slice(&head[12..]);
        answer.push(0);
        centre.write_all(&answer).await.unwrap();
        assert_eq!(link.ready().await, Ok(()));
        let source = Address::default();
        let mut answers = Vec::new();
        for _ in 0..3 {
            let (answer, answered) = oneshot::channel();
            let place = Arc::clone(&link.places).acquire_owned().await.unwrap();
            link.submit(&submit(&source), Waiter { parts: None, sending: Sending::default(), answer, place });
            answers.push(answered);
        }
        // From here on it reads nothing.
        (centre, answers)
    };
    let (ended, _says) = tokio::join!(link.converse(halves, &mut receipts, &mut stop), says);
    let Ended::Broken(why) = ended else { panic!("it is hung up on") };
    assert_eq!(why, "it takes nothing of what is written to it");
}
