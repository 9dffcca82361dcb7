//! Times of schedules, and what is due of them.

use proptest::prelude::*;
use pushgate_protocol::{
    message::Instant,
    timestamp::{format_ms, parse_ms},
};

use super::*;

fn ms(text: &str) -> u64 {
    parse_ms(text).unwrap()
}

fn every(span: &str, times: Option<u32>, start: Option<&str>) -> Schedule {
    let start = start.map(|text| Instant { ms: ms(text) });
    Schedule { every: Some(Span::parse(span).unwrap()), times, start, ..Schedule::default() }
}

fn cron(expression: &str) -> Schedule {
    Schedule { cron: Some(expression.into()), ..Schedule::default() }
}

fn all(rule: &Rule) -> Vec<String> {
    let mut next = rule.first();
    let mut out = Vec::new();
    while let Some(at) = next.filter(|_| out.len() < 20) {
        out.push(format_ms(at).replace(":00.000Z", ""));
        next = rule.next_after(at);
    }
    out
}

const NOW: &str = "2026-11-21T12:00:00Z";

#[test]
fn each_form_has_its_times() {
    let rule = |schedule: &Schedule| Rule::new(schedule, ms(NOW)).unwrap();
    let delay = Schedule { delay: Span::parse("1mo").ok(), ..Schedule::default() };
    assert_eq!(all(&rule(&delay)), ["2026-12-21T12:00"]);
    let at = Schedule { at: Some(Instant { ms: ms("2020-01-01T00:00:00Z") }), ..Schedule::default() };
    assert_eq!(all(&rule(&at)), ["2020-01-01T00:00"], "a time that has passed is due at once");
    assert_eq!(all(&rule(&every("10m", Some(3), None))), ["2026-11-21T12:00", "2026-11-21T12:10", "2026-11-21T12:20"]);
    let late = every("1d", Some(2), Some("2026-11-01T09:00:00Z"));
    assert_eq!(
        all(&rule(&late)),
        ["2026-11-22T09:00", "2026-11-23T09:00"],
        "a start in the past says from where to count"
    );
    let exact = every("1d", Some(1), Some("2026-11-01T12:00:00Z"));
    assert_eq!(all(&rule(&exact)), ["2026-11-21T12:00"]);
    let months = Schedule {
        until: Some(Instant { ms: ms("2027-04-30T00:00:00Z") }),
        ..every("1mo", None, Some("2027-01-31T00:00:00Z"))
    };
    assert_eq!(all(&rule(&months)), ["2027-01-31T00:00", "2027-02-28T00:00", "2027-03-31T00:00", "2027-04-30T00:00"]);
    let until = Schedule { until: Some(Instant { ms: ms("2026-11-22T23:00:00Z") }), ..cron("0 */12 * * *") };
    assert_eq!(all(&rule(&until)), ["2026-11-21T12:00", "2026-11-22T00:00", "2026-11-22T12:00"]);
    let past = Schedule { until: Some(Instant { ms: ms("2026-11-01T00:00:00Z") }), ..cron("0 9 * * *") };
    assert!(all(&rule(&past)).is_empty());
}

#[test]
fn what_was_missed_is_sent_as_the_misfire_says() {
    let (due, now) = (ms("2026-11-21T12:00:00Z"), ms("2026-11-21T12:50:20Z"));
    for schedule in [every("10m", None, None), cron("*/10 * * * *")] {
        let rule = Rule::new(&schedule, due).unwrap();
        let latest = ms("2026-11-21T12:50:00Z");
        let once = rule.due(Misfire::FireOnce, due, now);
        assert_eq!(once, Due { times: vec![latest], missed: true, next_ms: Some(latest + 600_000) });
        let skip = rule.due(Misfire::Skip, due, now);
        assert_eq!(skip, once, "the latest is not late yet");
        let skip = rule.due(Misfire::Skip, due, now + MISFIRE_GRACE_MS);
        assert_eq!(skip, Due { times: vec![], missed: true, next_ms: Some(latest + 600_000) });
        let each = rule.due(Misfire::CatchUp, due, now);
        assert_eq!(
            each,
            Due { times: (0..6).map(|n| due + n * 600_000).collect(), missed: false, next_ms: Some(latest + 600_000) }
        );
        let early = rule.due(Misfire::CatchUp, due, due - 1);
        assert_eq!(early, Due { next_ms: Some(due), ..Due::default() }, "the clock was set back");
    }
    let once = Rule::Once(due);
    assert_eq!(once.due(Misfire::FireOnce, due, u64::MAX).times, [due]);
    let skipped = once.due(Misfire::Skip, due, due + MISFIRE_GRACE_MS + 1);
    assert_eq!(skipped, Due { times: vec![], missed: true, next_ms: None });
}

