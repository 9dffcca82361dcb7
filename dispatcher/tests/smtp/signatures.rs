//! Mails that an account's keys sign. That the signatures are good is checked with another implementation, in `cli/tests/e2e/mail.py`.

use pushgate_dispatcher::channels::email::{self, DkimConfig};
use pushgate_protocol::apps::Secret;

use crate::{
    account::{config, mail, parcel},
    server::{Script, Server},
};

const RSA: &str = include_str!("../keys/rsa2048.pem");

fn key(selector: &str) -> DkimConfig {
    DkimConfig { domain: None, selector: selector.into(), key: Some(Secret::new(RSA)), key_file: None }
}

#[tokio::test]
async fn every_mail_has_a_signature_of_each_key_before_everything_else() {
    let server = Server::start(Script::plain(true)).await;
    let keys = vec![key("one"), DkimConfig { domain: Some("mail.example.org".into()), ..key("two") }];
    let provider = email::open(&config(&server, |account| account.dkim = keys)).unwrap();
    let big = serde_json::json!({"id": "m2", "to": {"emails": ["d@e.f"]}, "channels": ["email"],
        "content": {"title": "t", "body": ".\n".repeat(50_000)}});
    for parcel in [mail("a@b.c"), parcel(big)] {
        assert_eq!(provider.deliver(&parcel).await.as_str(), "sent");
    }
    let seen = server.seen();
    assert!(seen.violations.is_empty(), "{:?}", seen.violations);
    for mail in &seen.mails {
        let head = mail.data.split("\n\n").next().unwrap();
        let signatures: Vec<_> = head.match_indices("DKIM-Signature: v=1; a=rsa-sha256;").map(|(at, _)| at).collect();
        assert_eq!((signatures.len(), signatures[0]), (2, 0), "{head}");
        assert!(head.contains("d=example.org;\n s=one;") && head.contains("d=mail.example.org;\n s=two;"), "{head}");
        assert!(head.find("\nDate: ").unwrap() > signatures[1], "{head}");
    }
}

#[tokio::test]
async fn keys_that_cannot_sign_are_told_by_the_name_of_their_key() {
    let server = Server::start(Script::plain(true)).await;
    let none = DkimConfig { key: None, ..key("one") };
    let file = |path: &str| DkimConfig { key_file: Some(path.into()), ..none.clone() };
    for (keys, said) in [
        (vec![none.clone()], "dkim[0].key is missing"),
        (vec![DkimConfig { key_file: Some("f".into()), ..key("one") }], "dkim[0].key and key_file are both set"),
        (vec![key("one"), file("/nowhere/dkim.pem")], "dkim[1].key_file: cannot read /nowhere/dkim.pem"),
        (vec![key("one"), key("ONE")], "dkim[1].selector is \"ONE\", which another key of example.org has"),
        (vec![key("a b")], "dkim[0].selector is \"a b\""),
        (vec![DkimConfig { key: Some(Secret::new("hunter2")), ..key("one") }], "dkim[0].key: it holds no private key"),
        ((0..5).map(|n| key(&format!("k{n}"))).collect(), "dkim has 5 keys, must be at most 4"),
    ] {
        let error = email::open(&config(&server, |account| account.dkim = keys)).err().unwrap();
        assert!(error.contains(said) && !error.contains("hunter2"), "{error}");
    }
    let mut stub = config(&server, |account| account.dkim = vec![key("one")]);
    (stub.kind, stub.url) = ("stub".into(), "stub:sent".into());
    assert!(email::open(&stub).err().unwrap().contains("dkim is not for kind \"stub\""));
    let records = email::records(&config(&server, |account| account.dkim = vec![key("one")])).unwrap();
    assert_eq!(records[0].name, "one._domainkey.example.org");
}
