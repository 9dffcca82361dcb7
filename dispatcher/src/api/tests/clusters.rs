//! `GET /v1/cluster`.

use super::*;

#[tokio::test]
async fn who_may_not_administer_sees_no_cluster() {
    let answer = Fixture::new().get("/v1/cluster").await;
    assert_eq!((answer.status, &answer.body["code"]), (403, &json!("missing_scope")));
}

#[tokio::test]
async fn gateways_lanes_and_what_fails_are_told() {
    let api = Fixture::new();
    dead::as_admin(&api, false);
    api.health.failed("redis", "refused", 7);
    let view = api.get("/v1/cluster").await.body;
    assert_eq!(
        (&view["dispatcher"], &view["lease_ms"], &view["epoch"]["number"]),
        (&json!("d1"), &json!(6_000), &json!(1))
    );
    let member = json!({
        "node": "g1", "state": "up", "url": "wss://g1.example/v1/ws", "links": "g1:7401", "admin": null, "weight": 1,
        "share": 1.0, "links_up": 1, "links_wanted": 2
    });
    assert_eq!(view["members"], json!([member]));
    assert_eq!(view["lanes"][2], json!({ "lane": "low", "unsettled": 70, "ahead": 60, "oldest_unsettled_s": 1.5 }));
    assert_eq!(view["failing"], json!([{ "what": "redis", "since_ms": 7, "detail": "refused" }]));
}
