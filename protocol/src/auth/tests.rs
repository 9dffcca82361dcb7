//! Tokens and secrets that must be let in, and all the ways in which they must not.

use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::json;

use super::*;
use crate::apps::AppConfig;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const RS256: &str = include_str!("testdata/rs256.jwt");
const EDDSA: &str = include_str!("testdata/eddsa.jwt");
const RSA_PUBLIC: &str = include_str!("testdata/rsa.pub");
const ED_PUBLIC: &str = include_str!("testdata/ed.pub");
const JWKS: &str = include_str!("testdata/jwks.json");

fn config(json: serde_json::Value) -> AppConfig {
    serde_json::from_value(json).unwrap()
}

fn app(json: serde_json::Value) -> App {
    config(json)
        .resolve(&mut |path| match path {
            "jwks.json" => Ok(JWKS.into()),
            "ed.pub" => Ok(ED_PUBLIC.into()),
            "secret" => Ok("a secret from a file\n".into()),
            other => Err(format!("{other}: no such file")),
        })
        .unwrap()
}

fn shop() -> Apps {
    Apps::new(vec![app(json!({
        "id": "shop",
        "secrets": [
            { "id": "s1", "secret": "the first secret", "scopes": ["admin"] },
            { "id": "s2", "secret_file": "secret", "expires": "1970-01-01T00:16:40Z" },
        ],
        "keys": [{ "kind": "jwt", "alg": "HS256", "key": KEY }],
    }))])
    .unwrap()
}

fn hs256(header: &serde_json::Value, claims: &serde_json::Value, key: &[u8]) -> String {
    let part = |v: &serde_json::Value| URL_SAFE_NO_PAD.encode(v.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn token(claims: serde_json::Value) -> String {
    hs256(&json!({ "alg": "HS256" }), &claims, KEY.as_bytes())
}

fn basic(app: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{app}:{secret}")))
}

#[test]
fn a_client_token_names_user_device_platform_and_end() {
    let claims = shop()
        .client(&token(json!({"app":"shop","sub":"u1","dev":"d1","plat":"web","exp":1500.5,"iss":"x"})), 1_000)
        .unwrap();
    assert_eq!((claims.app.as_str(), claims.user.as_str()), ("shop", "u1"));
    assert_eq!(claims.device, DeviceId::parse("d1").ok());
    assert_eq!((claims.platform, claims.expires_ms), (Some(Platform::Web), 1_500_500));
}

#[test]
fn tokens_made_by_openssl_are_verified_by_pem_and_by_jwks() {
    let keys = [
        (RS256, json!({"alg": "RS256", "key": RSA_PUBLIC})),
        (RS256, json!({"alg": "RS256", "jwks_file": "jwks.json"})),
        (EDDSA, json!({"alg": "EdDSA", "key_file": "ed.pub"})),
        (EDDSA, json!({"alg": "EdDSA", "jwks_file": "jwks.json"})),
    ];
    for (token, key) in keys {
        let apps = Apps::new(vec![app(json!({"id": "shop", "keys": [key]}))]).unwrap();
        assert_eq!(apps.client(token, 1_000).unwrap().user.as_str(), "u1");
        assert_eq!(apps.client(token, 2_005), Err(AuthError::Expired { ago_s: 5 }));
        let mut damaged = token.to_owned();
        damaged.truncate(token.len() - 3);
        assert_eq!(apps.client(&damaged, 1_000), Err(AuthError::Signature));
    }
}

#[test]
fn the_header_never_chooses_the_algorithm() {
    let claims = json!({"app":"shop","sub":"u1","exp":2000});
    let none =
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims.to_string()));
    assert_eq!(shop().client(&none, 1_000), Err(AuthError::Algorithm));
    for alg in ["None", "HS512", "RS256", "hs256"] {
        let forged = hs256(&json!({ "alg": alg }), &claims, KEY.as_bytes());
        assert_eq!(shop().client(&forged, 1_000), Err(AuthError::Algorithm), "{alg}");
    }
    // The public key taken for a shared secret: under the key's own algorithm it is no signature at all.
    let rsa = Apps::new(vec![app(json!({"id":"shop","keys":[{"alg":"RS256","key":RSA_PUBLIC}]}))]).unwrap();
    let confused = hs256(&json!({"alg": "HS256"}), &claims, RSA_PUBLIC.as_bytes());
    assert_eq!(rsa.client(&confused, 1_000), Err(AuthError::Algorithm));
    let relabelled = hs256(&json!({"alg": "RS256"}), &claims, RSA_PUBLIC.as_bytes());
    assert_eq!(rsa.client(&relabelled, 1_000), Err(AuthError::Signature));
}

