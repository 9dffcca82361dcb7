//! TLS, certificates and passwords.

use base64::{Engine, engine::general_purpose::STANDARD};
use pushgate_dispatcher::{
    channels::{Checked, config::AccountConfig, email},
    core::account::Answer,
};
use pushgate_protocol::apps::Secret;
use rcgen::date_time_ymd;
use tempfile::NamedTempFile;

use crate::{
    account::{config, detail, mail},
    server::{Act, Script, Server, Stage},
    tls::{identity, identity_of},
};

pub fn encrypted(server: &Server, scheme: &str, ca: &NamedTempFile) -> AccountConfig {
    config(server, |account| {
        account.url = format!("{scheme}://localhost:{}", server.address.port());
        account.ca_file = Some(ca.path().to_str().unwrap().into());
    })
}

async fn deliver(account: &AccountConfig) -> Answer {
    email::open(account).unwrap().deliver(&mail("a@b.c")).await
}

#[tokio::test]
async fn mail_goes_encrypted_from_the_first_byte_and_after_starttls() {
    let (acceptor, ca) = identity("localhost");
    for (scheme, implicit) in [("smtps", true), ("smtp", false)] {
        let script =
            Script { tls: Some(acceptor.clone()), implicit, offers: vec!["AUTH PLAIN"], ..Script::plain(true) };
        let server = Server::start(script).await;
        let mut account = encrypted(&server, scheme, &ca);
        assert_eq!(deliver(&account).await.as_str(), "sent", "{scheme}");
        account.url = account.url.replace("://", "://me%40example.org@");
        account.password = Some(Secret::new("hunter2"));
        assert_eq!(deliver(&account).await.as_str(), "sent", "{scheme}");
        let signed = format!("AUTH PLAIN {}", STANDARD.encode("\0me@example.org\0hunter2"));
        let seen = server.seen();
        assert!(seen.commands.contains(&signed) && seen.violations.is_empty(), "{seen:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_not_trusted() {
    let cases = [("localhost", false, false), ("elsewhere.example", false, true), ("localhost", true, true)];
    for (name, expired, vouched) in cases {
        let (acceptor, own) = identity_of(name, |params| {
            if expired {
                params.not_after = date_time_ymd(2020, 1, 1);
            }
        });
        let (_, stranger) = identity("localhost");
        for (scheme, implicit) in [("smtps", true), ("smtp", false)] {
            let script = Script { tls: Some(acceptor.clone()), implicit, ..Script::plain(true) };
            let server = Server::start(script).await;
            let account = encrypted(&server, scheme, if vouched { &own } else { &stranger });
            let answer = deliver(&account).await;
            assert_eq!(answer.as_str(), "unavailable", "{name} {scheme}");
            assert!(detail(&answer).contains("certificate"), "{answer:?}");
            assert!(server.seen().mails.is_empty());
        }
    }
}

#[tokio::test]
async fn a_server_without_starttls_gets_nothing_unless_that_is_allowed() {
    let (_, ca) = identity("localhost");
    let server = Server::start(Script { offers: vec!["AUTH PLAIN"], ..Script::plain(true) }).await;
    let mut account = encrypted(&server, "smtp", &ca);
    let answer = deliver(&account).await;
    assert_eq!((answer.as_str(), detail(&answer)), ("unavailable", "the server does not offer STARTTLS"));
    account.url += "?tls=offered";
    assert_eq!(deliver(&account).await.as_str(), "sent");
    // A password is never sent in clear.
    account.url = account.url.replace("://", "://me@");
    account.password = Some(Secret::new("hunter2"));
    assert_eq!(deliver(&account).await.as_str(), "unavailable");
    assert!(!server.seen().commands.iter().any(|line| line.starts_with("AUTH")));
}

#[tokio::test]
async fn what_somebody_slips_in_before_tls_is_not_taken_for_the_server() {
    let (acceptor, ca) = identity("localhost");
    let slipped = Act::Say("220 2.0.0 go on\r\n250 AUTH PLAIN");
    let script = Script { tls: Some(acceptor), ..Script::plain(true) }.at(Stage::StartTls, slipped);
    let server = Server::start(script).await;
    let answer = deliver(&encrypted(&server, "smtp", &ca)).await;
    assert_eq!(answer.as_str(), "unavailable");
    assert!(server.seen().mails.is_empty());
}

#[tokio::test]
async fn each_mechanism_says_what_it_must() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "first\n").unwrap();
    let cases = [
        ("auth=plain", vec!["AUTH XOAUTH2"], vec![format!("AUTH PLAIN {}", STANDARD.encode("\0me\0first"))]),
        ("auth=login", vec![], vec!["AUTH LOGIN".into(), STANDARD.encode("me"), STANDARD.encode("first")]),
        ("", vec!["AUTH=LOGIN"], vec!["AUTH LOGIN".into(), STANDARD.encode("me"), STANDARD.encode("first")]),
        (
            "auth=xoauth2",
            vec!["AUTH XOAUTH2 PLAIN"],
            vec![format!("AUTH XOAUTH2 {}", STANDARD.encode("user=me\x01auth=Bearer first\x01\x01"))],
        ),
    ];
    for (option, offers, wanted) in cases {
        let server = Server::start(Script { offers, ..Script::plain(true) }).await;
        let account = config(&server, |account| {
            account.url = format!("smtp://me@{}?tls=never&{option}", server.address).trim_end_matches('&').to_owned();
            account.password_file = Some(file.to_str().unwrap().into());
        });
        assert_eq!(deliver(&account).await.as_str(), "sent", "{option}");
        let seen = server.seen();
        assert!(wanted.iter().all(|line| seen.commands.contains(line)), "{option}: {:?}", seen.commands);
    }
    let server = Server::start(Script { offers: vec!["AUTH GSSAPI"], ..Script::plain(true) }).await;
    let account = config(&server, |account| {
        account.url = format!("smtp://me@{}?tls=never", server.address);
        account.password_file = Some(file.to_str().unwrap().into());
    });
    let answer = deliver(&account).await;
    assert!(answer.as_str() == "unavailable" && detail(&answer).contains("GSSAPI"), "{answer:?}");
}

