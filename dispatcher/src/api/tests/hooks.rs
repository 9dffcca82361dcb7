//! What providers report of mails.

use pushgate_protocol::{ids::MessageId, message::Channel, result::State};

use super::{
    doubles::{Did, Outage},
    *,
};
use crate::{
    channels::email::message_id::MessageIds,
    seams::{AppAddress, Suppressions},
    suppressed::{Reason, Reasons},
};

async fn call(api: &Fixture, account: &str, kind: &str, body: String) -> Answer {
    let request = request(Method::POST, &format!("/v1/hooks/email/{account}")).header(header::CONTENT_TYPE, kind);
    api.call(request.body(Body::from(body)).unwrap()).await
}

async fn suppressed(api: &Fixture, address: &str) -> Reasons {
    let address = AppAddress { app: AppId::parse("shop").unwrap(), channel: Channel::Email, address: address.into() };
    api.suppressions.suppressed(vec![address]).await.unwrap()[0]
}

/// The Message-ID of the mail of a message that the app has sent.
async fn sent(api: &Fixture, id: &str, address: &str) -> String {
    assert_eq!(api.send(&with_id(id)).await.status, 202);
    api.memory.show_mail(address);
    message_ids().of(&AppId::parse("shop").unwrap(), &MessageId::parse(id).unwrap(), address, "example.org")
}

fn message_ids() -> MessageIds {
    MessageIds::new(UNSUBSCRIBE_KEY)
}

fn report(original: &str, address: &str, fields: &str) -> String {
    format!(
        "Content-Type: multipart/report; boundary=x\n\n--x\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx\n\n\
        Final-Recipient: rfc822; {address}\n{fields}\n\n--x\nContent-Type: text/rfc822-headers\n\nMessage-ID: {original}\n\n--x--\n"
    )
}

const DEAD: &str = "Action: failed\nStatus: 5.1.1";

#[tokio::test]
async fn a_servers_report_of_a_mail_of_ours_stops_its_address_and_fails_its_recipient() {
    let api = Fixture::new();
    let original = sent(&api, "m1", "Ann@Bücher.example").await;
    let body = report(&original, "Ann@xn--bcher-kva.example", DEAD);
    let answer = call(&api, "relay", "message/rfc822", body.clone()).await;
    assert_eq!(
        (answer.status, &answer.body),
        (200, &json!({"suppressed": 1, "failed": 1, "ignored": 0})),
        "{}",
        answer.text
    );
    assert_eq!(suppressed(&api, "ann@xn--bcher-kva.example").await, Reasons::of(Reason::Bounced));
    let did = api.memory.did();
    assert!(did.contains(&Did::Recorded("Ann@Bücher.example".into(), State::Failed)), "{did:?}");
    assert!(did.contains(&Did::Published("Ann@Bücher.example".into(), State::Failed, false)), "{did:?}");
    // The same in parts, as some servers post it.
    let (_, parts) = body.split_once("\n\n").unwrap();
    assert_eq!(call(&api, "relay", "multipart/report; boundary=x", parts.into()).await.body["failed"], 1);
}

#[tokio::test]
async fn what_passes_and_what_is_about_no_mail_of_ours_changes_nothing() {
    let api = Fixture::new();
    let original = sent(&api, "m1", "ann@b.c").await;
    for (original, address, fields, failed) in [
        (original.as_str(), "ann@b.c", "Action: delayed\nStatus: 4.4.1", 0),
        (&original, "ann@b.c", "Action: delivered", 0),
        // Its mailbox is full, or the mail was not liked: the address is a good one.
        (&original, "ann@b.c", "Action: failed\nStatus: 5.2.2", 1),
        (&original, "ann@b.c", "Action: failed\nStatus: 5.7.1", 1),
        (&original, "ann@b.c", "Action: failed", 1),
        // Whoever knows where reports go may write one.
        ("<forged@example.org>", "ann@b.c", DEAD, 0),
        (&original, "bob@b.c", DEAD, 0),
        ("", "ann@b.c", DEAD, 0),
    ] {
        let answer = call(&api, "relay", "message/rfc822", report(original, address, fields)).await;
        let expected = json!({"suppressed": 0, "failed": failed, "ignored": 1 - failed});
        assert_eq!((answer.status, &answer.body), (200, &expected), "{original} {address} {fields}");
    }
    assert!(suppressed(&api, "ann@b.c").await.is_empty() && suppressed(&api, "bob@b.c").await.is_empty());
}

