//! What claims lead to.

use bytes::Bytes;
use pushgate_protocol::{ids::AppId, link::Lane};
use serde_json::{Value, json};

use super::*;

const NOW: u64 = 1_800_000_000_000;

fn task(schedule: Value) -> Task {
    let json =
        json!({"id": "m1", "app": "shop", "to": {"users": ["u1"]}, "content": {"title": "t"}, "schedule": schedule});
    let message = message::decode(json.to_string().as_bytes()).unwrap();
    entry::task(AppId::parse("shop").unwrap(), message.id.clone().unwrap(), &message, Lane::High, NOW).unwrap()
}

/// The task after somebody changed its head.
fn with(task: &Task, head: TaskHead) -> Task {
    Task { head, ..task.clone() }
}

/// The task after somebody gave it another schedule, at this time.
fn rescheduled(task: &Task, schedule: Value, at_ms: u64) -> Task {
    let mut json: Value = serde_json::from_slice(&task.body).unwrap();
    json["schedule"] = schedule;
    let message = message::decode(json.to_string().as_bytes()).unwrap();
    let due_ms = entry::first(&message, at_ms).unwrap_or_else(|_| panic!("it has a time to come"));
    let head = TaskHead { revision: task.head.revision + 1, anchor_ms: at_ms, due_ms, ..task.head.clone() };
    Task { head, body: message.encode().into(), ..task.clone() }
}

