//! How far the server's clock is from this machine's. HTTP tells it in whole seconds (RFC 9110, section 6.6.1), so the server
//! is asked until it tells the next one: that second began in between.

use std::{
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::super::doctor::Check;
use crate::limits::{CLOCK_ADVISED_MS, CLOCK_ASKED_EVERY, CLOCK_ASKED_FOR};

/// The clocks of this machine and of the server whose REST is at `host:port`, if they are too far apart; nothing if the server
/// does not tell.
pub(super) fn compare(rest: &str) -> Option<Check> {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(CLOCK_ASKED_FOR));
    let agent = config.build().new_agent();
    let url = format!("http://{rest}/healthz");
    let begun = Instant::now();
    let mut seconds = Seconds::default();
    while begun.elapsed() < CLOCK_ASKED_FOR {
        let asked_ms = unix_ms(SystemTime::now());
        let answer = agent.get(&url).call().ok()?;
        let date = httpdate::parse_http_date(answer.headers().get("date")?.to_str().ok()?).ok()?;
        if let Some(ahead_ms) = seconds.heard(asked_ms, unix_ms(SystemTime::now()), unix_ms(date)) {
            return judge(ahead_ms);
        }
        thread::sleep(CLOCK_ASKED_EVERY);
    }
    None
}

/// What was told last: when it was asked for, and the second, Unix milliseconds.
#[derive(Default)]
struct Seconds {
    last: Option<(i64, i64)>,
}

impl Seconds {
    /// Takes an answer. How far the server's clock is ahead, milliseconds, once a second of it began between two of them.
    fn heard(&mut self, asked_ms: i64, answered_ms: i64, second_ms: i64) -> Option<i64> {
        let (before_ms, told_ms) = self.last.replace((asked_ms, second_ms))?;
        // It began after the question before, and before this answer.
        (told_ms != second_ms).then(|| second_ms - (before_ms + (answered_ms - before_ms) / 2))
    }
}

fn judge(ahead_ms: i64) -> Option<Check> {
    let found = format!("the server's is {} ms {}", ahead_ms.abs(), if ahead_ms < 0 { "behind" } else { "ahead" });
    let check = Check::warning("clock", found)
        .effect("tokens of this machine may be refused, and what is told as late or expired is wrong by that")
        .remedy(
            "let both machines follow a time server: `timedatectl set-ntp true`, then look at `timedatectl status`",
        );
    (ahead_ms.unsigned_abs() > CLOCK_ADVISED_MS).then_some(check)
}

fn unix_ms(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_that_begins_between_two_answers_tells_how_far_the_clocks_are_apart() {
        let mut seconds = Seconds::default();
        // The server is 3,000 ms ahead; its second 10,000 begins at 7,000 here.
        assert_eq!(seconds.heard(6_900, 6_910, 9_000), None);
        assert_eq!(seconds.heard(6_950, 6_960, 9_000), None);
        let ahead_ms = seconds.heard(7_000, 7_010, 10_000).expect("told");
        assert!((ahead_ms - 3_000).abs() <= 30, "{ahead_ms}");
    }

    #[test]
    fn clocks_that_are_far_apart_are_told_whichever_is_ahead() {
        let far = CLOCK_ADVISED_MS as i64 + 1;
        assert_eq!(judge(far - 1), None);
        for (ahead_ms, word) in [(far, "ahead"), (-far, "behind")] {
            let check = judge(ahead_ms).expect("told");
            assert!(check.detail.contains(word) && !check.effect.is_empty() && !check.remedy.is_empty(), "{check:?}");
        }
    }
}
