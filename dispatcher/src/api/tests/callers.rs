//! Who may call, with which secrets and tokens.

use pushgate_protocol::auth::ClientIdentity;

use super::*;

#[tokio::test]
async fn who_may_not_send_is_told_why() {
    let api = Fixture::new();
    let shop = AppId::parse("shop").unwrap();
    let identity = ClientIdentity { user: UserId::parse("u1").unwrap(), device: None, platform: None };
    let client = format!("Bearer {}", api.apps.mint_client(&shop, &identity, 60, NOW_MS / 1_000).unwrap());
    let mint = |scopes: &[Scope], now_s| format!("Bearer {}", api.apps.mint_caller(&shop, scopes, 60, now_s).unwrap());
    for (authorization, status, code) in [
        (None, 401, "missing_credentials"),
        (Some("Basic %%%".into()), 401, "malformed_credentials"),
        (Some("Digest abc".into()), 401, "malformed_credentials"),
        (Some(basic("shop", "wrong")), 401, "wrong_secret"),
        (Some(basic("nobody", SECRET)), 401, "wrong_secret"),
        (Some(basic("mute", SECRET)), 403, "missing_scope"),
        (Some("Bearer nonsense".into()), 401, "malformed_credentials"),
        (Some(mint(&[], NOW_MS / 1_000)), 403, "missing_scope"),
        (Some(mint(&[Scope::Send], NOW_MS / 1_000 - 3_600)), 401, "token_expired"),
        (Some(client), 403, "client_token"),
    ] {
        let answer = api.authorized(authorization.as_deref()).await;
        assert_eq!(answer.problem(), (status, code, None), "{authorization:?}");
        assert_eq!(answer.headers.contains_key(header::WWW_AUTHENTICATE), status == 401);
    }
    assert_eq!(api.authorized(Some(&mint(&[Scope::Send], NOW_MS / 1_000))).await.status, 202);
    let twice = request(Method::POST, "/v1/messages").header(header::AUTHORIZATION, basic("mute", SECRET));
    assert_eq!(api.call(twice.body(Body::empty()).unwrap()).await.problem().0, 401);
}

#[tokio::test]
async fn callers_are_checked_with_the_secrets_and_keys_of_now() {
    let api = Fixture::new();
    let old = basic("shop", SECRET);
    assert_eq!(api.authorized(Some(&old)).await.status, 202);
    let config: AppConfig =
        serde_json::from_value(json!({ "id": "shop", "secrets": [{ "id": "new", "secret": "another of sixteen" }] }))
            .unwrap();
    api.shared.replace(Apps::new(vec![config.resolve(&mut |_| Err("no files".into())).unwrap()]).unwrap());
    assert_eq!(api.authorized(Some(&old)).await.status, 401);
    assert_eq!(api.authorized(Some(&basic("shop", "another of sixteen"))).await.status, 202);
}
