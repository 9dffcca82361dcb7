//! What arrives: headers, parts, addresses; and what does not, however it is written.

use std::sync::Arc;

use proptest::{prelude::*, test_runner::TestCaseError};
use pushgate_dispatcher::{
    channels::{
        Offered,
        email::{self, message_id::MessageIds},
    },
    core::account::Answer,
    unsubscribe::OptOutLinks,
};
use pushgate_protocol::{
    ids::{AppId, UserId},
    message::{EmailOverride, Message, Overrides},
};
use serde_json::{Value, json};

use crate::{
    account::{config, mail, open, parcel, parcels},
    server::{Act, Received, Script, Server, Stage},
};

async fn received(message: Value) -> Received {
    let server = Server::start(Script { offers: vec!["SMTPUTF8"], ..Script::plain(true) }).await;
    let answer = open(&server).deliver(&parcel(message)).await;
    assert_eq!(answer.as_str(), "sent", "{answer:?}");
    server.seen().mails.remove(0)
}

fn header<'a>(mail: &'a Received, name: &str) -> Option<&'a str> {
    let head = mail.data.split("\n\n").next().unwrap();
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test]
async fn a_message_becomes_a_mail_with_what_a_mail_needs() {
    let got = received(json!({"id": "m1", "to": {"emails": ["a@b.c"]}, "channels": ["email"],
        "content": {"title": "Grüße", "body": "Zeile\n.Punkt\n.\nEnde"}}))
    .await;
    assert_eq!((got.from.as_str(), got.to.as_slice()), ("shop@example.org", &["a@b.c".to_owned()][..]));
    assert_eq!(header(&got, "From"), Some("Shop <shop@example.org>"));
    assert_eq!(header(&got, "To"), Some("a@b.c"));
    assert_eq!(header(&got, "Subject"), Some("=?utf-8?b?R3LDvMOfZQ==?="));
    assert!(header(&got, "Date").is_some_and(|date| date.ends_with("+0000")), "{}", got.data);
    assert_eq!(header(&got, "MIME-Version"), Some("1.0"));
    assert!(header(&got, "Message-ID").is_some_and(|id| id.ends_with("@example.org>")), "{}", got.data);
    assert!(got.data.ends_with("Zeile\n.Punkt\n.\nEnde\n"), "{}", got.data);
}

#[tokio::test]
async fn overrides_are_sent_instead_of_the_content() {
    let got = received(json!({"id": "m1", "to": {"emails": ["a@bücher.example"]}, "channels": ["email"],
        "content": {"title": "t", "body": "b"},
        "overrides": {"email": {"subject": "Order 17", "text": "plain", "html": "<b>bold</b>", "reply_to": "help@example.org",
            "cc": ["c@b.c", "a@bücher.example"], "bcc": ["hidden@b.c"],
            "attachments": [{"name": "Rechnung für Ä.txt", "type": "text/plain; charset=utf-8", "base64": "aGVsbG8="}]}}}))
    .await;
    assert_eq!(got.to, ["a@xn--bcher-kva.example", "c@b.c", "hidden@b.c"]);
    assert_eq!(header(&got, "To"), Some("a@xn--bcher-kva.example"));
    assert_eq!(header(&got, "Cc"), Some("c@b.c, a@xn--bcher-kva.example"));
    assert_eq!(header(&got, "Reply-To"), Some("help@example.org"));
    assert_eq!(header(&got, "Subject"), Some("Order 17"));
    assert!(!got.data.contains("hidden") && !got.data.contains("Bcc"), "{}", got.data);
    for part in ["multipart/mixed", "multipart/alternative", "plain", "<b>bold</b>", "attachment", "\n\naGVsbG8=\n"] {
        assert!(got.data.contains(part), "{part}: {}", got.data);
    }
}

#[tokio::test]
async fn images_stand_in_the_html_and_a_subscription_is_ended_by_one_click() {
    let png = |cid: Option<&str>| json!({"name": "logo.png", "type": "image/png", "base64": "aGVsbG8=", "cid": cid});
    let got = received(
        json!({"id": "m1", "to": {"emails": ["a@b.c"]}, "channels": ["email"], "content": {"title": "t", "body": "b"},
        "overrides": {"email": {"html": "<img src=\"cid:logo\">", "unsubscribe": "https://example.org/u?id=17",
            "attachments": [png(Some("logo"))]}}}),
    )
    .await;
    assert_eq!(header(&got, "List-Unsubscribe"), Some("<https://example.org/u?id=17>"));
    assert_eq!(header(&got, "List-Unsubscribe-Post"), Some("List-Unsubscribe=One-Click"));
    let places = ["multipart/alternative", "text/plain", "multipart/related", "text/html", "Content-ID: <logo>"];
    let places = places.map(|part| got.data.find(part).unwrap_or_else(|| panic!("no {part}: {}", got.data)));
    assert!(places.is_sorted() && got.data.contains("Content-Disposition: inline"), "{}", got.data);
    // Without HTML there is nothing that shows it.
    let got =
        received(json!({"id": "m1", "to": {"emails": ["a@b.c"]}, "channels": ["email"], "content": {"body": "b"},
        "overrides": {"email": {"attachments": [png(Some("logo"))]}}}))
        .await;
    assert!(
        got.data.contains("multipart/mixed") && got.data.contains("Content-Disposition: attachment"),
        "{}",
        got.data
    );
}

