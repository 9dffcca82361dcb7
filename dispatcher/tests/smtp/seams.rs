//! Every kind of account of mail, against what stands in for its provider.

use pushgate_dispatcher::channels::{
    config::AccountConfig,
    email::{self, KINDS},
};
use pushgate_protocol::message::Channel;

use crate::{
    account::{mail, open},
    seam::keeps_to_the_seam,
    server::{Script, Server},
};

#[tokio::test]
async fn every_provider_keeps_to_the_seam() {
    let (server, folder) = (Server::start(Script::plain(true)).await, tempfile::tempdir().unwrap());
    for kind in KINDS {
        let provider = match *kind {
            "smtp" => open(&server),
            "stub" => email::open(&AccountConfig::new("x", "stub", "stub:sent")).unwrap(),
            "outbox" => {
                let url = format!("outbox:{}", folder.path().display());
                email::open(&AccountConfig::new("x", "outbox", &url)).unwrap()
            }
            other => panic!("{other} has no stand-in: give it one here"),
        };
        keeps_to_the_seam(provider, Channel::Email, || mail("a@b.c"), *kind == "smtp").await;
    }
}
