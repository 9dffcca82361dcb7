//! A text message is noted as handed over before the provider has anything of it.

use std::{fs, io::Read, net::TcpListener, path::Path, sync::Arc, thread};

use prometheus_client::metrics::counter::Counter;
use pushgate_dispatcher::{
    channels::{
        config::AccountConfig,
        journal::{Entry, Journal, record},
        sms,
    },
    core::account::Parcel,
    seams::Mark,
};
use pushgate_protocol::apps::Secret;

use crate::{
    centre::{Centre, SUBMIT},
    parcels::text,
    submits,
};

/// Marks that would be set of a process that is killed now.
fn left(folder: &Path) -> Vec<Mark> {
    let files = fs::read_dir(folder).into_iter().flatten();
    let pages = files.map(|file| record::read(&fs::read(file.unwrap().path()).unwrap()));
    pages.flat_map(|page| page.noted).map(|(_, mark)| mark).collect()
}

fn noted_in(folder: &Path) -> Parcel {
    let journal = Journal::new(folder.to_owned(), 1, Counter::default());
    let text = text("+8613800138000", "hi");
    let entry = Entry { journal: Arc::clone(&journal), delivery: text.query() };
    text.sending.note_in(|| Box::new(entry));
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_byte_of_a_call() {
    let folder = tempfile::tempdir().unwrap();
    let (listener, path) = (TcpListener::bind("127.0.0.1:0").unwrap(), folder.path().to_owned());
    let mut account =
        AccountConfig::new("carrier", "twilio", &format!("http://AC1@{}", listener.local_addr().unwrap()));
    account.password = Some(Secret::new("hunter2"));
    account.from = Some("+15005550006".into());
    let text = noted_in(&path);
    let provider = sms::open(&account).unwrap();
    let seen = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0]).unwrap();
        left(&path)
    });
    assert_eq!(provider.deliver(&text).await.as_str(), "unknown");
    assert_eq!(seen.join().unwrap(), [Mark::Unknown]);
    assert!(text.sending.noted().is_some(), "until it is marked");
}

#[tokio::test(flavor = "multi_thread")]
async fn before_a_submit_and_once_for_all_parts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let (tell, seen) = std::sync::mpsc::channel();
    let centre = Centre::start({
        let path = path.clone();
        move |session, pdu| {
            if !session.lets_in(&pdu) && pdu.command == SUBMIT {
                tell.send(left(&path)).unwrap();
                session.answer(&pdu, 0, b"id\0");
            }
        }
    });
    let provider = submits::open(&centre.address, |_| {});
    let text = Parcel { sending: noted_in(&path).sending, ..text("+8613800138000", &"a".repeat(200)) };
    assert_eq!(provider.deliver(&text).await.as_str(), "sent");
    assert_eq!(seen.iter().take(2).collect::<Vec<_>>(), [[Mark::Unknown], [Mark::Unknown]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_to_no_connection_is_not_noted() {
    let folder = tempfile::tempdir().unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = noted_in(folder.path());
    let provider = submits::open(&gone.to_string(), |_| {});
    assert_eq!(provider.deliver(&text).await.as_str(), "unavailable");
    assert_eq!((text.sending.noted(), left(folder.path())), (None, vec![]));
}
