//! Every kind of account of text messages, against what stands in for its provider.

use std::{path::Path, sync::Arc};

use pushgate_dispatcher::channels::{
    Provider,
    config::AccountConfig,
    sms::{self, KINDS},
};
use pushgate_protocol::{apps::Secret, message::Channel};
use serde_json::json;

use crate::{
    api::Api,
    centre::Centre,
    parcels::parcel,
    seam::{DROPPED, keeps_to_the_seam},
    submits,
};

/// A provider of this kind, and what keeps the other side alive.
fn provider(kind: &str, folder: &Path) -> (Arc<dyn Provider>, Option<Centre>) {
    let answer = match kind {
        "twilio" => json!({"sid": "SM1"}),
        "aliyun" => json!({"Code": "OK", "BizId": "9^0"}),
        "tencent" => json!({"Response": {"SendStatusSet": [{"Code": "Ok", "SerialNo": "5:1"}]}}),
        "generic" => json!({}),
        "smpp" => {
            let centre = Centre::start(|session, pdu| {
                if !session.lets_in(&pdu) {
                    session.answer(&pdu, 0, b"id7\0");
                }
            });
            return (submits::open(&centre.address, |_| {}), Some(centre));
        }
        "stub" => return (sms::open(&AccountConfig::new("x", "stub", "stub:sent")).unwrap(), None),
        "outbox" => {
            let url = format!("outbox:{}", folder.display());
            return (sms::open(&AccountConfig::new("x", "outbox", &url)).unwrap(), None);
        }
        other => panic!("{other} has no stand-in: give it one here"),
    };
    let api = Api::start(vec![(200, answer.to_string()); 2 * DROPPED]);
    let option = if kind == "tencent" { "?app=14" } else { "" };
    let mut account = AccountConfig::new("carrier", kind, &format!("http://KEY@{}{option}", api.host));
    account.password = Some(Secret::new("hunter2"));
    account.from = (kind == "twilio").then(|| "+15005550006".into());
    (sms::open(&account).unwrap(), None)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_provider_keeps_to_the_seam() {
    let parcel = || {
        parcel(json!({"id": "m1", "to": {"phones": ["+8613800138000"]}, "channels": ["sms"], "content": {"body": "b"},
            "overrides": {"sms": {"sign": "S", "template": "T1", "params": {"1": "x"}}}}))
    };
    let folder = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let (provider, _centre) = provider(kind, folder.path());
        keeps_to_the_seam(provider, Channel::Sms, parcel, !matches!(*kind, "stub" | "outbox")).await;
    }
}
