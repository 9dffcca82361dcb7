//! Calls faster than their app may make them.

use super::*;

fn with_rate(api: &Fixture, rate: Value) {
    let config = json!({
        "id": "shop", "secrets": [{ "id": "s", "secret": SECRET }], "rest_rate": rate
    });
    let app = serde_json::from_value::<AppConfig>(config).unwrap().resolve(&mut |_| Err("no files".into())).unwrap();
    api.shared.replace(Apps::new(vec![app]).unwrap());
}

#[tokio::test]
async fn an_app_beyond_its_rate_is_told_when_to_come_again() {
    let api = Fixture::new();
    with_rate(&api, json!({ "per_s": 1, "burst": 3 }));
    for _ in 0..3 {
        assert_eq!(api.send(&smallest()).await.status, 202);
    }
    let answer = api.send(&smallest()).await;
    assert_eq!(answer.problem(), (429, "rate_limited", None));
    assert_eq!(answer.headers[header::RETRY_AFTER], "2");
    assert_eq!(api.get("/v1/messages/m").await.problem().0, 429);
    let text = api.get("/metrics").await.text;
    assert!(text.contains("rest_rate_limited_total{app=\"shop\"} 2"), "{text}");
    with_rate(&api, json!({ "per_s": 1_000, "burst": 5 }));
    assert_eq!(api.send(&smallest()).await.status, 429, "the clock of the test stands still");
    api.shared.replace(Apps::new(vec![]).unwrap());
    assert_eq!(api.send(&smallest()).await.status, 401);
}

#[tokio::test]
async fn each_message_of_a_batch_counts() {
    let api = Fixture::new();
    with_rate(&api, json!({ "per_s": 10 }));
    let batch = json!({ "messages": vec![smallest(); 6] }).to_string();
    assert_eq!(api.post("/v1/messages/batch", batch.clone()).await.status, 202);
    assert_eq!(api.post("/v1/messages/batch", batch).await.problem().0, 429);
    assert_eq!(api.memory.ids().len(), 6, "of a batch that is refused nothing is accepted");
}

#[tokio::test]
async fn a_rate_that_changes_holds_at_once() {
    let api = Fixture::new();
    with_rate(&api, json!({ "per_s": 1 }));
    assert_eq!(api.send(&smallest()).await.status, 202);
    assert_eq!(api.send(&smallest()).await.status, 429);
    let config = json!({ "id": "shop", "secrets": [{ "id": "s", "secret": SECRET }] });
    let app = serde_json::from_value::<AppConfig>(config).unwrap().resolve(&mut |_| Err("no files".into())).unwrap();
    api.shared.replace(Apps::new(vec![app]).unwrap());
    assert_eq!(api.send(&smallest()).await.status, 202);
}

#[test]
fn a_rate_of_nothing_is_refused_by_name() {
    for (rate, says) in [(json!({ "per_s": 0 }), "per_s is 0"), (json!({ "per_s": 1, "burst": 0 }), "burst is 0")] {
        let config = json!({ "id": "shop", "rest_rate": rate });
        let config: AppConfig = serde_json::from_value(config).unwrap();
        let error = config.resolve(&mut |_| Err("no files".into())).unwrap_err().to_string();
        assert!(error.contains("rest_rate") && error.contains(says), "{error}");
    }
}