#[tokio::test]
async fn a_token_that_is_refused_is_told_with_what_the_server_says_last() {
    let server = Server::start(Script { offers: vec!["AUTH XOAUTH2"], ..Script::plain(true) }).await;
    server.then_at(Stage::Auth, Act::Say("334 eyJzdGF0dXMiOiI0MDEifQ==\r\n535 5.7.8 expired"));
    let account = config(&server, |account| {
        account.url = format!("smtp://me@{}?tls=never&auth=xoauth2", server.address);
        account.password = Some(Secret::new("hunter2"));
    });
    let answer = deliver(&account).await;
    assert_eq!((answer.as_str(), detail(&answer)), ("unavailable", "to AUTH it said 535 5.7.8 expired"));
}

#[tokio::test]
async fn a_password_file_is_read_again_for_each_connection() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "first\n").unwrap();
    let server = Server::start(Script { offers: vec!["AUTH PLAIN"], ..Script::plain(true) }).await;
    let provider = email::open(&config(&server, |account| {
        account.url = format!("smtp://me@{}?tls=never", server.address);
        account.password_file = Some(file.to_str().unwrap().into());
        account.connection.messages_max = 1;
    }));
    let provider = provider.unwrap();
    assert_eq!(provider.deliver(&mail("a@b.c")).await.as_str(), "sent");
    std::fs::write(&file, "second\n").unwrap();
    assert_eq!(provider.deliver(&mail("a@b.c")).await.as_str(), "sent");
    let second = format!("AUTH PLAIN {}", STANDARD.encode("\0me\0second"));
    assert!(server.seen().commands.contains(&second));
}

