//! Addresses that an app sends nothing.

use super::*;

const PATH: &str = "/v1/suppressions";

async fn call(api: &Fixture, method: Method, query: &str, body: Value) -> Answer {
    let request = request(method, &format!("{PATH}{query}")).header(header::CONTENT_TYPE, "application/json");
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    api.call(request.body(body).unwrap()).await
}

async fn put(api: &Fixture, items: Value) -> Answer {
    call(api, Method::PUT, "", json!({ "suppressions": items })).await
}

#[tokio::test]
async fn addresses_are_added_listed_and_released() {
    let api = Fixture::new();
    let items = json!([{"channel": "email", "address": "Ann@Bücher.example"}, {"channel": "sms", "address": "+8613800000000", "reason": "opted_out"}]);
    let added = put(&api, items).await;
    assert_eq!((added.status, &added.body["suppressed"]), (200, &json!(2)), "{}", added.text);
    put(&api, json!([{"channel": "email", "address": "ann@xn--bcher-kva.example", "reason": "bounced"}])).await;
    let listed = call(&api, Method::GET, "", Value::Null).await;
    let ann = json!({"channel": "email", "address": "ann@xn--bcher-kva.example", "reasons": ["bounced", "manual"], "since_ms": NOW_MS});
    assert_eq!((&listed.body["suppressions"][0], listed.body["suppressions"].as_array().unwrap().len()), (&ann, 2));
    let page = call(&api, Method::GET, "?limit=1", Value::Null).await;
    let next = page.body["next"].as_str().unwrap().to_owned();
    let page = call(&api, Method::GET, &format!("?limit=1&after={}", next.replace('/', "%2F")), Value::Null).await;
    assert_eq!(page.body["suppressions"][0]["address"], "+8613800000000");
    for (query, count) in
        [("?channel=sms", 1), ("?reason=bounced", 1), ("?reason=complained", 0), ("?channel=sms&reason=bounced", 0)]
    {
        let listed = call(&api, Method::GET, query, Value::Null).await;
        assert_eq!(listed.body["suppressions"].as_array().unwrap().len(), count, "{query}");
    }
    for (query, released) in [("&reason=opted_out", false), ("&reason=bounced", true), ("", true), ("", false)] {
        let answer =
            call(&api, Method::DELETE, &format!("?channel=email&address=ann@b%C3%BCcher.example{query}"), Value::Null)
                .await;
        assert_eq!((answer.status, &answer.body["released"]), (200, &json!(released)), "{query}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_and_nothing_is_added() {
    let api = Fixture::new();
    let good = json!({"channel": "email", "address": "a@b.c"});
    for (items, pointer) in [
        (json!([good, {"channel": "email", "address": "+8613800000000"}]), "/suppressions/1/address"),
        (json!([good, {"channel": "sms", "address": "a@b.c"}]), "/suppressions/1/address"),
        (json!([good, {"channel": "websocket", "address": "u1"}]), ""),
        (json!([{"channel": "email", "address": "a@b.c", "reason": "hunch"}]), ""),
        (json!([]), "/suppressions"),
    ] {
        let refused = put(&api, items).await;
        assert_eq!(refused.problem(), (422, "invalid_value", Some(pointer)), "{}", refused.text);
    }
    assert_eq!(call(&api, Method::PUT, "", json!([])).await.problem().0, 422);
    for query in ["?limit=0", "?limit=1001", "?after=x", "?channel=fax", "?x=1"] {
        assert_eq!(call(&api, Method::GET, query, Value::Null).await.problem().1, "invalid_query", "{query}");
    }
    for query in ["", "?channel=email", "?channel=fax&address=a@b.c"] {
        assert_eq!(call(&api, Method::DELETE, query, Value::Null).await.problem().1, "invalid_query", "{query}");
    }
    assert_eq!(call(&api, Method::GET, "", Value::Null).await.body["suppressions"], json!([]));
    let four: Vec<_> = (0..4).map(|n| json!({"channel": "email", "address": format!("a{n}@b.c")})).collect();
    assert_eq!(put(&api, json!(four)).await.problem(), (409, "no_room", None));
}
