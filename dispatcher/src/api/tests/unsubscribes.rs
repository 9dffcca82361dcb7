//! OptOutLinks by which who gets a mail ends it.

use pushgate_protocol::message::Channel;

use super::*;
use crate::{
    seams::{AppAddress, Suppressions},
    suppressed::{Reason, Reasons},
    unsubscribe::OptOutLinks,
};

async fn follow(api: &Fixture, method: Method, path: &str) -> Answer {
    // Without credentials: the link is all there is.
    let request =
        Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    api.call(request.body(Body::from("List-Unsubscribe=One-Click")).unwrap()).await
}

#[tokio::test]
async fn posting_to_a_link_ends_the_mail_and_looking_at_it_does_not() {
    let api = Fixture::new();
    let shop = AppId::parse("shop").unwrap();
    let link = OptOutLinks::new("https://push.example.org", UNSUBSCRIBE_KEY).link(&shop, "Ann@b.c");
    let path = link.strip_prefix("https://push.example.org").unwrap();
    let asked = || vec![AppAddress { app: shop.clone(), channel: Channel::Email, address: "ann@b.c".into() }];
    let looked = follow(&api, Method::GET, path).await;
    assert_eq!(
        (looked.status, &looked.headers[header::CONTENT_TYPE]),
        (200, &HeaderValue::from_static("text/html; charset=utf-8"))
    );
    assert!(looked.text.contains("<form method=\"post\">") && !looked.text.contains("ann@"), "{}", looked.text);
    assert!(api.suppressions.suppressed(asked()).await.unwrap()[0].is_empty());
    for _ in 0..2 {
        assert_eq!(follow(&api, Method::POST, path).await.status, 200);
        assert_eq!(api.suppressions.suppressed(asked()).await.unwrap(), [Reasons::of(Reason::OptedOut)]);
    }
}

#[tokio::test]
async fn a_link_that_we_did_not_sign_ends_nothing() {
    let api = Fixture::new();
    let shop = AppId::parse("shop").unwrap();
    let forged = OptOutLinks::new("https://push.example.org", b"another key").link(&shop, "ann@b.c");
    for path in [forged.strip_prefix("https://push.example.org").unwrap(), "/v1/unsubscribe/x", "/v1/unsubscribe/%FF"] {
        for method in [Method::GET, Method::POST] {
            let answer = follow(&api, method, path).await;
            assert_eq!(answer.status, 400, "{path}: {}", answer.text);
        }
    }
    assert_eq!(api.suppressions.list(shop, None, 10).await.unwrap(), []);
}
