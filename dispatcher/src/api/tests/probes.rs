//! Health, readiness and metrics.

use super::*;

#[tokio::test]
async fn probes_need_no_credentials_and_name_what_fails_and_since_when() {
    let api = Fixture::new();
    let get = async |path: &str| api.call(Request::get(path).body(Body::empty()).unwrap()).await;
    assert_eq!(get("/healthz").await.status, 200);
    assert_eq!(get("/readyz").await.body, json!({"ready": true, "failing": []}));
    api.health.failed("redis", "connection refused", 1_000);
    let answer = get("/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let failing = json!([{
        "what": "redis", "since_ms": 1_000, "since": "1970-01-01T00:00:01.000Z", "detail": "connection refused"
    }]);
    assert_eq!(answer.body, json!({"ready": false, "failing": failing}));
    assert_eq!(get("/healthz").await.status, 200, "a process that waits for others is alive");
    assert_eq!(api.send(&smallest()).await.status, 202);
    let text = get("/metrics").await.text;
    assert!(text.contains("rest_messages_accepted_total{lane=\"normal\"} 1") && text.ends_with("# EOF\n"), "{text}");
}
