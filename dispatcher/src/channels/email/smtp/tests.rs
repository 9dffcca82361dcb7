//! Connections that go on being opened though nobody waits for them.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::channels::tests::parcel;

struct Fixture {
    server: TcpListener,
    smtp: Smtp,
}

impl Fixture {
    async fn new() -> Self {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}?tls=never", server.local_addr().unwrap());
        let mut account = AccountConfig::new("relay", "smtp", &url);
        account.from = Some("shop@example.org".into());
        // However slow the machine is.
        account.connection.open_ms = 300_000;
        let smtp = Smtp::of(&account).unwrap();
        Self { server, smtp }
    }

    /// An attempt that is given up once it is connected: what the server has of it.
    async fn given_up(&self) -> TcpStream {
        let parcel = parcel();
        let mut attempt = self.smtp.deliver(&parcel);
        let (server, _) = tokio::select! {
            _ = &mut attempt => panic!("nobody greeted it"),
            accepted = self.server.accept() => accepted.unwrap(),
        };
        server
    }
}

#[tokio::test]
async fn a_connection_is_opened_though_its_attempt_was_given_up_unless_too_many_are() {
    let fixture = Fixture::new().await;
    let mut server = fixture.given_up().await;
    assert_eq!(fixture.smtp.given_up.count(), 1);
    assert!(!fixture.smtp.take_heard());
    server.write_all(b"220 late\r\n").await.unwrap();
    let mut said = [0; 5];
    server.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"EHLO ");
    server.write_all(b"250 late\r\n").await.unwrap();
    while fixture.smtp.given_up.count() > 0 {
        tokio::task::yield_now().await;
    }

    assert!(fixture.smtp.take_heard() && !fixture.smtp.take_heard(), "that it is there is told once");
    let others: Vec<_> = (0..limits::SMTP_OPENINGS_GIVEN_UP_MAX).map(|_| fixture.smtp.given_up.begin()).collect();
    assert!(others.iter().all(|(other, _)| other.leave(usize::MAX)));
    // The connection that waits takes the next mail.
    drop(fixture.smtp.pool.take(&fixture.smtp.settings).unwrap());
    let mut server = fixture.given_up().await;
    assert_eq!(server.read(&mut said).await.unwrap(), 0, "it is broken off with its attempt");
}
