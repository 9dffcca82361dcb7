//! What follows an answer: an end, another attempt, or the dead letters. Exponential backoff with full jitter (Brooker, 2015).

use pushgate_protocol::result::State;

use super::{Answer, Rejection};
use crate::core::random::Random;

/// How often and how far apart a message is tried for one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, at least 1.
    pub attempts_max: u32,
    /// Bound of the first pause, milliseconds; it doubles.
    pub base_ms: u64,
    /// Bound of every pause, milliseconds. What a provider asks for may be longer.
    pub cap_ms: u64,
    /// Whether what a provider may have sent is tried once more; if not, or if it may have sent it twice, it ends as `unknown`.
    pub retry_unknown: bool,
}

/// What was done for a recipient, the attempt that was answered included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made {
    /// Attempts, from 1.
    pub(super) attempts: u32,
    /// Of them, those that may have sent it.
    pub(super) unknown: u32,
}

/// What follows an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Over, in this state.
    End(State, Option<String>),
    /// Tried again at this time, Unix milliseconds.
    Again(u64, String),
    /// Over without success after the last attempt.
    Dead(String),
}

impl RetryPolicy {
    /// What follows the answer to the last of the attempts made of a message that expires at `expires_ms`.
    pub(super) fn after(
        &self,
        answer: Answer,
        Made { attempts, unknown }: Made,
        now_ms: u64,
        expires_ms: u64,
        random: &mut Random,
    ) -> Next {
        let (asked_ms, reason) = match answer {
            Answer::Delivered => return Next::End(State::Delivered, None),
            Answer::Sent { .. } => return Next::End(State::Sent, None),
            Answer::Late => return Next::End(State::Expired, Some("it expired before it was handed over".into())),
            Answer::Rejected { why, detail } => return Next::End(State::Failed, Some(rejected(why, &detail))),
            Answer::Unknown { detail } if !self.retry_unknown || unknown > 1 => {
                return Next::End(State::Unknown, Some(detail));
            }
            Answer::Unknown { detail } => (0, detail),
            Answer::Unavailable { detail } => (0, detail),
            Answer::RetryAfter { after_ms, detail } => (after_ms.unwrap_or(0), detail),
        };
        if attempts >= self.attempts_max {
            return Next::Dead(reason);
        }
        let at_ms = now_ms.saturating_add(asked_ms).saturating_add(self.pause_ms(attempts, random)).max(now_ms + 1);
        match at_ms < expires_ms {
            true => Next::Again(at_ms, reason),
            false => Next::End(State::Expired, Some(reason)),
        }
    }

    /// The pause after attempt number `attempts`, from 1.
    fn pause_ms(&self, attempts: u32, random: &mut Random) -> u64 {
        let doublings = attempts.saturating_sub(1).min(32);
        random.between(0, self.base_ms.saturating_mul(1 << doublings).min(self.cap_ms))
    }
}

fn rejected(why: Rejection, detail: &str) -> String {
    match detail {
        "" => why.as_str().to_owned(),
        detail => format!("{}: {detail}", why.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy { attempts_max: 4, base_ms: 100, cap_ms: 350, retry_unknown: true };

    fn made(attempts: u32, unknown: u32) -> Made {
        Made { attempts, unknown }
    }

    fn again(answer: Answer, attempts: u32, seed: u64) -> Option<u64> {
        match POLICY.after(answer, made(attempts, 0), 1_000, u64::MAX, &mut Random::new(seed)) {
            Next::Again(at_ms, _) => Some(at_ms - 1_000),
            _ => None,
        }
    }

    #[test]
    fn pauses_double_up_to_the_cap_and_are_spread_over_their_whole_length() {
        for (attempts, bound) in [(1, 100), (2, 200), (3, 350)] {
            let pauses: Vec<u64> =
                (0..2_000).filter_map(|seed| again(Answer::unavailable("x"), attempts, seed)).collect();
            assert_eq!(pauses.len(), 2_000);
            assert!(pauses.iter().all(|pause| (1..=bound).contains(pause)), "{attempts}");
            let spread = |from, to| pauses.iter().filter(|p| (from..to).contains(*p)).count();
            assert!(spread(0, bound / 4) > 300 && spread(bound * 3 / 4, bound) > 300, "{attempts}");
        }
    }

    #[test]
    fn what_a_provider_asks_for_is_waited_for_even_beyond_the_cap() {
        let asked = |seed| again(Answer::RetryAfter { after_ms: Some(60_000), detail: "busy".into() }, 1, seed);
        assert!((0..200).all(|seed| asked(seed).is_some_and(|pause| (60_000..=60_100).contains(&pause))));
    }

    #[test]
    fn the_last_attempt_is_the_last_and_none_is_made_after_the_end_of_life() {
        let mut random = Random::new(1);
        let dead = POLICY.after(Answer::unavailable("down"), made(4, 0), 1_000, u64::MAX, &mut random);
        assert_eq!(dead, Next::Dead("down".into()));
        let late = POLICY.after(Answer::Late, made(4, 0), 1_000, 1_000, &mut random);
        assert!(matches!(late, Next::End(State::Expired, Some(_))), "no dead letter, though it was the last: {late:?}");
        let late = Answer::RetryAfter { after_ms: Some(500), detail: "busy".into() };
        let late = POLICY.after(late, made(1, 0), 1_000, 1_400, &mut random);
        assert_eq!(late, Next::End(State::Expired, Some("busy".into())));
    }

    #[test]
    fn what_may_have_been_sent_is_tried_once_more_and_only_where_that_does_no_harm() {
        let answer = || Answer::Unknown { detail: "no answer".into() };
        let mut random = Random::new(1);
        assert!(matches!(POLICY.after(answer(), made(2, 1), 0, u64::MAX, &mut random), Next::Again(..)));
        let twice = POLICY.after(answer(), made(3, 2), 0, u64::MAX, &mut random);
        assert_eq!(twice, Next::End(State::Unknown, Some("no answer".into())));
        let never = RetryPolicy { retry_unknown: false, ..POLICY };
        assert_eq!(
            never.after(answer(), made(1, 1), 0, u64::MAX, &mut random),
            Next::End(State::Unknown, Some("no answer".into()))
        );
    }

    #[test]
    fn a_rejection_says_which() {
        let answer = Answer::Rejected { why: Rejection::AddressDead, detail: "550 5.1.1".into() };
        let end = POLICY.after(answer, made(1, 0), 0, u64::MAX, &mut Random::new(1));
        assert_eq!(end, Next::End(State::Failed, Some("address_dead: 550 5.1.1".into())));
    }
}
