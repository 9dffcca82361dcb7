//! What must be so when all is over.

use std::collections::BTreeSet;

use pushgate_dispatcher::{core::account::Answer, seams::MessageStore};
use pushgate_protocol::{ids::MessageId, message, result::State};

use crate::world::{POLICY, Seen, World, app, now};

/// What is wrong.
pub fn complaints(world: &World) -> Vec<String> {
    let mut wrong = Vec::new();
    if !world.is_done() {
        wrong.push(format!("it does not come to an end: {} tasks are open", world.open_tasks()));
    }
    for (id, to) in &world.accepted {
        let view = now(world.shared.messages.message(app(), MessageId::parse(id).unwrap(), 0, 1_000)).unwrap();
        for address in to {
            let found = view.iter().flat_map(|v| &v.recipients).find(|r| r.recipient.user.as_str() == address);
            match found {
                None => wrong.push(format!("{id} to {address} has no state")),
                Some(found) => of_recipient(world, (id, address), found.state, &mut wrong),
            }
        }
    }
    wrong
}

fn of_recipient(world: &World, (id, address): (&str, &str), state: State, wrong: &mut Vec<String>) {
    let seen = world.shared.seen.get(&(id.to_owned(), address.to_owned())).map(Vec::as_slice).unwrap_or_default();
    let mut complain = |what: String| wrong.push(format!("{id} to {address}: {what}"));
    for one in seen {
        if one.at_ms >= one.expires_ms {
            complain(format!(
                "attempt {} was made {} ms after its end of life",
                one.number,
                one.at_ms - one.expires_ms
            ));
        }
        if one.is_lost {
            complain(format!("attempt {} was made of a partition that another dispatcher had", one.number));
        }
        if one.number > POLICY.attempts_max {
            complain(format!("attempt {} was made", one.number));
        }
    }
    let numbers: BTreeSet<u32> = seen.iter().map(|one| one.number).collect();
    let passes: BTreeSet<_> = seen.iter().map(|one| (one.number, one.parked, one.account)).collect();
    if !world.shared.plan.faults && passes.len() != seen.len() {
        complain(format!("{} attempts, of which {} differ in number, pass or account", seen.len(), passes.len()));
    }
    for (n, one) in seen.iter().enumerate().filter(|(_, one)| !world.shared.plan.faults && one.taken) {
        if seen[n + 1..].iter().any(|next| next.number == one.number) {
            complain(format!("attempt {} was taken by account {} and given to another", one.number, one.account));
        }
    }
    // Of copies that one dispatcher has, one is tried at a time; another dispatcher may have one under way.
    if let Some(noted) = seen.iter().position(|one| one.noted && !one.forgotten) {
        let again = seen[noted + 1..].iter().find(|next| next.dispatcher == seen[noted].dispatcher);
        if let Some(again) = again {
            complain(format!("was sent again by {} though that had noted that it was sent", again.dispatcher));
        }
    }
    if numbers.len() as u32 != numbers.last().copied().unwrap_or(0) {
        complain(format!("attempts {numbers:?} leave one out"));
    }
    if !world.shared.plan.retry_unknown {
        sent_once(world, seen, state, &mut complain);
    }
    let said = |what: fn(&Answer) -> bool| seen.iter().any(|one: &Seen| one.answer.as_ref().is_some_and(what));
    let letters = world.shared.dead.iter().filter(|dead| {
        let message = message::decode(&dead.value).unwrap();
        message.id.as_ref().is_some_and(|i| i.as_str() == id) && message.to.emails == [address]
    });
    let letters: Vec<_> = letters.collect();
    let whole = |attempts: u32| attempts == POLICY.attempts_max;
    if letters.iter().any(|dead| !whole(dead.attempts) || !dead.origin.starts_with("normal/")) {
        complain(format!("its dead letters say {letters:?}"));
    }
    match state {
        State::Sent if !seen.iter().any(|one| one.taken) => {
            complain("was never sent".into());
        }
        State::Failed if letters.is_empty() && !said(|a| matches!(a, Answer::Rejected { .. })) => {
            complain("failed without a reason".into());
        }
        State::Recalled if !world.recalled.iter().any(|recalled| recalled == id) => {
            complain("was not taken back".into());
        }
        State::Unknown if world.shared.plan.retry_unknown && seen.len() < 2 => {
            complain("was not tried once more".into())
        }
        State::Sent | State::Failed | State::Expired | State::Recalled | State::Unknown => {}
        other => complain(format!("ends as {other:?}")),
    }
}

/// What may not be sent twice: a dispatcher that handed it over and has its disk knows of that, also after its death.
fn sent_once(world: &World, seen: &[Seen], state: State, complain: &mut impl FnMut(String)) {
    for (n, first) in seen.iter().enumerate().filter(|(_, one)| one.taken && !one.forgotten) {
        if let Some(again) = seen[n + 1..].iter().find(|next| next.dispatcher == first.dispatcher) {
            complain(format!("was sent by {} at {} and tried again at {}", first.dispatcher, first.at_ms, again.at_ms));
        }
        if !world.shared.moved && !matches!(state, State::Sent | State::Unknown) {
            complain(format!("was sent and ends as {state:?}"));
        }
    }
    if state == State::Unknown && !seen.iter().any(may_be_unknown) {
        complain("is unknown, and each attempt was answered or not handed over".into());
    }
}

/// Whether nobody can know of an attempt what became of it.
fn may_be_unknown(one: &Seen) -> bool {
    one.handed_over && (!one.heard || matches!(one.answer, Some(Answer::Unknown { .. })))
}
