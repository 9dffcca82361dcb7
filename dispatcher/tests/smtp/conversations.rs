//! Each stage × what the server does there × pipelining × a new or a kept connection: the answer is that of the table.

use crate::{
    account::{config, detail, mail},
    server::{Act, Script, Server, Stage},
};
use pushgate_dispatcher::channels::email;
use pushgate_protocol::apps::Secret;

const STAGES: [Stage; 7] =
    [Stage::Greeting, Stage::Ehlo, Stage::Auth, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Dot];

const SAID: [&str; 20] = [
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
        Act::Hangup,
        Act::Half,
        Act::Flood,
        Act::Say("what?"),
        Act::Say("354 go on"),
    ])
    .collect()
}

/// The table. What is not written down of a stage is `rest`.
fn expected(stage: Stage, act: &Act) -> &'static str {
    let said = match act {
        Act::Say("what?") | Act::Hangup | Act::Half | Act::Flood => {
            return if stage == Stage::Dot { "unknown" } else { "unavailable" };
        }
        Act::Say(said) | Act::Last(said) => *said,
        Act::Silence => unreachable!("it is not among the acts"),
    };
    let later = said.starts_with('4');
    match (stage, said) {
        // It is what it asks for.
        (Stage::Data, "354 go on") => "sent",
        (Stage::Dot, "354 go on") => "unknown",
        (_, "354 go on") => "unavailable",
        (_, "421 4.3.2 closing" | "421 4.4.2 time is up") => "retry_after",
        (Stage::Greeting, _) if later => "retry_after",
        (Stage::Greeting | Stage::Ehlo | Stage::Auth, _) => "unavailable",
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
fn expected_kept(stage: Stage, act: &Act) -> &'static str {
    let closed = match act {
        Act::Say(said) | Act::Last(said) => said.starts_with("421") || *said == "what?",
        _ => true,
    };
    // A server need not keep a connection: the mail goes over a new one, at once.
    if closed && stage != Stage::Dot { "sent" } else { expected(stage, act) }
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
    let wanted = if kept { expected_kept(stage, act) } else { expected(stage, act) };
    assert_eq!(answer.as_str(), wanted, "{name}: {answer:?}");
    assert!(!detail(&answer).contains("hunter2"), "{name}: {answer:?}");
    // Whatever happened, the next goes through, and nobody gets what was meant for another.
    assert_eq!(provider.deliver(&mail("next@b.c")).await.as_str(), "sent", "{name}");
    let seen = server.seen();
    assert_eq!(seen.violations, Vec::<String>::new(), "{name}");
    let mut wanted_mails = vec!["next@b.c"];
    wanted_mails.splice(0..0, (wanted == "sent").then_some("a@b.c"));
    wanted_mails.splice(0..0, kept.then_some("first@b.c"));
    let got: Vec<_> = seen.mails.iter().flat_map(|mail| mail.to.clone()).collect();
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
    assert!(conversations >= 500, "{conversations}");
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
