//! What every `MessageStore` does.

use std::sync::Arc;

use pushgate_dispatcher::{
    memory::{Fault, Flaky},
    seams::{MessageKey, MessageStore, MessageView, Reservation, StateChange},
    states::MessageBounds,
};
use pushgate_protocol::{
    ids::{AppId, DeviceId, MessageId, UserId},
    link::Lane,
    result::{Recipient, State},
};

use crate::backend::{Backend, facts};

facts!(
    states_are_counted_and_remembered,
    a_repeated_change_changes_nothing,
    an_end_is_not_replaced_by_a_late_way_station,
    channels_and_devices_are_apart,
    apps_and_ids_are_apart,
    recipients_come_in_pages,
    recipients_beyond_the_bound_are_counted_at_their_end,
    an_unknown_message_is_none,
    an_accepted_message_is_known_before_it_is_expanded,
    a_message_taken_back_says_so_from_then_on,
    a_message_taken_back_before_anything_is_known_of_it_is_still_only_accepted,
    an_id_that_is_free_again_is_not_taken_back,
    an_id_is_an_idempotency_key,
    an_id_is_free_again_after_the_window,
    a_store_that_fails_now_and_then_counts_right,
);

const NOW: u64 = 1_800_000_000_000;

fn app() -> AppId {
    AppId::parse("shop").unwrap()
}

fn id(text: &str) -> MessageId {
    MessageId::parse(text).unwrap()
}

fn change(message: &str, user: &str, state: State, time_ms: u64) -> StateChange {
    StateChange {
        app: app(),
        message: id(message),
        recipient: Recipient { user: UserId::parse(user).unwrap(), device: None },
        channel: "websocket",
        state,
        reason: None,
        time_ms,
    }
}

fn messages(backend: &Backend) -> Arc<dyn MessageStore> {
    backend.messages(MessageBounds::default())
}

async fn view(messages: &dyn MessageStore, message: &str) -> MessageView {
    messages.message(app(), id(message), 0, 1_000).await.unwrap().unwrap()
}

fn summary(view: &MessageView) -> Vec<(State, u64)> {
    view.summary.iter().map(|(state, count)| (*state, *count)).collect()
}

fn history(view: &MessageView, at: usize) -> Vec<(State, u64)> {
    view.recipients[at].history.iter().map(|entry| (entry.state, entry.time_ms)).collect()
}

fn key(message: &str) -> MessageKey {
    MessageKey { app: app(), id: id(message) }
}

async fn accept(messages: &dyn MessageStore, message: &str, now_ms: u64) {
    messages.reserve(app(), vec![(id(message), [7; 16], Lane::High)], now_ms).await.unwrap();
    messages.confirm(app(), vec![id(message)]).await.unwrap();
}

async fn recalled(messages: &dyn MessageStore, all: &[&str]) -> Vec<bool> {
    messages.recalled(all.iter().map(|message| key(message)).collect()).await.unwrap()
}

async fn a_message_taken_back_says_so_from_then_on(backend: Backend) {
    let messages = messages(&backend);
    assert!(!messages.recall(key("m"), NOW).await.unwrap(), "it is unknown");
    assert_eq!(messages.record(vec![change("m", "u1", State::Stored, NOW)]).await.unwrap(), []);
    assert_eq!(view(&*messages, "m").await.recalled_ms, None);
    for later in 0..2 {
        assert!(messages.recall(key("m"), NOW + 5 + later).await.unwrap());
        let view = view(&*messages, "m").await;
        assert_eq!((view.recalled_ms, view.recipients.len()), (Some(NOW + 5), 1), "u1 was known before");
    }
    let changes = ["u2", "u1", "u2"].map(|user| change("m", user, State::Stored, NOW + 6));
    let other = change("n", "u1", State::Stored, NOW + 6);
    let answer = messages.record(changes.into_iter().chain([other]).collect()).await.unwrap();
    assert_eq!(answer, [key("m")], "who records it now is told");
    assert_eq!(messages.record(vec![change("m", "u1", State::Read, NOW)]).await.unwrap(), [key("m")]);
    let foreign = MessageKey { app: AppId::parse("other").unwrap(), id: id("m") };
    assert!(!messages.recall(foreign, NOW).await.unwrap());
    assert_eq!(recalled(&*messages, &["n", "m", "x", "m"]).await, [false, true, false, true]);
    let many: Vec<String> = (0..600).map(|n| if n % 2 == 0 { "m".into() } else { format!("x{n}") }).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let answer = recalled(&*messages, &many).await;
    assert!(answer.len() == 600 && answer.iter().enumerate().all(|(n, is)| *is == (n % 2 == 0)));
}