fn ids(firing: &Firing) -> Vec<(String, String)> {
    let names = |record: &NewRecord| {
        let json: Value = serde_json::from_slice(&record.value).unwrap();
        assert_eq!((json.get("schedule"), record.key.as_ref()), (None, b"u1".as_slice()));
        (json["id"].as_str().unwrap().to_owned(), json["occurrence"].as_str().unwrap().to_owned())
    };
    firing.records.iter().map(names).collect()
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn a_task_that_does_not_repeat_keeps_its_id_and_ends() {
    let task = task(json!({"delay": "5s"}));
    let firing = decide(&task, NOW + 5_000, |_| false);
    assert_eq!(ids(&firing), owned(&[("m1", "m1@1800000005000")]));
    let (head, standing) = firing.apply(&task, NOW + 5_001);
    assert_eq!((head.phase, head.fired, standing), (Phase::Completed, 1, Standing::Ended { body: true }));
    assert_eq!(head.recent, [Fired { due_ms: NOW + 5_000, fired_ms: NOW + 5_001 }]);
    let secret = decide(&task, NOW + 5_000, |_| true).apply(&task, NOW).1;
    assert_eq!(secret, Standing::Ended { body: false });
}

#[test]
fn occurrences_of_a_task_that_repeats_have_ids_of_their_own() {
    let mut task = task(json!({"every": "1s", "times": 3, "misfire": "catch_up"}));
    let firing = decide(&task, NOW + 1_000, |_| false);
    let expected = [("m1@1800000000000", "m1@1800000000000"), ("m1@1800000001000", "m1@1800000001000")];
    assert_eq!(ids(&firing), owned(&expected));
    let (head, standing) = firing.apply(&task, NOW + 1_000);
    assert_eq!((head.phase, head.due_ms, standing), (Phase::Live, NOW + 2_000, Standing::Due(NOW + 2_000)));
    task.head = head;
    let (head, standing) = decide(&task, NOW + 2_000, |_| false).apply(&task, NOW + 2_000);
    assert_eq!((head.phase, head.fired, standing), (Phase::Completed, 3, Standing::Ended { body: true }));
}

#[test]
fn what_changed_while_it_was_claimed_stays_changed_and_what_was_sent_stays_sent() {
    let task = task(json!({"every": "1h"}));
    let firing = decide(&task, NOW, |_| false);
    assert_eq!(firing.records.len(), 1);
    let paused = TaskHead { phase: Phase::Paused, revision: 2, ..task.head.clone() };
    let (head, standing) = firing.apply(&with(&task, paused), NOW);
    assert_eq!((head.phase, head.due_ms, head.fired, standing), (Phase::Paused, NOW + 3_600_000, 1, Standing::Idle));
    let edited = TaskHead { due_ms: NOW + 7, revision: 2, ..task.head.clone() };
    let (head, standing) = firing.apply(&with(&task, edited), NOW);
    assert_eq!((head.due_ms, head.fired, standing), (NOW + 7, 1, Standing::Due(NOW + 7)));
    let cancelled = TaskHead { phase: Phase::Cancelled, revision: 2, ..task.head.clone() };
    assert_eq!(firing.apply(&with(&task, cancelled), NOW).1, Standing::Ended { body: true });
    let run = TaskHead { run_ms: Some(NOW + 1), revision: 2, ..task.head.clone() };
    let (head, standing) = firing.apply(&with(&task, run), NOW);
    assert_eq!((head.run_ms, head.due_ms, standing), (Some(NOW + 1), NOW + 3_600_000, Standing::Due(NOW + 1)));
}

#[test]
fn a_schedule_that_begins_at_the_time_being_sent_goes_on_by_its_own_times() {
    let once = task(json!({"delay": "5s"}));
    let firing = decide(&once, NOW + 5_000, |_| false);
    let edited = rescheduled(&once, json!({"every": "1h"}), NOW + 5_000);
    assert_eq!(edited.head.due_ms, once.head.due_ms);
    let (head, standing) = firing.apply(&edited, NOW + 5_000);
    let next_ms = NOW + 5_000 + 3_600_000;
    assert_eq!((head.phase, head.due_ms, standing), (Phase::Live, next_ms, Standing::Due(next_ms)), "the edit stands");
}

#[test]
fn a_task_edited_to_the_one_time_being_sent_is_over_with_it() {
    let cyclic = task(json!({"every": "1h"}));
    let firing = decide(&cyclic, NOW + 1, |_| false);
    let at = pushgate_protocol::timestamp::format_ms(NOW);
    let edited = rescheduled(&cyclic, json!({"at": at}), NOW + 1);
    assert_eq!(edited.head.due_ms, cyclic.head.due_ms);
    assert_eq!(firing.apply(&edited, NOW + 1).0.phase, Phase::Completed, "it has no time but the one that was sent");
}

#[test]
fn the_one_time_that_a_task_is_edited_to_is_sent_if_only_a_later_one_was() {
    let cyclic = task(json!({"every": "1s"}));
    let firing = decide(&cyclic, NOW + 9_500, |_| false);
    assert_eq!(ids(&firing).len(), 1, "of what was missed the latest");
    let edited = rescheduled(&cyclic, json!({"at": pushgate_protocol::timestamp::format_ms(NOW)}), NOW + 9_500);
    assert_eq!(firing.apply(&edited, NOW + 9_500).1, Standing::Due(NOW));
}

#[test]
fn content_edited_while_a_time_is_sent_changes_no_times() {
    let cyclic = task(json!({"every": "1h"}));
    let firing = decide(&cyclic, NOW, |_| false);
    let body = String::from_utf8(cyclic.body.to_vec()).unwrap().replace("\"t\"", "\"other\"");
    let edited = Task { body: body.into(), ..cyclic.clone() };
    assert_ne!(edited.body, cyclic.body);
    assert_eq!(firing.apply(&edited, NOW).0.due_ms, NOW + 3_600_000);
}

#[test]
fn run_sends_an_occurrence_besides_the_schedule_in_any_phase() {
    let mut task = task(json!({"delay": "1h"}));
    task.head.run_ms = Some(NOW + 9);
    for phase in [Phase::Live, Phase::Paused, Phase::Completed, Phase::Cancelled] {
        task.head.phase = phase;
        assert_eq!(standing(&task.head, true), Standing::Due(NOW + 9));
        let firing = decide(&task, NOW + 10, |_| false);
        assert_eq!(ids(&firing), owned(&[("m1@1800000000009", "m1@1800000000009")]), "{phase:?}");
        let (head, standing) = firing.apply(&task, NOW + 10);
        assert_eq!((head.phase, head.run_ms, head.due_ms, head.fired), (phase, None, NOW + 3_600_000, 1));
        let expected = match phase {
            Phase::Live => Standing::Due(NOW + 3_600_000),
            Phase::Paused => Standing::Idle,
            _ => Standing::Ended { body: true },
        };
        assert_eq!(standing, expected);
    }
}

#[test]
fn a_paused_or_cancelled_task_that_is_claimed_sends_nothing() {
    let mut task = task(json!({"delay": "1s"}));
    for (phase, expected) in [(Phase::Paused, Standing::Idle), (Phase::Cancelled, Standing::Ended { body: true })] {
        task.head.phase = phase;
        let firing = decide(&task, NOW + 1_000, |_| false);
        assert_eq!((firing.records.len(), firing.apply(&task, NOW).1), (0, expected));
    }
}

#[test]
fn what_cannot_be_read_fails_with_a_reason_and_is_not_claimed_again() {
    let mut task = task(json!({"every": "1s"}));
    task.body = Bytes::from_static(b"{");
    let firing = decide(&task, NOW, |_| false);
    let (head, standing) = firing.apply(&task, NOW);
    assert_eq!((head.phase, standing), (Phase::Failed, Standing::Ended { body: false }));
    assert!(head.reason.unwrap().contains("not JSON"));
    task.head.phase = Phase::Paused;
    let (head, standing) = decide(&task, NOW, |_| false).apply(&task, NOW);
    assert_eq!((head.phase, standing), (Phase::Paused, Standing::Idle));
}

#[test]
fn a_task_remembers_its_latest_occurrences() {
    let mut task = task(json!({"every": "1s", "misfire": "catch_up"}));
    for n in 0..30 {
        let now = NOW + n * 1_000;
        task.head = decide(&task, now, |_| false).apply(&task, now).0;
    }
    assert_eq!((task.head.fired, task.head.recent.len()), (30, RECENT_OCCURRENCES));
    assert_eq!(task.head.recent.last().unwrap().due_ms, NOW + 29_000);
}

#[test]
fn the_only_time_of_a_task_that_skips_ends_without_being_sent() {
    let task = task(json!({"delay": "1s", "misfire": "skip"}));
    let firing = decide(&task, NOW + 100_000, |_| false);
    assert!(firing.skipped && firing.missed && firing.records.is_empty());
    assert_eq!(firing.apply(&task, NOW).0.phase, Phase::Completed);
}
