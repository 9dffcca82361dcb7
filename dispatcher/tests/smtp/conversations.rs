//! Each stage × what the server does there × pipelining × a new or a kept connection: the answer is that of the table.

use crate::{
    account::{config, detail, mail},
    encryption::encrypted,
    server::{Act, Script, Server, Stage},
    tls::identity,
};
use pushgate_dispatcher::channels::email;
use pushgate_protocol::apps::Secret;

const STAGES: [Stage; 7] =
    [Stage::Greeting, Stage::Ehlo, Stage::Auth, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Dot];

const SAID: [&str; 23] = [
    "250 2.0.0 fine",
    "252 2.5.0 perhaps",
    "421 4.3.2 closing",
    "450 4.2.0 greylisted",
    "451 4.7.1 later",
    "452 4.3.1 disk full",
    "454 4.7.0 not now",
    "500 5.5.2 what",
    "501 5.1.7 bad address",
    "503 5.5.1 bad sequence",
    "530 5.7.0 sign in first",
    "535 5.7.8 wrong password",
    "550 no such user",
    "550 5.1.1 no such user",
    "550-5.1.1 no\r\n550-5.1.1\r\n550 5.1.1 no such user",
    "550 5.4.1 access denied",
    "550 5.7.26 unauthenticated mail",
    "552 5.2.2 mailbox full",
    "552 5.3.4 too big",
    "553 5.1.3 bad mailbox",
    "554 no",
    "554 5.7.1 spam",
    "556 5.1.10 takes no mail",
];

fn acts() -> Vec<Act> {
    let said = SAID.into_iter().map(Act::Say);
    said.chain([
        Act::Last("421 4.4.2 time is up"),
        Act::Last("550 5.1.1 no such user"),
        Act::Last("250 2.0.0 fine"),
        Act::Hangup,
        Act::Half,
        Act::Flood,
        Act::Say("what?"),
        // Lines of a reply have one code.
        Act::Say("550-5.1.1 no\r\n250 2.0.0 fine"),
        Act::Say("354 go on"),
    ])
    .collect()
}

/// Whether nothing that can be read comes after, or instead of, what the act says.
fn breaks_off(stage: Stage, act: &Act, pipelining: bool) -> bool {
    match act {
        Act::Say(said) => *said == "what?" || said.ends_with("\r\n250 2.0.0 fine"),
        Act::Last(said) if said.starts_with("421") => false,
        // What was pipelined behind it is answered by nobody; or the next command is.
        Act::Last(said) => matches!(stage, Stage::Mail | Stage::Rcpt) && (pipelining || said.starts_with('2')),
        Act::Hangup | Act::Half | Act::Flood => true,
        Act::Silence | Act::Hold => unreachable!("it is not among the acts"),
    }
}

/// The table.
fn expected(stage: Stage, act: &Act, pipelining: bool) -> &'static str {
    if breaks_off(stage, act, pipelining) {
        return if stage == Stage::Dot { "unknown" } else { "unavailable" };
    }
    let (Act::Say(said) | Act::Last(said)) = act else { unreachable!("the others break off") };
    let said = said.rsplit("\r\n").next().unwrap_or_default();
    let (later, good) = (said.starts_with('4'), said.starts_with('2'));
    match (stage, said) {
        // It is what it asks for.
        (Stage::Data, "354 go on") => "sent",
        (Stage::Dot, "354 go on") => "unknown",
        (_, "354 go on") => "unavailable",
        // Nothing of the mail is there: another account may send it. Nor is any yes the one expected there, or one with what the account needs.
        (Stage::Greeting | Stage::Ehlo | Stage::StartTls | Stage::Auth, _) => "unavailable",
        (_, "421 4.3.2 closing" | "421 4.4.2 time is up") => "retry_after",
        (Stage::Data, _) if good => "unavailable",
        (_, _) if good => "sent",
        (_, _) if later => "retry_after",
        (_, "530 5.7.0 sign in first" | "535 5.7.8 wrong password") => "unavailable",
        (_, "552 5.2.2 mailbox full") => "retry_after",
        (_, "552 5.3.4 too big") => "content",
        (_, "550 5.7.26 unauthenticated mail" | "554 5.7.1 spam" | "501 5.1.7 bad address") => "policy",
        // There it is about the sender.
        (Stage::Mail, _) => "policy",
        (_, "550 5.1.1 no such user" | "553 5.1.3 bad mailbox" | "556 5.1.10 takes no mail") => "address_dead",
        (Stage::Rcpt, "550 no such user" | "550 5.4.1 access denied") => "address_dead",
        _ => "policy",
    }
}

/// A mail before it went over the same connection.
fn expected_kept(stage: Stage, act: &Act, pipelining: bool) -> &'static str {
    let closes = matches!(act, Act::Say(said) | Act::Last(said) if said.starts_with("421"));
    // A server need not keep a connection: the mail goes over a new one, at once.
    if stage != Stage::Dot && (closes || breaks_off(stage, act, pipelining)) {
        "sent"
    } else {
        expected(stage, act, pipelining)
    }
}