#[test]
fn kid_selects_the_key() {
    let apps = Apps::new(vec![app(json!({"id": "shop", "keys": [
        {"alg": "HS256", "key": "key one, long enough", "kid": "one"},
        {"alg": "HS256", "key": "key two, long enough", "kid": "two", "not_after": "1970-01-01T00:16:40Z"},
        {"alg": "HS256", "key": "key three, long enough"},
    ]}))])
    .unwrap();
    let claims = json!({"app":"shop","sub":"u1","exp":2000});
    let check = |kid: Option<&str>, key: &str| {
        let mut header = json!({"alg": "HS256"});
        if let Some(kid) = kid {
            header["kid"] = kid.into();
        }
        apps.client(&hs256(&header, &claims, key.as_bytes()), 1_000).map(|c| c.user.to_string())
    };
    assert!(check(Some("one"), "key one, long enough").is_ok());
    assert!(check(None, "key one, long enough").is_ok());
    assert!(check(Some("unheard of"), "key three, long enough").is_ok());
    assert_eq!(check(Some("one"), "key three, long enough"), Err(AuthError::Signature));
    assert_eq!(check(Some("two"), "key two, long enough"), Err(AuthError::UnknownKey), "its time has passed");
    assert_eq!(check(None, "key two, long enough"), Err(AuthError::Signature));
}

#[test]
fn exp_is_required_and_nbf_is_honoured_with_a_small_leeway() {
    let check = |claims, now_s| shop().client(&token(claims), now_s).map(|_| ());
    let wrong = |problem: &str| Err(AuthError::Claim { claim: "exp", problem: problem.into() });
    assert_eq!(check(json!({"sub":"u"}), 5), wrong("is missing"));
    assert_eq!(check(json!({"sub":"u","exp":1000}), 1_004), Ok(()));
    assert_eq!(check(json!({"sub":"u","exp":1000}), 1_005), Err(AuthError::Expired { ago_s: 5 }));
    assert_eq!(check(json!({"sub":"u","exp":-1}), 1_000), Err(AuthError::Expired { ago_s: 1_000 }));
    assert_eq!(check(json!({"sub":"u","exp":1e300}), 1_000), Ok(()));
    assert_eq!(check(json!({"sub":"u","exp":2000,"nbf":1006}), 1_000), Err(AuthError::NotYet { in_s: 6 }));
    assert_eq!(check(json!({"sub":"u","exp":2000,"nbf":1005}), 1_000), Ok(()));
}

#[test]
fn the_app_claim_may_be_left_out_only_when_there_is_one_app() {
    let claims = json!({"sub":"u1","exp":2000});
    assert!(shop().client(&token(claims.clone()), 1_000).is_ok());
    let two = Apps::new(vec![
        app(json!({"id":"shop","keys":[{"alg":"HS256","key":KEY}]})),
        app(json!({"id":"bank","keys":[{"alg":"HS256","key":"another key, long enough"}]})),
    ])
    .unwrap();
    let missing = AuthError::Claim { claim: "app", problem: "is missing".into() };
    assert_eq!(two.client(&token(claims), 1_000), Err(missing));
    assert!(two.client(&token(json!({"app":"shop","sub":"u1","exp":2000})), 1_000).is_ok());
    let of_other = two.client(&token(json!({"app":"bank","sub":"u1","exp":2000})), 1_000);
    assert_eq!(of_other, Err(AuthError::Signature), "one app's key signs for no other");
    let unknown = two.client(&token(json!({"app":"nobody","sub":"u1","exp":2000})), 1_000);
    assert_eq!(unknown, Err(AuthError::UnknownApp));
}

#[test]
fn nobody_is_everyone() {
    let refused = shop().client(&token(json!({"app":"shop","sub":"*","exp":2000})), 1_000).unwrap_err();
    assert_eq!(refused.status(), 401);
    assert!(refused.to_string().contains("* stands for everyone"), "{refused}");
}