async fn a_message_taken_back_before_anything_is_known_of_it_is_still_only_accepted(backend: Backend) {
    let messages = messages(&backend);
    accept(&*messages, "m", NOW).await;
    assert!(messages.recall(key("m"), NOW + 1).await.unwrap());
    let before = view(&*messages, "m").await;
    assert_eq!((summary(&before), before.recipients.len()), (vec![(State::Accepted, 1)], 0));
    assert_eq!(before.recalled_ms, Some(NOW + 1));
    messages.record(vec![change("m", "u1", State::Recalled, NOW + 2)]).await.unwrap();
    let after = view(&*messages, "m").await;
    assert_eq!((summary(&after), after.recalled_ms), (vec![(State::Recalled, 1)], Some(NOW + 1)));
}

async fn an_id_that_is_free_again_is_not_taken_back(backend: Backend) {
    let bounds = MessageBounds { idempotency_ms: 1_000, ..MessageBounds::default() };
    let messages = backend.messages(bounds);
    accept(&*messages, "m", NOW).await;
    assert!(messages.recall(key("m"), NOW + 1).await.unwrap());
    accept(&*messages, "m", NOW + 2).await;
    assert_eq!(recalled(&*messages, &["m"]).await, [true], "the same request again");
    accept(&*messages, "m", NOW + 1_000).await;
    assert_eq!(recalled(&*messages, &["m"]).await, [false]);
}

async fn states_are_counted_and_remembered(backend: Backend) {
    let messages = messages(&backend);
    let failed = StateChange { reason: Some("address ungültig".into()), ..change("m", "u3", State::Failed, NOW + 3) };
    let changes = vec![
        change("m", "u1", State::Accepted, NOW),
        change("m", "u2", State::Accepted, NOW),
        change("m", "u1", State::Stored, NOW + 1),
        change("m", "u1", State::Delivered, NOW + 2),
        failed,
    ];
    messages.record(changes).await.unwrap();
    let view = view(&*messages, "m").await;
    assert_eq!(summary(&view), [(State::Accepted, 1), (State::Delivered, 1), (State::Failed, 1)]);
    assert_eq!(view.recipients.len(), 3);
    assert_eq!(view.next, None);
    let steps = [(State::Accepted, NOW), (State::Stored, NOW + 1), (State::Delivered, NOW + 2)];
    assert_eq!((history(&view, 0), view.recipients[0].state), (steps.to_vec(), State::Delivered));
    assert_eq!(view.recipients[2].reason.as_deref(), Some("address ungültig"));
    assert_eq!(view.recipients[2].channel, "websocket");
    assert_eq!(view.recipients[2].recipient.user.as_str(), "u3");
}

async fn a_repeated_change_changes_nothing(backend: Backend) {
    let messages = messages(&backend);
    let changes = vec![
        change("m", "u1", State::Sent, NOW),
        change("m", "u1", State::Stored, NOW + 1),
        change("m", "u1", State::Delivered, NOW + 2),
        change("m", "u2", State::Stored, NOW + 3),
    ];
    messages.record(changes.clone()).await.unwrap();
    let before = view(&*messages, "m").await;
    for _ in 0..3 {
        let later = changes.iter().map(|c| StateChange { time_ms: c.time_ms + 50, ..c.clone() });
        messages.record(later.collect()).await.unwrap();
    }
    assert_eq!(view(&*messages, "m").await, before);
}

