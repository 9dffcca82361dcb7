//! What every `Suppressions` does.

use pushgate_dispatcher::{
    memory::{Fault, Flaky},
    seams::{AppAddress, Suppression, Suppressions},
    suppressed::{Reason, Reasons},
};
use pushgate_protocol::{ids::AppId, message::Channel};

use crate::backend::{Backend, facts};

facts!(
    reasons_are_added_and_taken_away_one_by_one,
    apps_and_channels_are_apart,
    the_list_comes_in_pages_by_channel_and_address,
    past_the_bound_what_is_there_still_gets_reasons,
    a_store_that_fails_now_and_then_is_right_once_asked_again,
);

const NOW: u64 = 1_800_000_000_000;

fn app(name: &str) -> AppId {
    AppId::parse(name).unwrap()
}

fn of(reason: Reason) -> Reasons {
    Reasons::of(reason)
}

fn entry(channel: Channel, address: &str, reason: Reason, since_ms: u64) -> Suppression {
    Suppression { channel, address: address.into(), reasons: of(reason), since_ms }
}

fn mail(address: &str) -> AppAddress {
    AppAddress { app: app("shop"), channel: Channel::Email, address: address.into() }
}

async fn reasons_are_added_and_taken_away_one_by_one(backend: Backend) {
    let list = backend.suppressions(10);
    let add = |reason, at| list.suppress(app("shop"), vec![entry(Channel::Email, "a@b.c", reason, at)]);
    assert_eq!(list.suppressed(vec![mail("a@b.c")]).await.unwrap(), [Reasons::default()]);
    assert!(!list.release(mail("a@b.c"), Reasons::ALL).await.unwrap());
    for (reason, at) in [(Reason::Bounced, NOW), (Reason::OptedOut, NOW + 5), (Reason::Bounced, NOW + 9)] {
        assert_eq!(add(reason, at).await.unwrap(), [true]);
    }
    let both = of(Reason::Bounced).with(of(Reason::OptedOut));
    let asked = vec![mail("x@b.c"), mail("a@b.c"), mail("a@b.c")];
    assert_eq!(list.suppressed(asked).await.unwrap(), [Reasons::default(), both, both]);
    let shown = list.list(app("shop"), None, 10).await.unwrap();
    assert_eq!(shown, [Suppression { reasons: both, ..entry(Channel::Email, "a@b.c", Reason::Bounced, NOW) }]);
    assert!(!list.release(mail("a@b.c"), of(Reason::Manual)).await.unwrap());
    assert!(list.release(mail("a@b.c"), of(Reason::Bounced)).await.unwrap());
    assert_eq!(list.suppressed(vec![mail("a@b.c")]).await.unwrap(), [of(Reason::OptedOut)]);
    assert!(list.release(mail("a@b.c"), Reasons::ALL).await.unwrap());
    assert_eq!(list.list(app("shop"), None, 10).await.unwrap(), []);
    assert_eq!(list.suppressed(Vec::new()).await.unwrap(), []);
}

async fn apps_and_channels_are_apart(backend: Backend) {
    let list = backend.suppressions(10);
    list.suppress(app("shop"), vec![entry(Channel::Email, "+123456789", Reason::Manual, NOW)]).await.unwrap();
    list.suppress(app("shop2"), vec![entry(Channel::Sms, "+123456789", Reason::Bounced, NOW)]).await.unwrap();
    let asked = [("shop", Channel::Email), ("shop", Channel::Sms), ("shop2", Channel::Email), ("shop2", Channel::Sms)];
    let asked = asked.map(|(name, channel)| AppAddress { app: app(name), channel, address: "+123456789".into() });
    let found = list.suppressed(asked.to_vec()).await.unwrap();
    assert_eq!(found, [of(Reason::Manual), Reasons::default(), Reasons::default(), of(Reason::Bounced)]);
    for name in ["shop", "shop2"] {
        assert_eq!(list.list(app(name), None, 10).await.unwrap().len(), 1, "{name}");
    }
    assert_eq!(list.list(app("sho"), None, 10).await.unwrap(), []);
}

async fn the_list_comes_in_pages_by_channel_and_address(backend: Backend) {
    let list = backend.suppressions(10);
    let entries =
        [(Channel::Sms, "+100"), (Channel::Email, "b@c.d"), (Channel::Email, "a@b.cd"), (Channel::Email, "a@b.c")];
    let entries = entries.map(|(channel, address)| entry(channel, address, Reason::Manual, NOW));
    assert_eq!(list.suppress(app("shop"), entries.to_vec()).await.unwrap(), [true; 4]);
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = list.list(app("shop"), after, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.channel, last.address.clone()));
        seen.push(page.into_iter().map(|row| row.address).collect::<Vec<_>>());
    }
    assert_eq!(seen, [vec!["a@b.c", "a@b.cd", "b@c.d"], vec!["+100"]]);
    let past = list.list(app("shop"), Some((Channel::Email, "a@b.c!".into())), 1).await.unwrap();
    assert_eq!(past[0].address, "a@b.cd");
}

async fn past_the_bound_what_is_there_still_gets_reasons(backend: Backend) {
    let list = backend.suppressions(2);
    let add = |address| entry(Channel::Email, address, Reason::Manual, NOW);
    let room = list.suppress(app("shop"), vec![add("a@b.c"), add("b@b.c"), add("c@b.c"), add("a@b.c")]).await.unwrap();
    assert_eq!(room, [true, true, false, true]);
    assert_eq!(list.suppressed(vec![mail("c@b.c")]).await.unwrap(), [Reasons::default()]);
    list.release(mail("a@b.c"), Reasons::ALL).await.unwrap();
    assert_eq!(list.suppress(app("shop"), vec![add("c@b.c")]).await.unwrap(), [true]);
}

async fn a_store_that_fails_now_and_then_is_right_once_asked_again(backend: Backend) {
    let fault = |call| match call % 3 {
        0 => Some(Fault::Before),
        1 => Some(Fault::After),
        _ => None,
    };
    let list = Flaky::new(backend.suppressions(3), fault);
    for n in 0..3 {
        let address = format!("a{n}@b.c");
        let add = || list.suppress(app("shop"), vec![entry(Channel::Email, &address, Reason::Bounced, NOW)]);
        while add().await.is_err() {}
    }
    let mut listed = list.list(app("shop"), None, 10).await;
    while listed.is_err() {
        listed = list.list(app("shop"), None, 10).await;
    }
    assert_eq!(listed.unwrap().len(), 3);
}
