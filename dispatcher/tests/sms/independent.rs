//! A message centre that is not ours: npm's `smpp`, where node and npm are.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
};

use pushgate_dispatcher::channels::Checked;
use pushgate_protocol::result::State;
use serde_json::Value;

use crate::{
    parcels::{Told, text},
    submits::open,
};

struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    /// `None` without node or npm.
    fn start() -> Option<Self> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let modules = Command::new("scripts/node").arg("smpp").current_dir(root).output().ok()?;
        if !modules.status.success() {
            assert!(std::env::var("PUSHGATE_TEST_SERVICES").as_deref() != Ok("required"), "scripts/node smpp failed");
            eprintln!("node or npm is missing: nothing is tested");
            return None;
        }
        let mut child = Command::new("node")
            .arg("dispatcher/tests/sms/independent.cjs")
            .current_dir(root)
            .env("NODE_PATH", String::from_utf8(modules.stdout).unwrap().trim())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut port = String::new();
        lines.read_line(&mut port).unwrap();
        Some(Self { child, lines, address: format!("127.0.0.1:{}", port.trim()) })
    }

    fn told(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_is_what_another_reads_and_its_receipts_are_read() {
    let Some(mut server) = Server::start() else { return };
    let provider = open(&server.address, |_| {});
    assert!(matches!(provider.check().await, Checked::Fit(_)));
    let told = Arc::new(Told::default());
    provider.start(told.reports());
    for words in ["hi [there] {€}", "你好 \u{1f600}"] {
        let answer = provider.deliver(&text("+8613800138000", words)).await;
        assert_eq!(answer.as_str(), "sent");
        let heard = server.told();
        assert_eq!(
            (heard["text"].as_str(), heard["to"].as_str(), heard["from"].as_str()),
            (Some(words), Some("8613800138000"), Some("Shop"))
        );
    }
    let long = "x".repeat(200);
    assert_eq!(provider.deliver(&text("+8613800138000", &long)).await.as_str(), "sent");
    let parts = [server.told(), server.told()];
    let joined: String = parts.iter().filter_map(|part| part["text"].as_str()).collect();
    assert_eq!((joined, &parts[0]["parts"]), (long, &serde_json::json!(1)));
    let records = told.until(3).await;
    assert!(records.iter().all(|record| record.state == State::Delivered), "{records:?}");
}
