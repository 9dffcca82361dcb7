//! `GET /v1/messages/{id}`.

use super::*;

#[tokio::test]
async fn a_message_is_shown_to_its_app_alone() {
    let api = Fixture::new();
    assert_eq!(api.send(&with_id("a/b ü")).await.status, 202);
    let answer = api.get("/v1/messages/a%2Fb%20%C3%BC?page=3&limit=7").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        json!({
            "id": "a/b ü", "summary": {"delivered": 1}, "next": 10,
            "recipients": [{
                "recipient": {"user": "u1"}, "channel": "websocket", "state": "delivered", "reason": null,
                "history": [{"state": "delivered", "time_ms": 7}]
            }]
        })
    );
    assert_eq!(api.get("/v1/messages/other").await.problem(), (404, "not_found", None));
    let shop = AppId::parse("mute").unwrap();
    let token = api.apps.mint_caller(&shop, &[Scope::Send], 60, NOW_MS / 1_000).unwrap();
    let foreign = Request::get("/v1/messages/a%2Fb%20%C3%BC").header(header::AUTHORIZATION, format!("Bearer {token}"));
    assert_eq!(api.call(foreign.body(Body::empty()).unwrap()).await.problem().0, 404);
    let nobody = Request::get("/v1/messages/x").body(Body::empty()).unwrap();
    assert_eq!(api.call(nobody).await.problem().0, 401);
    api.memory.fail(Outage::Reserve);
    assert_eq!(api.get("/v1/messages/x").await.problem(), (503, "unavailable", None));
}