#[test]
fn catching_up_is_bounded_to_the_latest() {
    let due = ms("2026-11-01T00:00:00Z");
    for (schedule, period) in
        [(every("1s", None, None), 1_000), (cron("* * * * * *"), 1_000), (cron("* * * * *"), 60_000)]
    {
        let rule = Rule::new(&schedule, due).unwrap();
        let now = due + 5 * CATCH_UP_MAX * period;
        let (mut next, mut sent) = (Some(due), Vec::new());
        while let Some(at) = next.filter(|at| *at <= now) {
            let step = rule.due(Misfire::CatchUp, at, now);
            assert!(step.times.len() <= FIRINGS_PER_CLAIM);
            sent.extend(step.times);
            next = step.next_ms;
        }
        let expected: Vec<u64> = (0..CATCH_UP_MAX).rev().map(|n| now - n * period).collect();
        assert_eq!(sent, expected);
    }
}

fn any_schedule() -> impl Strategy<Value = Schedule> {
    let span = (1..400u32, prop::sample::select(vec!["s", "m", "h", "d", "w", "mo", "y"]))
        .prop_map(|(n, u)| format!("{n}{u}"));
    let every = (span, proptest::option::of(1..50u32), proptest::option::of(0..4_000_000_000_000u64)).prop_map(
        |(span, times, start)| Schedule { start: start.map(|ms| Instant { ms }), ..every(&span, times, None) },
    );
    let cron =
        prop::sample::select(vec!["*/7 * * * *", "30 2 * * *", "0 0 1 * *", "*/13 * * * * *", "0 9 * * MON-FRI"]);
    let zone = prop::sample::select(vec![None, Some("Europe/Berlin"), Some("America/New_York")]);
    let cron = (cron, zone).prop_map(|(text, zone)| Schedule { zone: zone.map(Into::into), ..self::cron(text) });
    (prop_oneof![every, cron], proptest::option::of(1_000_000_000_000u64..3_000_000_000_000))
        .prop_map(|(schedule, until)| Schedule { until: until.map(|ms| Instant { ms }), ..schedule })
}

proptest! {
    /// However the claims fall, no time is sent twice, none before it came, and with `catch_up` none is left out.
    #[test]
    fn times_are_sent_once_and_in_order(
        schedule in any_schedule(), anchor in 1_500_000_000_000u64..2_000_000_000_000,
        pauses in proptest::collection::vec(0..20_000_000u64, 1..30), misfire in 0..3usize,
    ) {
        let misfire = [Misfire::FireOnce, Misfire::Skip, Misfire::CatchUp][misfire];
        let rule = Rule::new(&schedule, anchor).unwrap();
        let (mut next, mut now, mut sent, mut whole) = (rule.first(), anchor, Vec::new(), true);
        prop_assert!(next.is_none_or(|first| first >= anchor));
        for pause in pauses {
            now += pause;
            let Some(due) = next.filter(|due| *due <= now) else { continue };
            let step = rule.due(misfire, due, now);
            prop_assert!(step.times.iter().all(|at| *at >= due && *at <= now));
            prop_assert!(step.next_ms.is_none_or(|next| step.times.iter().all(|at| next > *at) && next > due));
            whole &= !step.missed;
            sent.extend(step.times);
            next = step.next_ms;
        }
        prop_assert!(sent.is_sorted_by(|a, b| a < b));
        if whole {
            let mut expected = Vec::new();
            let mut at = rule.first();
            while let Some(time) = at.filter(|_| expected.len() < sent.len()) {
                expected.push(time);
                at = rule.next_after(time);
            }
            prop_assert_eq!(sent, expected);
        }
    }
}
