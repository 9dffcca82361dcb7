//! `POST /v1/messages`: what is accepted, and what is wrong with a message or its body.

use pushgate_protocol::limits::MESSAGE_BYTES_MAX;

use super::*;

#[tokio::test]
async fn an_accepted_message_lies_in_its_lane_with_id_app_and_version() {
    let api = Fixture::new();
    let answer = api.post("/v1/messages?lane=high", smallest().to_string()).await;
    assert_eq!((answer.status, &answer.body["lane"]), (202, &json!("high")));
    let id = answer.body["id"].as_str().unwrap();
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);
    let (lane, record) = api.memory.only_record();
    assert_eq!((lane, &record.key[..]), (Lane::High, &b"u1"[..]));
    let value: Value = serde_json::from_slice(&record.value).unwrap();
    assert_eq!((&value["id"], &value["app"], &value["v"]), (&json!(id), &json!("shop"), &json!(1)));
    assert!(pushgate_protocol::message::decode(&record.value).is_ok(), "the dispatcher reads what REST wrote");
    assert_eq!(api.memory.confirmed(), [id]);
}

#[tokio::test]
async fn the_key_is_the_user_if_there_is_just_one() {
    for (to, key) in [
        (json!({"users": ["u1"]}), "u1"),
        (json!({"devices": [{"user": "u2", "device": "d"}]}), "u2"),
        (json!({"users": ["u1", "u2"]}), "m"),
        (json!({"sessions": ["000000000000000700030000000000aa"]}), "m"),
    ] {
        let api = Fixture::new();
        let mut message = with_id("m");
        message["to"] = to;
        assert_eq!(api.send(&message).await.status, 202);
        assert_eq!(api.memory.only_record().1.key, key);
    }
}

#[tokio::test]
async fn the_same_id_is_accepted_once_and_never_for_another_message() {
    let api = Fixture::new();
    let first = api.post("/v1/messages?lane=low", with_id("m").to_string()).await;
    let spaced = format!(" {} ", with_id("m").to_string().replace(':', " : "));
    let again = api.post("/v1/messages?lane=high", spaced).await;
    assert_eq!((again.status, &again.body), (202, &first.body), "the same answer, the first lane");
    assert_eq!(api.memory.only_record().0, Lane::Low);
    let mut other = with_id("m");
    other["content"]["title"] = "Bye".into();
    assert_eq!(api.send(&other).await.problem(), (409, "id_used", Some("/id")));
}

#[tokio::test]
async fn nothing_is_accepted_that_is_not_durable() {
    let api = Fixture::new();
    for outage in [Outage::Reserve, Outage::Append] {
        api.memory.fail(outage);
        let answer = api.send(&with_id("m")).await;
        assert_eq!(answer.problem(), (503, "unavailable", None));
        assert_eq!((&answer.headers[header::RETRY_AFTER], &answer.body["id"]), (&"1".parse().unwrap(), &json!("m")));
        assert!(!answer.text.contains("10.0.0.7"), "what stands behind is not told");
    }
    api.memory.fail(Outage::None);
    assert_eq!(api.send(&with_id("m")).await.status, 202, "the reservation that stayed open is taken up");
    assert_eq!(api.memory.confirmed(), ["m"]);
    api.memory.fail(Outage::Confirm);
    assert_eq!(api.send(&with_id("n")).await.status, 202, "it is durable, so it is accepted");
}

#[tokio::test]
async fn a_store_that_never_answers_is_given_up() {
    let api = Fixture::with_patience(Duration::from_millis(1));
    api.memory.fail(Outage::Silent);
    assert_eq!(api.send(&with_id("m")).await.problem(), (503, "unavailable", None));
}

#[tokio::test]
async fn a_wrong_field_is_pointed_at() {
    let api = Fixture::new();
    for (message, code, pointer) in [
        (json!({"content": {"title": "t"}}), "missing_field", "/to"),
        (json!({"to": {"users": []}, "content": {"title": "t"}}), "invalid_value", "/to"),
        (json!({"to": {"users": [1]}, "content": {"title": "t"}}), "wrong_type", "/to/users/0"),
        (json!({"to": {"user": "u"}, "content": {"title": "t"}}), "unknown_field", "/to/user"),
        (json!({"to": {"groups": ["g"]}, "content": {"title": "t"}}), "not_supported", "/to/groups"),
        (json!({"to": {"users": ["u"]}, "content": {"title": "t"}, "plan": []}), "not_supported", "/plan"),
        (
            json!({"to": {"phones": ["+8613800000000"]}, "content": {"title": "t"}, "channels": ["sms"]}),
            "not_supported",
            "/channels/0",
        ),
        (json!({"to": {"users": ["u"]}, "content": {"title": "t"}, "app": "bank"}), "invalid_value", "/app"),
        (json!({"to": {"users": ["u"]}, "content": {"title": "t"}, "v": 2}), "newer_version", "/v"),
        (json!([]), "wrong_type", ""),
    ] {
        assert_eq!(api.send(&message).await.problem(), (422, code, Some(pointer)), "{message}");
    }
    assert!(api.memory.is_empty());
}

#[tokio::test]
async fn bodies_that_are_no_messages_are_refused() {
    let api = Fixture::new();
    assert_eq!(api.post("/v1/messages", "{\"to\":").await.problem(), (400, "not_json", Some("")));
    assert_eq!(api.post("/v1/messages", "").await.problem(), (400, "not_json", Some("")));
    assert_eq!(api.post("/v1/messages", vec![0xff, 0xfe]).await.problem(), (400, "not_json", Some("")));
    let large = "x".repeat(MESSAGE_BYTES_MAX + 1);
    assert_eq!(api.post("/v1/messages", large.clone()).await.problem(), (413, "too_large", None));
    let unannounced = Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(large)]));
    assert_eq!(api.post("/v1/messages", unannounced).await.problem(), (413, "too_large", None));
    let broken = Body::from_stream(futures_util::stream::iter([Err::<String, _>(std::io::Error::other("reset"))]));
    assert_eq!(api.post("/v1/messages", broken).await.problem(), (400, "body_broken_off", None));
    for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx")] {
        let mut request = request(Method::POST, "/v1/messages");
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let answer = api.call(request.body(Body::from(smallest().to_string())).unwrap()).await;
        assert_eq!(answer.problem(), (415, "unsupported_media_type", None), "{kind:?}");
    }
    let request = request(Method::POST, "/v1/messages").header(header::CONTENT_TYPE, "application/json; charset=utf-8");
    assert_eq!(api.call(request.body(Body::from(smallest().to_string())).unwrap()).await.status, 202);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let api = Fixture::with_patience(Duration::from_millis(1));
    let never = Body::from_stream(futures_util::stream::pending::<Result<String, std::io::Error>>());
    assert_eq!(api.post("/v1/messages", never).await.problem(), (408, "body_too_slow", None));
}
