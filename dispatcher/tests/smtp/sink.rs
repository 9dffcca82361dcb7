//! Mail to a server that others wrote: postfix's `smtp-sink`.

use std::{collections::BTreeMap, path::Path, process::Command};

use futures_util::future::join_all;
use pushgate_dispatcher::channels::{config::AccountConfig, email};

use crate::account::parcel;
use serde_json::json;

/// Its address, and the file of what it took.
fn sink() -> Option<(String, String)> {
    let required = std::env::var("PUSHGATE_TEST_SERVICES").is_ok_and(|v| v == "required");
    let given = |name| std::env::var(name).ok();
    if let (Some(address), Some(mails)) = (given("PUSHGATE_TEST_MAIL"), given("PUSHGATE_TEST_MAILS")) {
        return Some((address, mails));
    }
    if !required {
        println!("not run: needs postfix's smtp-sink; set PUSHGATE_TEST_SERVICES=required");
        return None;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new(root.join("scripts/services")).args(["up", "mail"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let value =
        |name: &str| lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap().to_owned();
    Some((value("PUSHGATE_TEST_MAIL"), value("PUSHGATE_TEST_MAILS")))
}

#[tokio::test]
async fn each_mail_is_in_the_sink_once_with_its_lines_as_they_were() {
    let Some((address, mails)) = sink() else { return };
    let mut account = AccountConfig::new("sink", "smtp", &format!("smtp://{address}?tls=never"));
    account.from = Some("Shop <shop@example.org>".into());
    account.connection.open_ms = 300_000;
    let provider = email::open(&account).unwrap();
    // The sink is shared with other runs.
    let run = uuid::Uuid::now_v7().simple().to_string();
    let address = |n: usize| format!("{run}-{n}@example.org");
    for batch in 0..25 {
        let parcels: Vec<_> = (batch * 8..batch * 8 + 8)
            .map(|n| {
                parcel(json!({"id": format!("m{n}"), "to": {"emails": [address(n)]}, "channels": ["email"],
                    "content": {"title": "Hello", "body": format!(".\n..\n.number {n}.\r\n.\r\nend")}}))
            })
            .collect();
        for answer in join_all(parcels.iter().map(|parcel| provider.deliver(parcel))).await {
            assert_eq!(answer.as_str(), "sent", "{answer:?}");
        }
    }
    let dump = String::from_utf8_lossy(&std::fs::read(mails).unwrap()).replace("\r\n", "\n");
    let mut times: BTreeMap<usize, usize> = BTreeMap::new();
    for mail in dump.split("X-Client-Addr: ") {
        let to = mail.lines().find_map(|line| line.strip_prefix("X-Rcpt-Args: <")?.strip_suffix('>'));
        let Some(n) = to.and_then(|to| to.strip_prefix(&format!("{run}-"))?.split('@').next()?.parse().ok()) else {
            continue;
        };
        *times.entry(n).or_default() += 1;
        assert!(mail.contains(&format!("\n\n.\n..\n.number {n}.\n.\nend\n")), "{mail}");
    }
    assert_eq!(times, (0..200).map(|n| (n, 1)).collect());
}
