//! Names of requests, the trace they belong to, and the description of it all.

use super::*;
use crate::limits;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn send_with(api: &Fixture, name: &str, value: &str, message: &Value) -> Answer {
    let request = request(Method::POST, "/v1/messages").header(header::CONTENT_TYPE, "application/json");
    api.call(request.header(name, value).body(Body::from(message.to_string())).unwrap()).await
}

#[tokio::test]
async fn a_request_keeps_its_name_in_the_answer_and_in_its_problem() {
    let api = Fixture::new();
    let answer = send_with(&api, "x-request-id", "r-17", &smallest()).await;
    assert_eq!((answer.status, &answer.headers["x-request-id"]), (202, &"r-17".parse().unwrap()));
    let refused = send_with(&api, "x-request-id", "r-18", &json!({})).await;
    assert_eq!(
        (&refused.headers["x-request-id"], &refused.body["request_id"]),
        (&"r-18".parse().unwrap(), &json!("r-18"))
    );
}

#[tokio::test]
async fn a_request_without_a_usable_name_gets_one() {
    let api = Fixture::new();
    let long = "x".repeat(limits::REQUEST_ID_BYTES_MAX + 1);
    for name in ["", "two words", long.as_str()] {
        let answer = send_with(&api, "x-request-id", name, &json!({})).await;
        let made = answer.headers["x-request-id"].to_str().unwrap();
        assert_eq!(uuid::Uuid::parse_str(made).unwrap().get_version_num(), 7);
        assert_eq!(answer.body["request_id"], made);
    }
    for path in ["/nowhere", "/healthz", "/openapi.json"] {
        assert!(api.get(path).await.headers.contains_key("x-request-id"), "{path}");
    }
}

#[tokio::test]
async fn a_message_carries_its_callers_trace_unless_it_names_one_itself() {
    for (header, field, carried) in [
        (TRACE, None, json!(TRACE)),
        ("00-nonsense", None, Value::Null),
        (TRACE, Some(TRACE.replace("-01", "-00")), json!(TRACE.replace("-01", "-00"))),
    ] {
        let api = Fixture::new();
        let mut message = smallest();
        if let Some(field) = field {
            message["traceparent"] = field.into();
        }
        assert_eq!(send_with(&api, "traceparent", header, &message).await.status, 202);
        let value: Value = serde_json::from_slice(&api.memory.only_record().1.value).unwrap();
        assert_eq!(value["traceparent"], carried);
    }
}

#[tokio::test]
async fn a_message_repeated_under_another_trace_is_the_same_message() {
    let api = Fixture::new();
    assert_eq!(send_with(&api, "traceparent", TRACE, &with_id("m")).await.status, 202);
    assert_eq!(api.send(&with_id("m")).await.status, 202);
    assert_eq!(api.memory.ids(), ["m"]);
}

#[tokio::test]
async fn the_description_is_served_to_anyone_and_its_example_is_accepted() {
    let api = Fixture::new();
    let nobody = Request::get("/openapi.json").body(Body::empty()).unwrap();
    let answer = api.call(nobody).await;
    assert_eq!((answer.status, &answer.body), (200, &description()));
    for (path, methods) in answer.body["paths"].as_object().unwrap() {
        let example = &methods["post"]["requestBody"]["content"]["application/json"]["example"];
        if !example.is_null() {
            let id = methods["post"]["parameters"][0]["example"].as_str().unwrap_or_default();
            let answer = api.post(&path.replace("{id}", id), example.to_string()).await;
            // The caller of this test may not do everything.
            assert!(matches!(answer.status, 200 | 202 | 403), "{path}: {}", answer.text);
        }
    }
}