async fn converse(stage: Stage, act: &Act, pipelining: bool, kept: bool) {
    let name = format!("{stage:?} {act:?}, pipelining {pipelining}, kept {kept}");
    let script = Script { offers: vec!["AUTH PLAIN", "SIZE 1000000"], ..Script::plain(pipelining) };
    let server = Server::start(script).await;
    let provider = email::open(&config(&server, |account| {
        account.url = format!("smtp://me@{}?tls=never", server.address);
        account.password = Some(Secret::new("hunter2"));
    }));
    let provider = provider.unwrap();
    if kept {
        assert_eq!(provider.deliver(&mail("first@b.c")).await.as_str(), "sent", "{name}");
    }
    server.then_at(stage, act.clone());
    let answer = provider.deliver(&mail("a@b.c")).await;
    let table = if kept { expected_kept } else { expected };
    let wanted = table(stage, act, pipelining);
    assert_eq!(answer.as_str(), wanted, "{name}: {answer:?}");
    assert!(!detail(&answer).contains("hunter2"), "{name}: {answer:?}");
    // Whatever happened, the next goes through, and nobody gets what was meant for another.
    assert_eq!(provider.deliver(&mail("next@b.c")).await.as_str(), "sent", "{name}");
    let seen = server.seen();
    assert_eq!(seen.violations, Vec::<String>::new(), "{name}");
    let mut wanted_mails = vec!["next@b.c"];
    wanted_mails.splice(0..0, (wanted == "sent").then_some("a@b.c"));
    wanted_mails.splice(0..0, kept.then_some("first@b.c"));
    let mut got: Vec<_> = seen.mails.iter().flat_map(|mail| mail.to.clone()).collect();
    if *act == Act::Last("250 2.0.0 fine") && stage == Stage::Dot {
        // It was said, and then the connection closed.
        got.insert(usize::from(kept), seen.unanswered[0].to[0].clone());
    }
    assert_eq!(got, wanted_mails, "{name}");
}

#[tokio::test]
async fn every_conversation_ends_as_the_table_says() {
    let mut conversations = 0;
    for pipelining in [false, true] {
        for act in acts() {
            for stage in STAGES {
                converse(stage, &act, pipelining, false).await;
                conversations += 1;
                if matches!(stage, Stage::Mail | Stage::Rcpt | Stage::Data | Stage::Dot) {
                    converse(stage, &act, pipelining, true).await;
                    conversations += 1;
                }
            }
        }
    }
    assert!(conversations >= 700, "{conversations}");
}

#[tokio::test]
async fn every_answer_to_starttls_ends_as_the_table_says() {
    let (acceptor, ca) = identity("localhost");
    for pipelining in [false, true] {
        for act in acts() {
            let name = format!("{act:?}, pipelining {pipelining}");
            let script = Script { tls: Some(acceptor.clone()), ..Script::plain(pipelining) };
            let server = Server::start(script.at(Stage::StartTls, act.clone())).await;
            let provider = email::open(&encrypted(&server, "smtp", &ca)).unwrap();
            let answer = provider.deliver(&mail("a@b.c")).await;
            assert_eq!(answer.as_str(), expected(Stage::StartTls, &act, pipelining), "{name}: {answer:?}");
            assert_eq!(provider.deliver(&mail("next@b.c")).await.as_str(), "sent", "{name}");
            // Nothing of a mail went in clear.
            let seen = server.seen();
            assert_eq!((seen.mails.len(), seen.violations), (1, Vec::new()), "{name}");
        }
    }
}