#[tokio::test]
async fn a_campaign_without_a_link_of_its_own_gets_one_and_other_mail_does_not() {
    let server = Server::start(Script::plain(true)).await;
    let provider = open(&server);
    let links = Arc::new(OptOutLinks::new("https://push.example.org", b"a key of links"));
    let ids = Arc::new(MessageIds::new(b"a key of links"));
    provider.offer(&Offered { links: Some(Arc::clone(&links)), ids });
    let of = |class: &str, unsubscribe: Option<&str>| {
        parcel(
            json!({"id": "m1", "class": class, "to": {"emails": ["a@b.c"]}, "channels": ["email"], "content": {"title": "t"},
            "overrides": {"email": {"unsubscribe": unsubscribe}}}),
        )
    };
    for (class, given) in
        [("marketing", None), ("marketing", Some("https://example.org/u")), ("transactional", None), ("otp", None)]
    {
        assert_eq!(provider.deliver(&of(class, given)).await.as_str(), "sent");
    }
    let seen = server.seen();
    let link = header(&seen.mails[0], "List-Unsubscribe").unwrap().trim_matches(['<', '>']).to_owned();
    let token = link.strip_prefix("https://push.example.org/v1/unsubscribe/").unwrap();
    assert_eq!(links.read(token), Some((AppId::parse("shop").unwrap(), "a@b.c".into())));
    assert_eq!(header(&seen.mails[0], "List-Unsubscribe-Post"), Some("List-Unsubscribe=One-Click"));
    assert_eq!(header(&seen.mails[1], "List-Unsubscribe"), Some("<https://example.org/u>"));
    assert_eq!((header(&seen.mails[2], "List-Unsubscribe"), header(&seen.mails[3], "List-Unsubscribe")), (None, None));
}

#[tokio::test]
async fn every_recipient_gets_a_mail_alone_and_copies_go_with_the_first() {
    let server = Server::start(Script::plain(true)).await;
    let provider = open(&server);
    let message = json!({"id": "m1", "to": {"emails": ["a@b.c", "d@e.f"]}, "channels": ["email"], "content": {"title": "t"},
        "overrides": {"email": {"cc": ["copy@b.c"]}}});
    let parcels = parcels(message);
    for parcel in &parcels {
        assert_eq!(provider.deliver(parcel).await.as_str(), "sent");
    }
    let mails = server.seen().mails;
    assert_eq!(mails[0].to, ["a@b.c", "copy@b.c"]);
    assert_eq!((mails[1].to.as_slice(), header(&mails[1], "Cc")), (&["d@e.f".to_owned()][..], None));
    let ids: Vec<_> = mails.iter().map(|mail| header(mail, "Message-ID").unwrap().to_owned()).collect();
    assert_ne!(ids[0], ids[1]);
    // The same mail again has the same id.
    provider.deliver(&parcels[0]).await;
    assert_eq!(header(&server.seen().mails[2], "Message-ID"), Some(ids[0].as_str()));
}

#[tokio::test]
async fn copies_that_are_refused_do_not_hold_the_mail_back_and_a_refused_recipient_does() {
    for pipelining in [false, true] {
        let server = Server::start(Script::plain(pipelining)).await;
        let provider = open(&server);
        let copied = || {
            parcel(json!({"id": "m1", "to": {"emails": ["a@b.c"]}, "channels": ["email"], "content": {"title": "t"},
                "overrides": {"email": {"cc": ["copy@b.c"]}}}))
        };
        server.then_at(Stage::Rcpt, Act::Say("250 2.1.5 fine"));
        server.then_at(Stage::Rcpt, Act::Say("550 5.1.1 no such user"));
        assert_eq!(provider.deliver(&copied()).await.as_str(), "sent");
        assert_eq!(server.seen().mails[0].to, ["a@b.c"]);
        server.then_at(Stage::Rcpt, Act::Say("550 5.1.1 no such user"));
        assert_eq!(provider.deliver(&copied()).await.as_str(), "address_dead");
        assert_eq!(provider.deliver(&mail("d@e.f")).await.as_str(), "sent");
        assert_eq!(server.seen().mails[1].to, ["d@e.f"]);
        assert_eq!((server.seen().connections, server.seen().violations.len()), (1, 0));
    }
}

