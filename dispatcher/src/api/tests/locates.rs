//! Where clients are told that their user belongs.

use pushgate_protocol::auth::ClientIdentity;

use super::*;

#[tokio::test]
async fn a_clients_token_is_answered_with_its_users_gateway() {
    let api = Fixture::new();
    let shop = AppId::parse("shop").unwrap();
    let identity = ClientIdentity { user: UserId::parse("u1").unwrap(), device: None, platform: None };
    let client = api.apps.mint_client(&shop, &identity, 60, NOW_MS / 1_000).unwrap();
    let ask = async |path: &str, bearer: Option<&str>| {
        let request = Request::builder().method(Method::GET).uri(path);
        let request = bearer.into_iter().fold(request, |r, b| r.header(header::AUTHORIZATION, b));
        api.call(request.body(Body::empty()).unwrap()).await
    };
    let located = json!({ "url": "wss://g1.example/v1/ws", "node": "g1" });
    assert_eq!(ask("/v1/locate", Some(&format!("Bearer {client}"))).await.body, located);
    assert_eq!(ask(&format!("/v1/locate?token={client}"), None).await.body, located);
    assert_eq!(ask("/v1/locate", None).await.problem().1, "missing_credentials");
    assert_eq!(ask("/v1/locate", Some("Basic abc")).await.problem().1, "malformed_credentials");
    let caller = api.apps.mint_caller(&shop, &[Scope::Send], 60, NOW_MS / 1_000).unwrap();
    assert_eq!(ask("/v1/locate", Some(&format!("Bearer {caller}"))).await.problem().0, 401);
}