#[test]
fn what_is_wrong_with_an_account_is_said_by_the_name_of_its_key_and_no_password_with_it() {
    let mut good = AccountConfig::new("relay", "smtp", "smtp://127.0.0.1:25?tls=never");
    good.from = Some("shop@example.org".into());
    let wrong = |change: &dyn Fn(&mut AccountConfig)| {
        let mut account = good.clone();
        change(&mut account);
        email::open(&account).err().unwrap_or_default()
    };
    assert_eq!(wrong(&|_| {}), "");
    for (change, said) in [
        (&(|a: &mut AccountConfig| a.from = None) as &dyn Fn(&mut AccountConfig), "from is missing"),
        (&|a| a.from = Some("Shop".into()), "from is \"Shop\""),
        (&|a| a.from = Some("a@b.c\r\nBcc: x@y.z".into()), "from is "),
        (&|a| a.password = Some(Secret::new("hunter2")), "url names no user"),
        (&|a| a.url = "smtp://me@127.0.0.1?tls=never".into(), "url names a user"),
        (&|a| a.password_file = Some("/nowhere".into()), "password_file: cannot read /nowhere"),
        (&|a| a.ca_file = Some("/nowhere".into()), "ca_file is set"),
        (
            &|a| {
                a.url = "smtps://h".into();
                a.ca_file = Some("/nowhere".into());
            },
            "ca_file: cannot read /nowhere",
        ),
        (
            &|a| {
                a.url = "smtp://me@mail.example.org?tls=never".into();
                a.password = Some(Secret::new("hunter2"));
            },
            "url has tls=never",
        ),
        (
            &|a| {
                a.password = Some(Secret::new("hunter2"));
                a.password_file = Some("/etc/hostname".into());
            },
            "password and password_file are both set",
        ),
    ] {
        let told = wrong(change);
        assert!(told.starts_with(said) && !told.contains("hunter2"), "{said}: {told}");
    }
}

#[tokio::test]
async fn an_account_is_looked_at_without_sending_and_what_is_wrong_comes_with_what_helps() {
    let (acceptor, ca) = identity("localhost");
    let offers = vec!["AUTH PLAIN"];
    let look = async |script: Script, change: &dyn Fn(&mut AccountConfig)| {
        let server = Server::start(script).await;
        let mut account = encrypted(&server, "smtp", &ca);
        account.url = account.url.replace("localhost", "shop@localhost");
        account.password = Some(Secret::new("right"));
        change(&mut account);
        let checked = email::open(&account).unwrap().check().await;
        server.until(|seen| seen.open == 0).await;
        let seen = server.seen();
        assert!(seen.mails.is_empty() && !seen.commands.iter().any(|line| line.starts_with("MAIL")), "{seen:?}");
        match checked {
            Checked::Fit(found) => (found, ""),
            Checked::Unfit { what, remedy } => (what, remedy),
            Checked::Unseen => panic!("it can be looked at"),
        }
    };
    let script = || Script { tls: Some(acceptor.clone()), offers: offers.clone(), ..Script::plain(true) };
    let (found, _) = look(script(), &|_| {}).await;
    assert!(found.ends_with("takes mail: encrypted, signed in as shop"), "{found}");
    let refused = script().at(Stage::Auth, Act::Say("535 5.7.8 no"));
    let (what, remedy) = look(refused, &|_| {}).await;
    assert!(what.starts_with("to AUTH it said 535") && remedy.contains("password"), "{what}; {remedy}");
    let (what, remedy) = look(script(), &|account| account.ca_file = None).await;
    assert!(what.starts_with("TLS: ") && remedy.contains("ca_file"), "{what}; {remedy}");
    let plain = Script { offers: offers.clone(), ..Script::plain(true) };
    let (what, remedy) = look(plain, &|_| {}).await;
    assert!(what.contains("does not offer STARTTLS") && remedy.contains("587"), "{what}; {remedy}");
    let nobody = |account: &mut AccountConfig| {
        (account.url, account.password, account.ca_file) = ("smtp://127.0.0.1:1?tls=never".into(), None, None);
    };
    let (what, remedy) = look(script(), &nobody).await;
    assert!(what.contains("refused") && remedy.contains("port"), "{what}; {remedy}");
}