#[tokio::test]
async fn what_the_server_cannot_take_is_not_sent_to_it() {
    let server = Server::start(Script { offers: vec!["SIZE 1000"], ..Script::plain(true) }).await;
    let provider = email::open(&config(&server, |_| {})).unwrap();
    let mut big = json!({"id": "m1", "to": {"emails": ["a@b.c"]}, "channels": ["email"], "content": {"title": "t"}});
    big["content"]["body"] = "x".repeat(2_000).into();
    assert_eq!(provider.deliver(&parcel(big)).await.as_str(), "content");
    assert_eq!(provider.deliver(&mail("grüße@b.c")).await.as_str(), "policy");
    assert_eq!(provider.deliver(&mail("a@-.c")).await.as_str(), "address_dead");
    assert_eq!(provider.deliver(&mail("a@b.c")).await.as_str(), "sent");
    let seen = server.seen();
    assert_eq!((seen.connections, seen.mails.len()), (1, 1));
    assert!(seen.commands.iter().any(|line| line.starts_with("MAIL FROM:<shop@example.org> SIZE=")), "{seen:?}");
}

#[tokio::test]
async fn an_attachment_that_is_none_is_refused_with_its_number() {
    let server = Server::start(Script::plain(true)).await;
    let provider = open(&server);
    for file in [
        json!({"name": "f", "type": "image/png", "base64": "%"}),
        json!({"name": "f", "type": "png\r\nX: y", "base64": ""}),
    ] {
        let message = json!({"id": "m1", "to": {"emails": ["a@b.c"]}, "channels": ["email"], "content": {"title": "t"},
            "overrides": {"email": {"attachments": [file]}}});
        match provider.deliver(&parcel(message)).await {
            Answer::Rejected { detail, .. } => assert!(detail.contains("attachment 0"), "{detail}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(server.seen().connections, 0);
}

/// Headers of the mail, each one line.
fn head(mail: &Received) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in mail.data.split("\n\n").next().unwrap().lines() {
        match (line.starts_with([' ', '\t']), lines.last_mut()) {
            (true, Some(last)) => last.push_str(line),
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

const HEADERS: [&str; 9] = [
    "Date: ",
    "From: ",
    "To: a@b.c",
    "Message-ID: <",
    "Reply-To: r@b.c",
    "Subject: ",
    "MIME-Version: 1.0",
    "Content-Type: ",
    "Content-Transfer-Encoding: ",
];

async fn hostile(pipelining: bool, subject: &str, text: &str, html: &str, name: &str) -> Result<(), TestCaseError> {
    let server = Server::start(Script::plain(pipelining)).await;
    let provider = open(&server);
    let message = json!({"id": "m1", "to": {"emails": ["a@b.c"]}, "channels": ["email"], "content": {"title": subject, "body": text},
        "overrides": {"email": {"html": html, "reply_to": "r@b.c",
            "attachments": [{"name": name, "type": "text/plain", "base64": "eA=="}]}}});
    prop_assert_eq!(provider.deliver(&parcel(message)).await.as_str(), "sent");
    prop_assert_eq!(provider.deliver(&mail("next@b.c")).await.as_str(), "sent");
    let seen = server.seen();
    prop_assert!(seen.violations.is_empty(), "{:?}", seen.violations);
    prop_assert_eq!(seen.mails.len(), 2);
    prop_assert_eq!(&seen.mails[0].to, &["a@b.c".to_owned()]);
    prop_assert_eq!(seen.commands.len(), 7, "{:?}", seen.commands);
    sound_head(&seen.mails[0], &HEADERS)?;
    let longest = seen.mails[0].data.lines().map(str::len).max().unwrap_or(0);
    prop_assert!(longest <= 998, "a line of {longest} bytes");
    prop_assert!(
        seen.mails[0].data.bytes().all(|byte| byte.is_ascii() && (byte >= b' ' || matches!(byte, b'\n' | b'\t')))
    );
    Ok(())
}

/// Each of these headers once at most, and no other.
fn sound_head(mail: &Received, known: &[&str]) -> Result<(), TestCaseError> {
    let head = head(mail);
    for line in &head {
        prop_assert!(known.iter().any(|known| line.starts_with(known)), "{line:?}");
    }
    for name in known {
        prop_assert!(head.iter().filter(|line| line.starts_with(name)).count() <= 1, "{name}: {head:?}");
    }
    Ok(())
}

/// A mail to and for such addresses, past the check of a message's form, as if it were not there.
async fn hostile_addresses(pipelining: bool, [to, cc, bcc, reply_to]: [String; 4]) -> Result<(), TestCaseError> {
    let server = Server::start(Script { offers: vec!["SMTPUTF8"], ..Script::plain(pipelining) }).await;
    let provider = open(&server);
    let Ok(address) = UserId::parse(&to) else { return Ok(()) };
    let mut parcel = mail("a@b.c");
    let email = EmailOverride { cc: vec![cc], bcc: vec![bcc], reply_to: Some(reply_to), ..EmailOverride::default() };
    let overrides = Some(Overrides { email: Some(email), ..Overrides::default() });
    parcel.message = Arc::new(Message { overrides, ..Message::clone(&parcel.message) });
    parcel.address = address;
    let answer = provider.deliver(&parcel).await;
    let sent = answer.as_str() == "sent";
    prop_assert!(sent || matches!(answer, Answer::Rejected { .. }), "{answer:?}");
    prop_assert_eq!(provider.deliver(&mail("next@b.c")).await.as_str(), "sent");
    let seen = server.seen();
    prop_assert!(seen.violations.is_empty(), "{:?}", seen.violations);
    prop_assert_eq!(seen.mails.len(), 1 + usize::from(sent));
    let recipients: Vec<_> = seen.mails.iter().flat_map(|mail| &mail.to).collect();
    prop_assert!(recipients.len() <= 4 && recipients.iter().all(|to| !to.contains([' ', '<', '>', '\r', '\n', '\0'])));
    prop_assert_eq!(seen.commands.len(), 1 + 2 * seen.mails.len() + recipients.len(), "{:?}", seen.commands);
    if sent {
        let others = ["Date: ", "From: ", "To: ", "Cc: ", "Message-ID: <", "Reply-To: ", "Subject: "];
        sound_head(&seen.mails[0], &[&others[..], &HEADERS[6..]].concat())?;
    }
    Ok(())
}

/// What may be an address, and more than that.
fn hostile_address() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("a@b.c".to_owned()),
        1 => hostile_text(),
        2 => (hostile_text(), hostile_text()).prop_map(|(local, domain)| format!("{local}@{domain}")),
        2 => ("[a-z]{1,8}", hostile_text()).prop_map(|(local, more)| format!("{local}@b.c{more}")),
        2 => (hostile_text(), "[a-z]{1,8}").prop_map(|(more, local)| format!("{more}{local}@b.c")),
    ]
}

fn hostile_text() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "\r\n",
        "\n",
        "\r",
        "\r\n.\r\n",
        "\n.\n",
        "\n.\r\n",
        ".",
        "Bcc: x@y.z",
        "\r\nBcc: x@y.z\r\n\r\n",
        "RCPT TO:<x@y.z>",
        "\0",
        "\u{2028}",
        "\u{85}",
        "=?utf-8?q?=0D=0A?=",
        "\"",
        "\\",
        ";",
        "<x@y.z>",
        "--boundary",
        "grüße",
        "文",
        " ",
        "\t",
        "\u{1b}[2J",
        "DATA",
        "QUIT\r\n",
    ]);
    let long = "[ -~]{0,1200}";
    prop_oneof![
        4 => prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat()),
        1 => long,
        1 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a message says, it is one mail to one recipient, with our headers alone.
    #[test]
    fn nothing_that_a_message_says_becomes_a_header_a_recipient_or_a_command(
        pipelining: bool, subject in hostile_text(), text in hostile_text(), html in hostile_text(), name in hostile_text(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(hostile(pipelining, &subject, &text, &html, &name))?;
    }

    /// Whatever stands in the place of an address, it is that address or none.
    #[test]
    fn nothing_in_the_place_of_an_address_becomes_a_header_another_recipient_or_a_command(
        pipelining: bool, addresses in prop::array::uniform4(hostile_address()),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(hostile_addresses(pipelining, addresses))?;
    }
}

#[tokio::test]
async fn an_address_that_would_be_more_than_one_never_reaches_the_server() {
    let server = Server::start(Script { offers: vec!["SMTPUTF8"], ..Script::plain(true) }).await;
    let provider = open(&server);
    for address in [
        "a@b.c>\r\nRCPT TO:<x@y.z",
        "a@b.c> SIZE=1",
        "a@b.c\nDATA",
        "\"a b\"@c.d",
        "a@b@c.d",
        "<a@b.c>",
        "a@b.c,x@y.z",
        "@b.c",
        "a@",
    ] {
        let mut hostile = mail("a@b.c");
        // Past the check of a message's form, as if it were not there.
        if let Ok(id) = pushgate_protocol::ids::UserId::parse(address) {
            hostile.address = id;
        } else {
            continue;
        }
        assert_eq!(provider.deliver(&hostile).await.as_str(), "address_dead", "{address}");
    }
    assert_eq!(server.seen().connections, 0);
}
