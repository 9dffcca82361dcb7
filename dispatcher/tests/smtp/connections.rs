//! How connections are kept, and given up.

use std::sync::Arc;

use futures_util::future::join_all;
use pushgate_dispatcher::{
    channels::email,
    core::account::{Answer, Parcel},
};

use crate::{
    account::{config, detail, mail, open},
    server::{Act, Script, Server, Stage},
};

#[tokio::test]
async fn mails_follow_one_another_over_one_connection() {
    for pipelining in [false, true] {
        let server = Server::start(Script::plain(pipelining)).await;
        let provider = open(&server);
        for _ in 0..20 {
            let sent = provider.deliver(&mail("a@b.c")).await;
            assert_eq!(sent, Answer::Sent { provider_id: Some("4B2F1".into()) });
        }
        assert_eq!((server.seen().connections, server.seen().mails.len()), (1, 20));
    }
}

#[tokio::test]
async fn there_are_no_more_connections_than_mails_under_way() {
    let server = Server::start(Script::plain(true)).await;
    let provider = open(&server);
    for _ in 0..5 {
        let parcels: Vec<_> = (0..8).map(|n| mail(&format!("u{n}@b.c"))).collect();
        let answers = join_all(parcels.iter().map(|parcel| provider.deliver(parcel))).await;
        assert!(answers.iter().all(|answer| answer.as_str() == "sent"), "{answers:?}");
    }
    let seen = server.seen();
    assert!(seen.connections <= 8 && seen.open_max <= 8, "{seen:?}");
    let mut to: Vec<_> = seen.mails.iter().flat_map(|mail| mail.to.clone()).collect();
    to.sort();
    assert_eq!(to.len(), 40);
    assert!(to.chunks(5).all(|five| five.iter().all(|one| *one == five[0])), "{to:?}");
}

#[tokio::test]
async fn a_connection_ends_after_its_mails_and_after_its_time() {
    let server = Server::start(Script::plain(true)).await;
    let few = email::open(&config(&server, |account| account.connection.messages_max = 2)).unwrap();
    for _ in 0..5 {
        assert_eq!(few.deliver(&mail("a@b.c")).await.as_str(), "sent");
    }
    assert_eq!(server.seen().connections, 3);
    let server = Server::start(Script::plain(true)).await;
    let short = email::open(&config(&server, |account| account.connection.age_ms = 0)).unwrap();
    for _ in 0..3 {
        assert_eq!(short.deliver(&mail("a@b.c")).await.as_str(), "sent");
    }
    server.until(|seen| seen.connections == 3 && seen.open == 0).await;
    assert_eq!(server.seen().commands.iter().filter(|line| *line == "QUIT").count(), 3);
}

#[tokio::test]
async fn a_connection_that_sends_nothing_is_closed_without_another_mail() {
    let server = Server::start(Script::plain(true)).await;
    let provider = email::open(&config(&server, |account| account.connection.idle_ms = 1)).unwrap();
    assert_eq!(provider.deliver(&mail("a@b.c")).await.as_str(), "sent");
    server.until(|seen| seen.open == 0).await;
    assert_eq!(server.seen().commands.last().map(String::as_str), Some("QUIT"));
}

#[tokio::test]
async fn a_mail_that_is_given_up_anywhere_takes_its_connection_with_it() {
    for pipelining in [false, true] {
        for stage in [Stage::Greeting, Stage::Ehlo, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Dot] {
            let server = Server::start(Script::plain(pipelining)).await;
            let provider = open(&server);
            let kept = !matches!(stage, Stage::Greeting | Stage::Ehlo);
            if kept {
                assert_eq!(provider.deliver(&mail("first@b.c")).await.as_str(), "sent");
            }
            server.then_at(stage, Act::Silence);
            let parcel = mail("a@b.c");
            tokio::select! {
                answer = provider.deliver(&parcel) => panic!("{stage:?}: {answer:?}"),
                () = server.until(|seen| seen.silent == 1) => {}
            }
            // Before the final dot it is known that the server has no mail.
            assert_eq!(parcel.sending.may_be_sent(), stage == Stage::Dot, "{stage:?}");
            assert_eq!(provider.deliver(&mail("next@b.c")).await.as_str(), "sent", "{stage:?}");
            assert_eq!(server.seen().connections, 2, "{stage:?}");
            let got: Vec<_> = server.seen().mails.iter().flat_map(|mail| mail.to.clone()).collect();
            assert_eq!(got, if kept { vec!["first@b.c", "next@b.c"] } else { vec!["next@b.c"] }, "{stage:?}");
        }
    }
}

#[tokio::test]
async fn a_mail_that_expired_before_it_was_handed_over_is_not_and_the_connection_takes_the_next() {
    let server = Server::start(Script::plain(true)).await;
    let provider = open(&server);
    let late = Parcel { expires_ms: 1, ..mail("late@b.c") };
    assert_eq!(provider.deliver(&late).await.as_str(), "late");
    assert!(!late.sending.may_be_sent());
    assert_eq!(provider.deliver(&mail("next@b.c")).await.as_str(), "sent");
    assert_eq!((server.seen().connections, server.seen().mails.len()), (1, 1));
}

#[tokio::test]
async fn a_server_that_does_not_open_in_time_is_unavailable() {
    for stage in [Stage::Greeting, Stage::Ehlo] {
        let server = Server::start(Script::plain(true).at(stage, Act::Silence)).await;
        let provider = email::open(&config(&server, |account| account.connection.open_ms = 10)).unwrap();
        let answer = provider.deliver(&mail("a@b.c")).await;
        assert_eq!(answer.as_str(), "unavailable", "{answer:?}");
        assert!(detail(&answer).contains("10 ms"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    // Taken, so that nobody else listens there, and not listened on.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let server = Server::start(Script::plain(true)).await;
    let gone = config(&server, |account| account.url = format!("smtp://{address}?tls=never"));
    let answer = email::open(&gone).unwrap().deliver(&mail("a@b.c")).await;
    assert_eq!(answer.as_str(), "unavailable");
    assert!(detail(&answer).contains("connect"), "{answer:?}");
}

#[tokio::test]
async fn what_the_server_says_unasked_ends_the_connection() {
    let twice = Act::Say("250 2.0.0 taken\r\n250 2.0.0 taken");
    let server = Server::start(Script::plain(true).at(Stage::Dot, twice)).await;
    let provider = open(&server);
    for _ in 0..2 {
        assert_eq!(provider.deliver(&mail("a@b.c")).await.as_str(), "sent");
    }
    assert_eq!(server.seen().connections, 2);
}

#[tokio::test]
async fn several_refusals_leave_the_connection_usable() {
    let mut script = Script::plain(true);
    for _ in 0..10 {
        script = script.at(Stage::Rcpt, Act::Say("550 5.1.1 no such user"));
    }
    let server = Server::start(script).await;
    let provider = Arc::clone(&open(&server));
    for _ in 0..10 {
        assert_eq!(provider.deliver(&mail("a@b.c")).await.as_str(), "address_dead");
    }
    assert_eq!(provider.deliver(&mail("d@e.f")).await.as_str(), "sent");
    assert_eq!(server.seen().connections, 1);
}