#[tokio::test]
async fn whatever_is_said_to_rset_and_quit_costs_no_mail() {
    for pipelining in [false, true] {
        for act in acts() {
            let name = format!("{act:?}, pipelining {pipelining}");
            let server = Server::start(Script::plain(pipelining)).await;
            let provider = email::open(&config(&server, |_| {})).unwrap();
            // After a refusal the next mail begins with RSET.
            server.then_at(Stage::Rcpt, Act::Say("550 5.1.1 no such user"));
            assert_eq!(provider.deliver(&mail("a@b.c")).await.as_str(), "address_dead", "{name}");
            server.then_at(Stage::Rset, act.clone());
            assert_eq!(provider.deliver(&mail("next@b.c")).await.as_str(), "sent", "{name}");
            assert_eq!(server.seen().violations, Vec::<String>::new(), "{name}");

            let server = Server::start(Script::plain(pipelining).at(Stage::Quit, act.clone())).await;
            let one = email::open(&config(&server, |account| account.connection.messages_max = 1)).unwrap();
            for to in ["a@b.c", "next@b.c"] {
                assert_eq!(one.deliver(&mail(to)).await.as_str(), "sent", "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_while_a_connection_opens_is_unavailable() {
    let (acceptor, ca) = identity("localhost");
    for pipelining in [false, true] {
        for stage in [Stage::Greeting, Stage::Ehlo, Stage::StartTls, Stage::Auth] {
            let offers = vec!["AUTH PLAIN"];
            let script = Script { tls: Some(acceptor.clone()), offers, ..Script::plain(pipelining) };
            let server = Server::start(script.at(stage, Act::Silence)).await;
            let mut account = encrypted(&server, "smtp", &ca);
            account.url = account.url.replace("://", "://me@");
            account.password = Some(Secret::new("hunter2"));
            // However far it comes by then.
            account.connection.open_ms = 60;
            let answer = email::open(&account).unwrap().deliver(&mail("a@b.c")).await;
            assert_eq!(answer.as_str(), "unavailable", "{stage:?}: {answer:?}");
            assert!(server.seen().mails.is_empty(), "{stage:?}");
        }
    }
}

#[tokio::test]
async fn what_may_have_been_sent_has_the_same_name_when_it_is_sent_once_more() {
    for pipelining in [false, true] {
        for act in [Act::Hangup, Act::Half, Act::Say("what?")] {
            let server = Server::start(Script::plain(pipelining).at(Stage::Dot, act.clone())).await;
            let provider = email::open(&config(&server, |_| {})).unwrap();
            assert_eq!(provider.deliver(&mail("a@b.c")).await.as_str(), "unknown", "{act:?}");
            assert_eq!(provider.deliver(&mail("a@b.c")).await.as_str(), "sent", "{act:?}");
            let seen = server.seen();
            let both = seen.unanswered.iter().chain(&seen.mails);
            let mut names: Vec<_> =
                both.flat_map(|mail| mail.data.lines().find(|l| l.starts_with("Message-ID: <"))).collect();
            names.dedup();
            assert_eq!(names.len(), 1, "{act:?}: {names:?}");
        }
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_mail_for_nobody_gets_an_empty_one() {
    let script = Script { lenient: true, ..Script::plain(true) };
    let server = Server::start(script.at(Stage::Rcpt, Act::Say("550 5.1.1 no such user"))).await;
    let provider = email::open(&config(&server, |_| {})).unwrap();
    assert_eq!(provider.deliver(&mail("a@b.c")).await.as_str(), "address_dead");
    assert_eq!(provider.deliver(&mail("d@e.f")).await.as_str(), "sent");
    let seen = server.seen();
    assert_eq!((seen.connections, seen.mails.len(), seen.mails[0].to.as_slice()), (1, 1, &["d@e.f".to_owned()][..]));
}

#[tokio::test]
async fn an_old_server_is_greeted_the_old_way() {
    let server = Server::start(Script::plain(false).at(Stage::Ehlo, Act::Say("502 5.5.1 what"))).await;
    let provider = email::open(&config(&server, |_| {})).unwrap();
    assert_eq!(provider.deliver(&mail("a@b.c")).await.as_str(), "sent");
    assert!(server.seen().commands.iter().any(|line| line.starts_with("HELO ")));
}

#[tokio::test]
async fn a_pause_that_the_server_names_is_kept_and_others_grow_with_each_attempt() {
    use pushgate_dispatcher::core::account::Answer;
    let server = Server::start(Script::plain(true)).await;
    let provider = email::open(&config(&server, |_| {})).unwrap();
    for (said, attempts, wanted_ms) in [
        ("450 4.2.0 Greylisted, try again in 299 seconds", 0, 299_000),
        ("450 4.2.0 come back in 5 minutes.", 2, 300_000),
        ("450 4.2.0 greylisted for 00:04:59", 0, 299_000),
        ("451 4.7.1 later (in 20s)", 0, 20_000),
        ("450 4.2.0 in 99999999999 minutes", 0, 3_600_000),
        ("450 4.2.0 later", 0, 60_000),
        ("450 4.2.0 later", 2, 240_000),
        ("450 4.2.0 later", 4_000_000_000, 60_000 * 32),
        ("421 4.7.0 too much", 0, 10_000),
    ] {
        server.then_at(Stage::Rcpt, Act::Say(said));
        // Once more over a new connection, after 421 on a kept one.
        if said.starts_with("421") {
            server.then_at(Stage::Rcpt, Act::Say(said));
        }
        let mut parcel = mail("a@b.c");
        parcel.retry.attempts = attempts;
        match provider.deliver(&parcel).await {
            Answer::RetryAfter { after_ms, .. } => assert_eq!(after_ms, Some(wanted_ms), "{said}"),
            other => panic!("{said}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn of_a_mail_that_is_not_to_be_repeated_results_have_the_codes_alone() {
    let refusal = Act::Say("554 5.7.1 your code 123456 looks like spam");
    let server = Server::start(Script::plain(true).at(Stage::Dot, refusal)).await;
    let provider = email::open(&config(&server, |_| {})).unwrap();
    let mut parcel = mail("a@b.c");
    parcel.redacted = true;
    assert_eq!(detail(&provider.deliver(&parcel).await), "554 5.7.1");
}
