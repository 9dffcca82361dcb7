//! What is scheduled, and changes of it.

use pushgate_protocol::{ids::MessageId, message, result::State};
use serde_json::{Value, json};

use super::{doubles::Did, *};
use crate::{
    memory::Harm,
    schedule::entry,
    seams::{ScheduleStore, Settlement, Standing, TaskKey},
};

fn scheduled(id: &str, schedule: Value) -> Value {
    let mut message = with_id(id);
    message["schedule"] = schedule;
    message
}

impl Fixture {
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = request(method, path);
        let request = request.header(header::CONTENT_TYPE, "application/json");
        self.call(request.body(body.map_or_else(Body::empty, |body| Body::from(body.to_string()))).unwrap()).await
    }

    /// Claims everything that is due.
    async fn claim(&self) -> Vec<crate::seams::Claim> {
        let shards = (0..crate::limits::SCHEDULE_SHARDS).collect();
        self.schedule.claim(shards, 100, 1_000).await.unwrap().claims
    }
}

#[tokio::test]
async fn a_scheduled_message_goes_into_the_schedule_and_not_into_its_lane() {
    let api = Fixture::new();
    let answer = api.post("/v1/messages?lane=high", scheduled("m", json!({"delay": "5m"})).to_string()).await;
    assert_eq!((answer.status, &answer.body), (202, &json!({"id": "m", "lane": "high"})));
    assert!(api.memory.is_empty());
    assert_eq!(api.memory.confirmed(), ["m"]);
    let told = api.memory.did();
    assert!(
        matches!(&told[..], [Did::Recorded(a, State::Scheduled), Did::Published(b, State::Scheduled, true)] if a == b)
    );
    let shown = api.ask(Method::GET, "/v1/tasks/m", None).await;
    assert_eq!(shown.status, 200);
    assert_eq!((&shown.body["state"], &shown.body["next_ms"]), (&json!("delayed"), &json!(NOW_MS + 300_000)));
    assert_eq!(shown.body["message"]["content"], with_id("m")["content"]);
    let again = api.send(&scheduled("m", json!({"delay": "5m"}))).await;
    assert_eq!((again.status, &again.body["lane"]), (202, &json!("high")));
    assert_eq!(api.send(&scheduled("m", json!({"delay": "6m"}))).await.problem(), (409, "id_used", Some("/id")));
    let never = scheduled("n", json!({"cron": "0 9 30 2 *"}));
    assert_eq!(api.send(&never).await.problem(), (422, "invalid_value", Some("/schedule/cron")));
    let mut forged = with_id("n");
    forged["occurrence"] = "m@1".into();
    assert_eq!(api.send(&forged).await.problem(), (422, "not_supported", Some("/occurrence")));
    let forged = json!({"to": {"users": ["u1"]}, "content": {"title": "t"}, "retry": "1/0@5 normal/0/7"});
    assert_eq!(api.send(&forged).await.problem(), (422, "not_supported", Some("/retry")));
    let past = json!({"cron": "0 9 * * *", "until": "2020-01-01T00:00:00Z"});
    assert_eq!(api.send(&scheduled("n", past)).await.problem(), (422, "invalid_value", Some("/schedule")));
}

#[tokio::test]
async fn an_id_of_a_task_that_stands_is_refused_as_often_as_it_is_sent() {
    let api = Fixture::new();
    // Added so long ago that its id is not remembered as one.
    let message = message::decode(scheduled("x", json!({"every": "1d"})).to_string().as_bytes()).unwrap();
    let (app, id) = (AppId::parse("shop").unwrap(), message.id.clone().unwrap());
    let task = entry::task(app, id, &message, Lane::Normal, NOW_MS - 7 * 86_400_000).unwrap();
    api.schedule.add(vec![task]).await.unwrap();
    for _ in 0..3 {
        let answer = api.send(&scheduled("x", json!({"delay": "5m"}))).await;
        assert_eq!(answer.problem(), (409, "id_used", Some("/id")));
    }
    let both = json!({"messages": [scheduled("x", json!({"delay": "5m"})), scheduled("y", json!({"delay": "5m"}))]});
    for _ in 0..2 {
        let answer = api.post("/v1/messages/batch", both.to_string()).await;
        let status = |n: usize| answer.body["items"][n]["status"].as_str().unwrap();
        assert_eq!((status(0), status(1)), ("conflict", "accepted"), "{}", answer.text);
    }
    assert_eq!(api.memory.confirmed(), ["y"]);
}

