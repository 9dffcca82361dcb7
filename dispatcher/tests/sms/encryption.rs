//! `smpps://`: a message centre behind TLS.

use pushgate_dispatcher::{
    channels::{Checked, config::AccountConfig, sms},
    core::account::Answer,
};
use tempfile::NamedTempFile;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    centre::{Centre, SUBMIT},
    parcels::{detail, text},
    submits::config,
    tls::identity,
};

/// Stands in front of a centre; its port.
async fn front(centre: &Centre, acceptor: TlsAcceptor) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, behind) = (listener.local_addr().unwrap().port(), centre.address.clone());
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                let Ok(mut tls) = acceptor.accept(tcp).await else { return };
                let Ok(mut tcp) = TcpStream::connect(behind).await else { return };
                let _ = copy_bidirectional(&mut tls, &mut tcp).await;
            });
        }
    });
    port
}

fn account(centre: &Centre, scheme: &str, port: u16, ca: &NamedTempFile) -> AccountConfig {
    let mut account = config(&centre.address);
    account.url = format!("{scheme}://shop@localhost:{port}");
    account.ca_file = Some(ca.path().to_str().unwrap().into());
    account
}

fn taking() -> Centre {
    Centre::start(|session, pdu| {
        if !session.lets_in(&pdu) {
            session.answer(&pdu, 0, b"id7\0");
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn submits_go_encrypted_to_whom_somebody_vouches_for() {
    let (centre, (acceptor, ca)) = (taking(), identity("localhost"));
    let port = front(&centre, acceptor).await;
    let provider = sms::open(&account(&centre, "smpps", port, &ca)).unwrap();
    assert!(matches!(provider.check().await, Checked::Fit(_)));
    let parcels: Vec<_> = (0..300).map(|n| text(&format!("+861380013{n:04}"), "hi")).collect();
    let answers = futures_util::future::join_all(parcels.iter().map(|parcel| provider.deliver(parcel))).await;
    assert!(answers.iter().all(|answer| *answer == Answer::Sent { provider_id: Some("id7".into()) }), "{answers:?}");
    assert_eq!(centre.heard(SUBMIT).submitted().text, b"hi");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_to_whom_nobody_vouches_for() {
    for (name, own) in [("localhost", false), ("elsewhere.example", true)] {
        let (centre, (acceptor, ca), (_, stranger)) = (taking(), identity(name), identity("localhost"));
        let port = front(&centre, acceptor).await;
        let account = account(&centre, "smpps", port, if own { &ca } else { &stranger });
        let provider = sms::open(&account).unwrap();
        let answer = provider.deliver(&text("+8613800138000", "hi")).await;
        assert!(
            answer.as_str() == "unavailable" && detail(&answer).contains("TLS: invalid peer certificate"),
            "{answer:?}"
        );
        assert_eq!(centre.binds(), 0, "no password is told");
    }
}