async fn an_end_is_not_replaced_by_a_late_way_station(backend: Backend) {
    let messages = messages(&backend);
    messages
        .record(vec![change("m", "u1", State::Delivered, NOW), change("m", "u2", State::Expired, NOW)])
        .await
        .unwrap();
    for state in [State::Accepted, State::Stored, State::Sent, State::Scheduled] {
        let changes = ["u1", "u2"].map(|user| change("m", user, state, NOW + 1));
        messages.record(changes.to_vec()).await.unwrap();
    }
    let before = view(&*messages, "m").await;
    assert_eq!(summary(&before), [(State::Delivered, 1), (State::Expired, 1)]);
    assert_eq!(history(&before, 0).len(), 1);
    let changes = vec![change("m", "u1", State::Expired, NOW + 2), change("m", "u2", State::Delivered, NOW + 2)];
    messages.record(changes).await.unwrap();
    assert_eq!(summary(&view(&*messages, "m").await), [(State::Delivered, 2)], "evidence of arrival wins");
}

async fn channels_and_devices_are_apart(backend: Backend) {
    let messages = messages(&backend);
    let email = StateChange { channel: "email", ..change("m", "u1", State::Sent, NOW) };
    let recipient = Recipient { user: UserId::parse("u1").unwrap(), device: Some(DeviceId::parse("d1").unwrap()) };
    let device = StateChange { recipient: recipient.clone(), ..change("m", "u1", State::Stored, NOW) };
    messages.record(vec![change("m", "u1", State::Delivered, NOW), email, device]).await.unwrap();
    let view = view(&*messages, "m").await;
    assert_eq!(summary(&view), [(State::Sent, 1), (State::Delivered, 1), (State::Stored, 1)]);
    assert_eq!(view.recipients[1].channel, "email");
    assert_eq!(view.recipients[2].recipient, recipient);
}

async fn apps_and_ids_are_apart(backend: Backend) {
    let messages = messages(&backend);
    let names = [("a", "b:c"), ("a:b", "c"), ("a", "b"), ("a}", "b"), ("}", "b"), ("{a", "b}"), ("a%7D", "b")];
    for (n, (app, message)) in names.iter().enumerate() {
        let app = AppId::parse(app).unwrap();
        let changes =
            (0..=n).map(|u| StateChange { app: app.clone(), ..change(message, &format!("u{u}"), State::Sent, NOW) });
        messages.record(changes.collect()).await.unwrap();
    }
    for (n, (app, message)) in (1u64..).zip(names) {
        let view = messages.message(AppId::parse(app).unwrap(), id(message), 0, 10).await.unwrap().unwrap();
        assert_eq!(summary(&view), [(State::Sent, n)], "{app} {message}");
    }
    assert_eq!(messages.message(AppId::parse("b").unwrap(), id("b"), 0, 10).await.unwrap(), None);
}

async fn recipients_come_in_pages(backend: Backend) {
    let messages = messages(&backend);
    let changes = (0..25).map(|n| change("m", &format!("u{n}"), State::Stored, NOW));
    messages.record(changes.collect()).await.unwrap();
    let (mut page, mut users, mut pages) = (Some(0), Vec::new(), 0);
    while let Some(at) = page {
        let view = messages.message(app(), id("m"), at, 10).await.unwrap().unwrap();
        assert_eq!(summary(&view), [(State::Stored, 25)]);
        users.extend(view.recipients.iter().map(|r| r.recipient.user.to_string()));
        (page, pages) = (view.next, pages + 1);
    }
    assert_eq!((users, pages), ((0..25).map(|n| format!("u{n}")).collect(), 3));
    let beyond = messages.message(app(), id("m"), 99, 10).await.unwrap().unwrap();
    assert_eq!((beyond.recipients.len(), beyond.next), (0, None));
}

async fn recipients_beyond_the_bound_are_counted_at_their_end(backend: Backend) {
    let messages = backend.messages(MessageBounds { recipients: 3, ..MessageBounds::default() });
    for state in [State::Stored, State::Delivered] {
        messages.record((0..5).map(|n| change("m", &format!("u{n}"), state, NOW)).collect()).await.unwrap();
    }
    let view = view(&*messages, "m").await;
    assert_eq!((summary(&view), view.recipients.len()), (vec![(State::Delivered, 5)], 3));
}