#[tokio::test]
async fn our_own_form_is_believed_as_its_caller_is() {
    let api = Fixture::new();
    let original = sent(&api, "m1", "ann@b.c").await;
    let reports = json!({"reports": [
        {"address": "Ann@b.c", "event": "bounced", "message_id": original, "status": "5.1.1"},
        {"address": "bob@b.c", "event": "complained", "message_id": "<x@y>"},
        {"address": "cy@b.c", "event": "deferred"},
    ]});
    let answer = call(&api, "relay", "application/json", reports.to_string()).await;
    assert_eq!(
        (answer.status, &answer.body),
        (200, &json!({"suppressed": 2, "failed": 1, "ignored": 1})),
        "{}",
        answer.text
    );
    assert_eq!(suppressed(&api, "bob@b.c").await, Reasons::of(Reason::Complained));
    assert!(suppressed(&api, "cy@b.c").await.is_empty());
}

#[tokio::test]
async fn a_report_that_is_none_is_refused() {
    let api = Fixture::new();
    let good = json!({"reports": [{"address": "ann@b.c", "event": "bounced"}]}).to_string();
    assert_eq!(call(&api, "other", "application/json", good.clone()).await.problem().0, 404);
    assert_eq!(call(&api, "relay", "text/plain", good.clone()).await.problem().1, "unsupported_media_type");
    assert_eq!(call(&api, "relay", "message/rfc822", "Subject: x\n\nhello".into()).await.problem().1, "invalid_value");
    assert_eq!(call(&api, "relay", "application/json", "{".into()).await.problem().1, "not_json");
    let bad = json!({"reports": [{"address": "nobody", "event": "bounced"}]}).to_string();
    assert_eq!(
        call(&api, "relay", "application/json", bad).await.problem(),
        (422, "invalid_value", Some("/reports/0/address"))
    );
    assert_eq!(call(&api, "relay", "application/json", json!({"reports": []}).to_string()).await.problem().0, 422);
    assert_eq!(call(&api, "relay", "message/rfc822", "x".repeat((1 << 20) + 1)).await.problem().0, 413);
    let unauthorized = Request::post("/v1/hooks/email/relay").body(Body::empty()).unwrap();
    assert_eq!(api.call(unauthorized).await.problem().0, 401);
    api.memory.fail(Outage::Reserve);
    let original = message_ids().of(&AppId::parse("shop").unwrap(), &MessageId::parse("m1").unwrap(), "ann@b.c", "d");
    let answer = call(&api, "relay", "message/rfc822", report(&original, "ann@b.c", DEAD)).await;
    assert_eq!(answer.problem().1, "unavailable");
}

#[tokio::test]
async fn a_call_about_text_messages_is_taken_with_its_proof_alone() {
    let api = Fixture::new();
    let body = json!([{"out_id": "shop:m1:%2B8613800138000", "success": true, "err_code": "DELIVERED", "biz_id": "9"}]);
    let call = |path: String| api.call(Request::post(path).body(Body::from(body.to_string())).unwrap());
    for (path, problem) in [
        ("/v1/hooks/sms/texts?key=0".to_owned(), (401, "wrong_signature", None)),
        (format!("/v1/hooks/sms/other?key={CALLBACK_KEY}"), (404, "not_found", None)),
    ] {
        assert_eq!(call(path).await.problem(), problem);
    }
    // Of who has no key no body is read: one that never ends is refused at once.
    let endless = Body::from_stream(futures_util::stream::pending::<Result<axum::body::Bytes, std::io::Error>>());
    let stranger = Request::post("/v1/hooks/sms/texts?key=0").body(endless).unwrap();
    assert_eq!(api.call(stranger).await.problem().1, "wrong_signature");
    assert!(api.memory.did().is_empty());
    let taken = call(format!("/v1/hooks/sms/texts?key={CALLBACK_KEY}")).await;
    assert_eq!((taken.status, taken.text.as_str()), (200, r#"{"code":0,"msg":"OK"}"#));
    let did = api.memory.did();
    assert!(did.contains(&Did::Recorded("+8613800138000".into(), State::Delivered)), "{did:?}");
    assert!(did.contains(&Did::Published("+8613800138000".into(), State::Delivered, false)), "{did:?}");
}

#[tokio::test]
async fn where_the_list_is_full_what_became_of_mails_is_told_all_the_same() {
    let api = Fixture::new();
    let original = sent(&api, "m1", "ann@b.c").await;
    let others: Vec<_> = (0..3).map(|n| json!({"address": format!("u{n}@b.c"), "event": "complained"})).collect();
    assert_eq!(call(&api, "relay", "application/json", json!({ "reports": others }).to_string()).await.status, 200);
    let body = report(&original, "ann@b.c", DEAD);
    for _ in 0..2 {
        assert_eq!(call(&api, "relay", "message/rfc822", body.clone()).await.problem(), (409, "no_room", None));
        let did = api.memory.did();
        assert!(did.contains(&Did::Published("ann@b.c".into(), State::Failed, false)), "{did:?}");
    }
}
