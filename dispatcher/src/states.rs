//! Which state of a recipient may follow which, the same for every message store, and the bounds of a message's states.
//!
//! A state entered once is not entered again, so a repeated or late report changes nothing. `accepted` starts a history
//! and never follows; `scheduled` follows nothing else, for what was sent may be told of later than an earlier attempt that failed. An end is not undone: only evidence of arrival (`delivered`, `read`, `clicked`, in this order) follows it, and any
//! end but `skipped` follows `unknown`: that a record came once more says nothing of what became of the message.

use pushgate_protocol::result::State;

use crate::{limits, seams::StateEntry};

/// Bounds of what is kept of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageBounds {
    /// Recipients (per channel) of one message whose states are kept. Of others only the ends are counted, each time
    /// they are reported.
    pub recipients: usize,
    /// How long states are kept after the last change, milliseconds.
    pub keep_ms: u64,
    /// How long a message id is an idempotency key, milliseconds.
    pub idempotency_ms: u64,
}

impl Default for MessageBounds {
    fn default() -> Self {
        Self {
            recipients: limits::MESSAGE_RECIPIENTS_MAX,
            keep_ms: limits::MESSAGE_KEEP_MS,
            idempotency_ms: limits::IDEMPOTENCY_MS,
        }
    }
}

/// Whether a recipient's history may start with this state: what a client says of a message is kept only where a delivery
/// of the message is known.
pub fn may_start(state: State) -> bool {
    !matches!(state, State::Read | State::Clicked)
}

/// Whether a recipient in this state is done with.
pub fn is_end(state: State) -> bool {
    !matches!(state, State::Accepted | State::Scheduled | State::Sent | State::Stored)
}

/// Whether a recipient now in `from` may enter `to`.
pub fn may_follow(from: State, to: State) -> bool {
    let evidence = |state| match state {
        State::Delivered => 1,
        State::Read => 2,
        State::Clicked => 3,
        _ => 0,
    };
    if from == to || to == State::Accepted || to == State::Scheduled && from != State::Accepted {
        return false;
    }
    if !is_end(from) || from == State::Unknown && is_end(to) && to != State::Skipped {
        return true;
    }
    evidence(to) > evidence(from)
}

/// Whether a recipient with this history enters `to` now.
pub fn enters(history: &[StateEntry], to: State) -> bool {
    history.last().is_none_or(|now| may_follow(now.state, to)) && history.iter().all(|entry| entry.state != to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_never_replaced_by_a_way_station() {
        for from in State::ALL.into_iter().filter(|s| is_end(*s)) {
            for to in [State::Accepted, State::Scheduled, State::Sent, State::Stored] {
                assert!(!may_follow(from, to), "{from:?} {to:?}");
            }
        }
    }

    #[test]
    fn what_was_sent_or_stored_is_not_scheduled_again() {
        assert!(may_follow(State::Accepted, State::Scheduled) && may_follow(State::Scheduled, State::Sent));
        for from in [State::Sent, State::Stored] {
            assert!(!may_follow(from, State::Scheduled), "{from:?}");
        }
    }

    #[test]
    fn arrival_is_the_strongest_end() {
        for from in [State::Skipped, State::Failed, State::Expired, State::Recalled, State::Unknown, State::Stored] {
            assert!(may_follow(from, State::Delivered), "{from:?}");
            assert!(!may_follow(State::Delivered, from), "{from:?}");
        }
        assert!(may_follow(State::Delivered, State::Read) && !may_follow(State::Clicked, State::Read));
        assert!(!may_follow(State::Failed, State::Expired) && may_follow(State::Unknown, State::Failed));
        assert!(!may_follow(State::Unknown, State::Skipped));
    }
}
