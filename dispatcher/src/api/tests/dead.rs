//! Dead letters: who sees which, and what is sent once more.

use super::*;
use crate::seams::DeadRecord;

fn letter(value: &str, origin: &str) -> DeadRecord {
    let reason = "/to: the field to is missing".into();
    DeadRecord { key: None, value: value.to_owned().into(), reason, attempts: 1, origin: origin.into() }
}

/// The apps `shop`, whose caller may do everything, and perhaps another.
pub(super) fn as_admin(api: &Fixture, other: bool) {
    let admin = json!({ "id": "shop", "secrets": [{ "id": "s", "secret": SECRET, "scopes": ["admin"] }] });
    let apps = if other { vec![admin, json!({ "id": "bank" })] } else { vec![admin] };
    let resolve = |config: Value| {
        serde_json::from_value::<AppConfig>(config).unwrap().resolve(&mut |_| Err("no files".into())).unwrap()
    };
    api.shared.replace(Apps::new(apps.into_iter().map(resolve).collect()).unwrap());
}

fn valid(app: &str, id: Option<&str>) -> String {
    let mut message = smallest();
    message["app"] = app.into();
    if let Some(id) = id {
        message["id"] = id.into();
    }
    message.to_string()
}

async fn ids(api: &Fixture, path: &str) -> Vec<String> {
    let answer = api.get(path).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.body["letters"].as_array().unwrap().iter().map(|l| l["id"].as_str().unwrap().to_owned()).collect()
}

/// Status of each, and the code of what is wrong.
async fn replay(api: &Fixture, ids: &[&str]) -> Vec<(String, String)> {
    let answer = api.post("/v1/dead/replay", json!({ "ids": ids }).to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = answer.body["items"].as_array().unwrap().iter();
    items.map(|item| (text(&item["status"]), text(&item["error"]["code"]))).collect()
}

#[tokio::test]
async fn a_caller_without_the_scope_sees_none() {
    let api = Fixture::new();
    assert_eq!(api.get("/v1/dead").await.problem(), (403, "missing_scope", None));
    assert_eq!(api.post("/v1/dead/replay", "{}").await.problem(), (403, "missing_scope", None));
}

#[tokio::test]
async fn letters_are_shown_to_their_app_and_nameless_ones_where_there_is_one_app() {
    let api = Fixture::new();
    as_admin(&api, true);
    api.memory.dead(vec![
        letter(r#"{"app":"shop"}"#, "high/0/1"),
        letter(r#"{"app":"bank"}"#, "high/0/2"),
        letter("{", "low/0/3"),
        letter("", "high/0/4"),
    ]);
    assert_eq!(ids(&api, "/v1/dead").await, ["0-0"]);
    for hidden in ["0-1", "0-2", "0-3", "0-9", "1-0"] {
        assert!(ids(&api, &format!("/v1/dead?id={hidden}")).await.is_empty(), "{hidden}");
        assert_eq!(replay(&api, &[hidden]).await, [("refused".into(), "not_found".into())], "{hidden}");
    }
    as_admin(&api, false);
    assert_eq!(ids(&api, "/v1/dead").await, ["0-3", "0-2", "0-0"]);
    assert_eq!(ids(&api, "/v1/dead?id=0-2").await, ["0-2"]);
    let shown = &api.get("/v1/dead?content=true").await.body["letters"];
    assert_eq!((&shown[2]["content"], &shown[2]["origin"]), (&json!({"app": "shop"}), &json!("high/0/1")));
    assert_eq!((&shown[1]["content"], &shown[1]["content_base64"]), (&json!(null), &json!("ew==")));
    assert_eq!((&shown[0]["content"], &shown[0]["content_base64"]), (&json!(null), &json!(null)));
    assert!(api.get("/v1/dead").await.body["letters"][2]["content"].is_null());
}

#[tokio::test]
async fn letters_come_in_pages() {
    let api = Fixture::new();
    as_admin(&api, false);
    api.memory.dead((0..5).map(|n| letter("{}", &format!("high/0/{n}"))).collect());
    let (mut seen, mut path) = (Vec::new(), "/v1/dead?limit=2".to_owned());
    loop {
        seen.extend(ids(&api, &path).await);
        match api.get(&path).await.body["next"].as_str() {
            Some(next) => path = format!("/v1/dead?limit=2&before={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["0-4", "0-3", "0-2", "0-1", "0-0"]);
    for query in ["limit=0", "limit=1001", "before=x", "before=", "after=0-1", "id=x", "content=1"] {
        assert_eq!(api.get(&format!("/v1/dead?{query}")).await.problem(), (400, "invalid_query", None), "{query}");
    }
}

#[tokio::test]
async fn a_letter_is_sent_once_more_to_its_lane_however_often_it_is_replayed() {
    let api = Fixture::new();
    as_admin(&api, false);
    api.memory
        .dead(vec![letter(&valid("shop", None), "pushgate.high/2/17"), letter(&valid("shop", Some("m")), "low/0/3")]);
    for _ in 0..2 {
        let accepted = ("accepted".to_owned(), String::new());
        assert_eq!(replay(&api, &["0-0", "0-1"]).await, [accepted.clone(), accepted]);
    }
    let lanes = api.post("/v1/dead/replay", json!({ "ids": ["0-0", "0-1"] }).to_string()).await.body;
    assert_eq!((&lanes["items"][0]["lane"], &lanes["items"][1]["lane"]), (&json!("high"), &json!("low")));
    let sent = api.memory.ids();
    assert_eq!(sent.len(), 2);
    assert!(sent[0].starts_with("dead-") && sent[1] == "m", "{sent:?}");
}

#[tokio::test]
async fn what_is_wrong_still_or_was_not_kept_is_told() {
    let api = Fixture::new();
    as_admin(&api, false);
    api.memory.dead(vec![
        letter("{", "high/0/1"),
        letter(r#"{"content":{"title":"t"}}"#, "high/0/2"),
        letter("", "high/0/3"),
    ]);
    let refused = |code: &str| ("refused".to_owned(), code.to_owned());
    let expected = [refused("not_json"), refused("missing_field"), refused("content_not_kept"), refused("not_found")];
    assert_eq!(replay(&api, &["0-0", "0-1", "0-2", "nonsense"]).await, expected);
    for body in [json!({ "ids": [] }), json!({ "ids": vec!["0-0"; 101] }), json!({ "ids": "0-0" }), json!([])] {
        let answer = api.post("/v1/dead/replay", body.to_string()).await;
        assert_eq!(answer.problem(), (422, "invalid_value", Some("/ids")), "{body}");
    }
    assert!(api.memory.is_empty());
    api.memory.fail(Outage::Reserve);
    assert_eq!(api.get("/v1/dead").await.problem(), (503, "unavailable", None));
}
