//! `GET /v1/channels`.

use super::*;

#[tokio::test]
async fn who_may_not_administer_sees_no_accounts() {
    let fixture = Fixture::new();
    let answer = fixture.get("/v1/channels").await;
    assert_eq!((answer.status, &answer.body["code"]), (403, &json!("missing_scope")));
}