async fn an_unknown_message_is_none(backend: Backend) {
    let messages = messages(&backend);
    assert_eq!(messages.message(app(), id("nothing"), 0, 10).await.unwrap(), None);
}

async fn an_accepted_message_is_known_before_it_is_expanded(backend: Backend) {
    let messages = messages(&backend);
    messages.reserve(app(), vec![(id("m"), [1; 16], Lane::High)], NOW).await.unwrap();
    assert_eq!(messages.message(app(), id("m"), 0, 10).await.unwrap(), None, "its append may never have happened");
    messages.confirm(app(), vec![id("m")]).await.unwrap();
    assert_eq!(summary(&view(&*messages, "m").await), [(State::Accepted, 1)]);
    messages.record(vec![change("m", "u1", State::Delivered, NOW)]).await.unwrap();
    assert_eq!(summary(&view(&*messages, "m").await), [(State::Delivered, 1)]);
}

async fn an_id_is_an_idempotency_key(backend: Backend) {
    let messages = messages(&backend);
    let ask = |ids: Vec<(&str, u8, Lane)>| {
        let ids = ids.into_iter().map(|(name, body, lane)| (id(name), [body; 16], lane)).collect();
        messages.reserve(app(), ids, NOW)
    };
    let first = ask(vec![("a", 1, Lane::High), ("b", 2, Lane::Low), ("a", 9, Lane::High)]).await.unwrap();
    assert_eq!(first, [Reservation::New, Reservation::New, Reservation::Conflict]);
    assert_eq!(ask(vec![("a", 1, Lane::Normal)]).await.unwrap(), [Reservation::Pending]);
    messages.confirm(app(), vec![id("a"), id("never reserved")]).await.unwrap();
    let again = ask(vec![("b", 2, Lane::Low), ("a", 1, Lane::High), ("a", 3, Lane::High)]).await.unwrap();
    assert_eq!(again, [Reservation::Pending, Reservation::Accepted(Lane::Normal), Reservation::Conflict]);
    messages.confirm(app(), vec![id("a")]).await.unwrap();
    assert_eq!(ask(vec![("a", 1, Lane::High)]).await.unwrap(), [Reservation::Accepted(Lane::Normal)]);
    let elsewhere = messages.reserve(AppId::parse("b").unwrap(), vec![(id("a"), [7; 16], Lane::High)], NOW).await;
    assert_eq!(elsewhere.unwrap(), [Reservation::New]);
}

async fn an_id_is_free_again_after_the_window(backend: Backend) {
    let messages = messages(&backend);
    let window_ms = MessageBounds::default().idempotency_ms;
    let ask = |now_ms| messages.reserve(app(), vec![(id("a"), [1; 16], Lane::High)], now_ms);
    ask(NOW).await.unwrap();
    messages.confirm(app(), vec![id("a")]).await.unwrap();
    assert_eq!(ask(NOW + window_ms - 1).await.unwrap(), [Reservation::Accepted(Lane::High)]);
    assert_eq!(ask(NOW + window_ms).await.unwrap(), [Reservation::New]);
    assert_eq!(ask(NOW + window_ms + 1).await.unwrap(), [Reservation::Pending]);
}

async fn a_store_that_fails_now_and_then_counts_right(backend: Backend) {
    let messages = messages(&backend);
    let flaky = Flaky::new(messages.clone(), |call| [Some(Fault::After), Some(Fault::Before), None][call as usize % 3]);
    for state in [State::Accepted, State::Stored, State::Delivered] {
        let batch: Vec<_> = (0..10).map(|n| change("m", &format!("u{n}"), state, NOW)).collect();
        while flaky.record(batch.clone()).await.is_err() {}
    }
    assert_eq!(summary(&view(&*messages, "m").await), [(State::Delivered, 10)]);
    let ids = vec![(id("a"), [1; 16], Lane::High)];
    let answer = loop {
        if let Ok(answer) = flaky.reserve(app(), ids.clone(), NOW).await {
            break answer;
        }
    };
    assert_eq!(answer, [Reservation::Pending], "the first try reserved it, its answer was lost");
}