#[tokio::test]
async fn a_batch_may_hold_both_kinds() {
    let api = Fixture::new();
    let messages = json!({"messages": [with_id("a"), scheduled("b", json!({"delay": "1h"})), with_id("c")]});
    let answer = api.post("/v1/messages/batch", messages.to_string()).await;
    let statuses: Vec<&str> =
        answer.body["items"].as_array().unwrap().iter().map(|i| i["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["accepted"; 3]);
    assert_eq!(api.memory.ids(), ["a", "c"]);
    assert_eq!(api.ask(Method::GET, "/v1/tasks", None).await.body["tasks"][0]["id"], "b");
}

#[tokio::test]
async fn tasks_are_listed_in_pages_and_by_state() {
    let api = Fixture::new();
    for n in 0..5 {
        api.send(&scheduled(&format!("m{n}"), json!({"delay": "1h"}))).await;
    }
    api.ask(Method::POST, "/v1/tasks/m3/pause", None).await;
    let ids = |answer: &Answer| -> Vec<String> {
        let tasks = answer.body["tasks"].as_array().unwrap().iter();
        tasks.map(|task| task["id"].as_str().unwrap().to_owned()).collect()
    };
    let first = api.ask(Method::GET, "/v1/tasks?limit=2", None).await;
    assert_eq!((ids(&first), &first.body["next"]), (vec!["m0".into(), "m1".into()], &json!("m1")));
    let last = api.ask(Method::GET, "/v1/tasks?limit=3&after=m1", None).await;
    assert_eq!(ids(&last), ["m2", "m3", "m4"]);
    let paused = api.ask(Method::GET, "/v1/tasks?state=paused&limit=1", None).await;
    assert_eq!(ids(&paused), ["m3"]);
    let delayed = api.ask(Method::GET, "/v1/tasks?state=delayed&limit=2&after=m1", None).await;
    assert_eq!(ids(&delayed), ["m2", "m4"]);
    let none = api.ask(Method::GET, "/v1/tasks?state=failed", None).await;
    assert_eq!((ids(&none).len(), &none.body["next"]), (0, &Value::Null));
    for wrong in ["state=lost", "limit=0", "limit=1001", "page=1", "lane=x"] {
        let answer = api.ask(Method::GET, &format!("/v1/tasks?{wrong}"), None).await;
        assert_eq!(answer.problem(), (400, "invalid_query", None), "{wrong}");
    }
}

#[tokio::test]
async fn a_task_that_cannot_be_read_is_told_beside_the_others() {
    let api = Fixture::new();
    for n in 0..5 {
        api.send(&scheduled(&format!("m{n}"), json!({"delay": "1h"}))).await;
    }
    let key = |id: &str| TaskKey { app: AppId::parse("shop").unwrap(), id: MessageId::parse(id).unwrap() };
    api.schedule.harm(&key("m1"), Harm::Damaged);
    api.schedule.harm(&key("m3"), Harm::Later);
    let listed = api.ask(Method::GET, "/v1/tasks", None).await;
    let ids = |list: &Value| list.as_array().unwrap().iter().map(|task| task["id"].clone()).collect::<Vec<_>>();
    assert_eq!((listed.status, ids(&listed.body["tasks"])), (200, vec![json!("m0"), json!("m2"), json!("m4")]));
    let unreadable = json!([{"id": "m1", "problem": "damaged"}, {"id": "m3", "problem": "newer_version"}]);
    assert_eq!((&listed.body["unreadable"], &listed.body["next"]), (&unreadable, &Value::Null));
    let page = api.ask(Method::GET, "/v1/tasks?limit=2&state=paused", None).await.body;
    assert_eq!(
        (ids(&page["tasks"]).len(), ids(&page["unreadable"]), &page["next"]),
        (0, ids(&unreadable), &json!("m3"))
    );
    let rest = api.ask(Method::GET, "/v1/tasks?limit=2&after=m3", None).await.body;
    assert_eq!((ids(&rest["tasks"]), rest.get("unreadable")), (vec![json!("m4")], None));
    for (method, path) in [
        (Method::GET, "/v1/tasks/m1"),
        (Method::DELETE, "/v1/tasks/m1"),
        (Method::POST, "/v1/tasks/m1/pause"),
        (Method::GET, "/v1/tasks/m3"),
        (Method::DELETE, "/v1/messages/m3"),
    ] {
        assert_eq!(api.ask(method, path, None).await.problem(), (409, "task_unreadable", None), "{path}");
    }
    assert_eq!(api.send(&scheduled("m1", json!({"delay": "2h"}))).await.problem(), (409, "id_used", Some("/id")));
    api.memory.show(&[("u1", State::Scheduled)]);
    let recalled = api.ask(Method::DELETE, "/v1/messages/m1", None).await;
    assert_eq!(recalled.status, 202, "nobody sends it: {}", recalled.text);
}

#[tokio::test]
async fn a_task_is_paused_resumed_run_and_cancelled() {
    let api = Fixture::new();
    api.send(&scheduled("m", json!({"every": "1h", "start": "2020-01-01T00:30:00Z"}))).await;
    api.memory.did();
    let state = async |verb: &str| {
        let answer = api.ask(Method::POST, &format!("/v1/tasks/m/{verb}"), None).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        (answer.body["state"].as_str().unwrap().to_owned(), answer.body["next_ms"].clone())
    };
    let next = api.ask(Method::GET, "/v1/tasks/m", None).await.body["next_ms"].clone();
    assert_eq!(state("pause").await, ("paused".into(), Value::Null));
    assert_eq!(state("pause").await.0, "paused", "as often as asked");
    assert_eq!(state("resume").await, ("delayed".into(), next));
    assert_eq!(state("run").await, ("waiting".into(), json!(NOW_MS)));
    assert_eq!(api.claim().await.len(), 1);
    assert_eq!(api.ask(Method::GET, "/v1/tasks/m", None).await.body["state"], "active");
    let cancelled = api.ask(Method::DELETE, "/v1/tasks/m", None).await;
    assert_eq!((cancelled.status, &cancelled.body["state"]), (202, &json!("cancelled")));
    assert!(matches!(
        &api.memory.did()[..],
        [Did::Recorded(_, State::Recalled), Did::Published(_, State::Recalled, _)]
    ));
    assert_eq!(api.ask(Method::DELETE, "/v1/tasks/m", None).await.status, 202);
    let resumed = api.ask(Method::POST, "/v1/tasks/m/resume", None).await;
    assert_eq!(resumed.problem(), (409, "task_ended", None));
    for (method, path) in
        [(Method::GET, "/v1/tasks/x"), (Method::DELETE, "/v1/tasks/x"), (Method::POST, "/v1/tasks/x/run")]
    {
        assert_eq!(api.ask(method, path, None).await.problem(), (404, "not_found", None));
    }
}

#[tokio::test]
async fn a_task_is_edited_and_stays_the_one_it_is() {
    let api = Fixture::new();
    api.send(&scheduled("m", json!({"delay": "1h"}))).await;
    let edit = async |patch: Value| api.ask(Method::PATCH, "/v1/tasks/m", Some(patch)).await;
    let edited = edit(json!({"content": {"title": "New"}, "ttl": "1h"})).await;
    assert_eq!((edited.status, &edited.body["message"]["content"]["title"]), (200, &json!("New")));
    assert_eq!(edited.body["next_ms"], json!(NOW_MS + 3_600_000), "the schedule is what it was");
    let edited = edit(json!({"schedule": {"delay": null, "every": "2h", "times": 3}})).await;
    assert_eq!(
        (&edited.body["schedule"], &edited.body["next_ms"]),
        (&json!({"every": "2h", "times": 3}), &json!(NOW_MS))
    );
    for (patch, code, pointer) in [
        (json!({"id": "n"}), "invalid_value", "/id"),
        (json!({"schedule": null}), "missing_field", "/schedule"),
        (json!({"schedule": {"cron": "* * * * *"}}), "invalid_value", "/schedule"),
        (json!({"to": {"users": [1]}}), "wrong_type", "/to/users/0"),
        (json!({"lane": "high"}), "unknown_field", "/lane"),
        (json!([]), "wrong_type", ""),
    ] {
        assert_eq!(edit(patch.clone()).await.problem(), (422, code, Some(pointer)), "{patch}");
    }
    api.ask(Method::DELETE, "/v1/tasks/m", None).await;
    assert_eq!(edit(json!({"ttl": "2h"})).await.problem(), (409, "task_ended", None));
}

#[tokio::test]
async fn taking_a_message_back_cancels_its_task() {
    let api = Fixture::new();
    api.memory.show(&[("u1", State::Scheduled)]);
    api.send(&scheduled("m", json!({"delay": "1h"}))).await;
    assert_eq!(api.ask(Method::DELETE, "/v1/messages/m", None).await.status, 202);
    assert_eq!(api.ask(Method::GET, "/v1/tasks/m", None).await.body["state"], "cancelled");
    assert!(api.claim().await.is_empty());
}

#[tokio::test]
async fn the_content_of_one_time_codes_is_not_shown_and_not_kept() {
    let api = Fixture::new();
    let mut message = scheduled("m", json!({"delay": "0s"}));
    message["class"] = "otp".into();
    api.send(&message).await;
    let shown = api.ask(Method::GET, "/v1/tasks/m", None).await;
    assert_eq!((&shown.body["message"], &shown.body["state"]), (&Value::Null, &json!("waiting")));
    let claim = api.claim().await.remove(0);
    let mut head = claim.task.head.clone();
    head.phase = crate::seams::Phase::Completed;
    let standing = Standing::Ended { body: false };
    let settlement = Settlement { key: claim.task.key, lease_ms: claim.lease_ms, head, standing };
    api.schedule.settle(vec![settlement]).await.unwrap();
    let run = api.ask(Method::POST, "/v1/tasks/m/run", None).await;
    assert_eq!(run.problem(), (409, "task_content_gone", None));
}
