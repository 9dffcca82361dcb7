//! `POST /v1/messages/batch`.

use pushgate_protocol::limits::BATCH_MESSAGES_MAX;

use super::*;

#[tokio::test]
async fn each_message_of_a_batch_is_judged_alone() {
    let api = Fixture::new();
    assert_eq!(api.send(&with_id("used")).await.status, 202);
    let mut other = with_id("used");
    other["ttl"] = "5m".into();
    let mut later = with_id("b");
    later["ttl"] = "5m".into();
    let messages = json!([with_id("a"), {"to": {}}, other, with_id("b"), with_id("b"), later, 7, with_id("used")]);
    let answer = api.post("/v1/messages/batch?lane=low", json!({ "messages": messages }).to_string()).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert!(answer.body["batch"].is_string());
    let items: Vec<(&Value, &str, &Value)> = answer.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (&item["id"], item["status"].as_str().unwrap(), &item["error"]["pointer"]))
        .collect();
    let expected = [
        (json!("a"), "accepted", json!(null)),
        (json!(null), "refused", json!("/content")),
        (json!("used"), "conflict", json!("/id")),
        (json!("b"), "accepted", json!(null)),
        (json!("b"), "accepted", json!(null)),
        (json!("b"), "conflict", json!("/id")),
        (json!(null), "refused", json!("")),
        (json!("used"), "accepted", json!(null)),
    ];
    assert_eq!(items, expected.iter().map(|(id, status, pointer)| (id, *status, pointer)).collect::<Vec<_>>());
    assert_eq!(api.memory.ids(), ["used", "a", "b"], "in order, none twice");
}

#[tokio::test]
async fn a_batch_of_the_wrong_form_is_refused_whole() {
    let api = Fixture::new();
    let post = async |body: String| {
        let answer = api.post("/v1/messages/batch", body).await;
        let (status, code, pointer) = answer.problem();
        (status, code.to_owned(), pointer.map(str::to_owned))
    };
    let invalid = (422, "invalid_value".to_owned(), Some("/messages".to_owned()));
    assert_eq!(post("[]".into()).await, invalid);
    assert_eq!(post(json!({ "messages": [] }).to_string()).await, invalid);
    assert_eq!(post(json!({ "messages": {} }).to_string()).await, invalid);
    assert_eq!(post(json!({ "messages": [smallest()], "lane": "high" }).to_string()).await, invalid);
    assert_eq!(post(json!({ "messages": vec![1; BATCH_MESSAGES_MAX + 1] }).to_string()).await, invalid);
    assert_eq!(post("{".into()).await.0, 400);
    api.memory.fail(Outage::Append);
    assert_eq!(post(json!({ "messages": [smallest()] }).to_string()).await.0, 503);
}