#[test]
fn claims_out_of_range_are_named() {
    let check = |claims| shop().client(&token(claims), 1_000).unwrap_err().reason();
    assert_eq!(check(json!({"exp":2000})), "the token's claim sub is missing");
    assert_eq!(check(json!({"sub":"","exp":2000})), "the token's claim sub is wrong: user is empty");
    let reason = check(json!({"sub":"u","plat":"tv","exp":2000}));
    assert_eq!(reason, "the token's claim plat is none of ios, android, web");
    assert_eq!(check(json!({"sub":"u","aud":"billing","exp":2000})), "the token's claim aud is for another service");
    assert!(shop().client(&token(json!({"sub":"u","aud":["x","pushgate"],"exp":2000})), 1_000).is_ok());
}

#[test]
fn what_is_no_token_is_refused() {
    let crit = hs256(&json!({"alg":"HS256","crit":["b64"]}), &json!({"sub":"u","exp":2000}), KEY.as_bytes());
    let twice = URL_SAFE_NO_PAD.encode(r#"{"sub":"u","sub":"root","exp":2000}"#);
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
    let doubled = format!("{header}.{twice}.AAAA");
    for text in ["a", "a.b", "a.b.c", "a.b.c.d", "..", "💥.💥.💥", crit.as_str(), doubled.as_str()] {
        let error = shop().client(text, 1_000).unwrap_err();
        assert!(matches!(error, AuthError::Malformed { .. }), "{text}: {error:?}");
        assert_eq!(error.status(), 401);
    }
    assert_eq!(shop().client("", 1_000), Err(AuthError::Missing));
    let bytes = crate::limits::TOKEN_BYTES_MAX + 1;
    assert_eq!(shop().client(&"x".repeat(bytes), 1_000), Err(AuthError::TooLong { bytes }));
}

#[test]
fn a_client_token_on_rest_is_403_and_a_caller_token_on_ws_is_401() {
    let apps = shop();
    let id = AppId::parse("shop").unwrap();
    let identity = ClientIdentity { user: UserId::parse("u1").unwrap(), device: None, platform: Some(Platform::Ios) };
    let client = apps.mint_client(&id, &identity, 60, 1_000).unwrap();
    let caller = apps.mint_caller(&id, &[Scope::Send], 60, 1_000).unwrap();
    assert_eq!(apps.client(&client, 1_059).unwrap().platform, Some(Platform::Ios));
    let sender = apps.caller(Some(&format!("Bearer {caller}")), 1_000).unwrap();
    assert_eq!(sender.require(Scope::Send), Ok(()));
    assert_eq!(sender.require(Scope::Admin).map_err(|e| e.status()), Err(403));
    assert_eq!(apps.caller(Some(&format!("bearer  {client}")), 1_000).map_err(|e| e.status()), Err(403));
    assert_eq!(apps.client(&caller, 1_000).map_err(|e| e.status()), Err(401));
    let unsigned = apps.caller(Some(&format!("Bearer {client}x")), 1_000).map_err(|e| e.status());
    assert_eq!(unsigned, Err(401), "who is not known is told nothing of what is allowed");
}

#[test]
fn secrets_are_checked_with_their_scopes_and_end() {
    let apps = shop();
    let caller = apps.caller(Some(&basic("shop", "the first secret")), 5_000).unwrap();
    assert_eq!((caller.app.as_str(), caller.require(Scope::Send)), ("shop", Ok(())));
    let from_file = basic("shop", "a secret from a file");
    assert_eq!(apps.caller(Some(&from_file), 999).unwrap().scopes, [Scope::Send]);
    assert_eq!(apps.caller(Some(&from_file), 1_000), Err(AuthError::SecretExpired));
    for (header, error) in [
        (basic("shop", "the first secret "), AuthError::Secret),
        (basic("shop", ""), AuthError::Secret),
        (basic("nobody", "the first secret"), AuthError::Secret),
        ("Basic ???".into(), AuthError::Basic),
        ("Basic c2hvcA==".into(), AuthError::Basic),
        ("Digest x".into(), AuthError::Scheme),
        ("Bearer".into(), AuthError::Scheme),
        ("Bearer ".into(), AuthError::Missing),
    ] {
        assert_eq!(apps.caller(Some(&header), 1_000), Err(error), "{header}");
    }
    assert_eq!(apps.caller(None, 1_000), Err(AuthError::Missing));
}

#[test]
fn no_text_shows_a_secret() {
    let config = AppConfig::generate(AppId::parse("default").unwrap()).unwrap();
    let secret = config.secrets[0].secret.clone().unwrap();
    let key = config.keys[0].key.clone().unwrap();
    let resolved = config.resolve(&mut |_| Err("no files".into())).unwrap();
    let apps = Apps::new(vec![resolved]).unwrap();
    let shown = format!("{config:?} {apps:?} {}", serde_json::to_string(&config).unwrap());
    assert!(shown.contains("[secret]") && !shown.contains(secret.expose()) && !shown.contains(key.expose()));
    let restored: AppConfig = serde_json::from_value(config.to_json_with_secrets()).unwrap();
    assert_eq!(restored, config);
    assert!(apps.caller(Some(&basic("default", secret.expose())), 1).unwrap().require(Scope::Admin).is_ok());
}

#[test]
fn a_wrong_configuration_says_what_is_wrong_and_where() {
    let problem = |json| {
        config(json).resolve(&mut |path| Err(format!("{path}: no such file"))).map(|_| ()).unwrap_err().to_string()
    };
    for (json, expected) in [
        (json!({"id":"a","secrets":[{"id":"s"}]}), "app a, secrets[0]: give exactly one of secret and secret_file"),
        (
            json!({"id":"a","secrets":[{"id":"s","secret":"short"}]}),
            "app a, secrets[0]: secret has 5 bytes, at least 16 are needed",
        ),
        (
            json!({"id":"a","secrets":[{"id":"s","secret":KEY,"expires":"soon"}]}),
            "app a, secrets[0]: expires is \"soon\", not an RFC 3339 time with a zone, like 2026-12-01T09:00:00+08:00",
        ),
        (
            json!({"id":"a:b","secrets":[{"id":"s","secret":KEY}]}),
            "app a:b has secrets, so its id must not contain a colon",
        ),
        (json!({"id":"a","keys":[{"alg":"EdDSA","key_file":"k.pem"}]}), "app a, keys[0]: k.pem: no such file"),
        (
            json!({"id":"a","keys":[{"alg":"HS256","key":RSA_PUBLIC}]}),
            "app a, keys[0]: key is in PEM, which is not a secret for HS256; set alg to RS256 or EdDSA",
        ),
        (
            json!({"id":"a","keys":[{"alg":"RS256","key":"text"}]}),
            "app a, keys[0]: key is not a public key for RS256 in PEM: another kind of key, or none",
        ),
        (
            json!({"id":"a","keys":[{"alg":"RS256","key":ED_PUBLIC}]}),
            "app a, keys[0]: key is not a public key for RS256 in PEM: another kind of key, or none",
        ),
    ] {
        assert_eq!(problem(json), expected);
    }
    let unknown = serde_json::from_value::<AppConfig>(json!({"id":"a","key":[]})).unwrap_err().to_string();
    assert!(unknown.contains("unknown field `key`"), "{unknown}");
    let twice = Apps::new(vec![app(json!({"id":"a"})), app(json!({"id":"a"}))]).unwrap_err();
    assert_eq!(twice.to_string(), "app a is configured twice");
}

#[test]
fn an_app_has_as_many_secrets_as_are_compared_with_and_no_more() {
    let with = |count: usize| {
        let secrets: Vec<_> =
            (0..count).map(|n| json!({ "id": n.to_string(), "secret": format!("{KEY}{n}") })).collect();
        config(json!({ "id": "a", "secrets": secrets })).resolve(&mut |path| Err(path.to_owned()))
    };
    let last = format!("{KEY}{}", crate::limits::APP_SECRETS_MAX - 1);
    let full = Apps::new(vec![with(crate::limits::APP_SECRETS_MAX).unwrap()]).unwrap();
    assert!(full.caller(Some(&basic("a", &last)), 1).is_ok(), "the last one is as good as the first");
    let problem = with(crate::limits::APP_SECRETS_MAX + 1).map(|_| ()).unwrap_err().to_string();
    assert_eq!(problem, "app a has 17 secrets, at most 16 are allowed");
}
