//! Expressions, zones and clock changes.

use proptest::prelude::*;

use super::*;
use crate::timestamp::{format_ms, parse_ms};

fn ms(text: &str) -> u64 {
    parse_ms(text).unwrap()
}

fn cron(expression: &str, zone: &str) -> CronTimes {
    CronTimes::parse(expression, Some(zone)).unwrap()
}

fn times(cron: &CronTimes, after: &str, count: usize) -> Vec<String> {
    let mut at = ms(after) - 1;
    let mut next = || {
        at = cron.next_after(at).unwrap();
        format_ms(at).replace(".000Z", "Z")
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn expressions_have_five_fields_or_six_with_seconds_first() {
    let weekly = cron("0 9 * * MON", "Asia/Shanghai");
    assert_eq!(times(&weekly, "2026-12-01T00:00:00Z", 2), ["2026-12-07T01:00:00Z", "2026-12-14T01:00:00Z"]);
    let seconds = cron("*/20 59 23 31 12 *", "UTC");
    let expected = ["2026-12-31T23:59:00Z", "2026-12-31T23:59:20Z", "2026-12-31T23:59:40Z", "2027-12-31T23:59:00Z"];
    assert_eq!(times(&seconds, "2026-12-01T00:00:00Z", 4), expected);
    assert_eq!((weekly.period_ms_min(), seconds.period_ms_min()), (60_000, 1_000));
    assert_eq!(times(&cron("0 0 29 2 *", "UTC"), "2026-01-01T00:00:00Z", 1), ["2028-02-29T00:00:00Z"]);
}

#[test]
fn a_wrong_expression_says_which_field_is_wrong() {
    for (expression, expected) in [
        ("", CalendarError::Fields),
        ("* * * *", CalendarError::Fields),
        ("0 0 0 1 1 * 2027", CalendarError::Fields),
        ("@daily", CalendarError::Fields),
        ("60 * * * *", CalendarError::Field("minute")),
        ("0 24 * * *", CalendarError::Field("hour")),
        ("0 0 32 * *", CalendarError::Field("day of month")),
        ("0 0 * 13 *", CalendarError::Field("month")),
        ("0 0 * * FOO", CalendarError::Field("day of week")),
        ("60 * * * * *", CalendarError::Field("second")),
        ("0 0 30 2 *", CalendarError::Never),
    ] {
        assert_eq!(CronTimes::parse(expression, None).map(drop), Err(expected), "{expression}");
    }
    assert_eq!(CronTimes::parse("* * * * *", Some("Mars/Olympus")).map(drop), Err(CalendarError::Zone));
    assert_eq!(CronTimes::parse(&"0,".repeat(100), None).map(drop), Err(CalendarError::Fields));
}

/// Berlin, 25 October 2026: 02:00 to 03:00 comes twice, first as +02:00, then as +01:00.
#[test]
fn in_a_doubled_hour_a_fixed_time_comes_once_at_its_first_and_a_step_goes_on() {
    let fixed = cron("30 2 * * *", "Europe/Berlin");
    assert_eq!(times(&fixed, "2026-10-24T22:00:00Z", 2), ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    let step = cron("*/30 * * * *", "Europe/Berlin");
    let expected = [
        "2026-10-25T00:00:00Z",
        "2026-10-25T00:30:00Z",
        "2026-10-25T01:00:00Z",
        "2026-10-25T01:30:00Z",
        "2026-10-25T02:00:00Z",
    ];
    assert_eq!(times(&step, "2026-10-25T00:00:00Z", 5), expected);
}

/// Berlin, 29 March 2026: 02:00 to 03:00 is skipped at 01:00Z.
#[test]
fn in_a_skipped_hour_a_fixed_time_comes_right_after_it_and_a_step_goes_on() {
    let fixed = cron("30 2 * * *", "Europe/Berlin");
    assert_eq!(times(&fixed, "2026-03-28T23:00:00Z", 2), ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    let step = cron("*/30 * * * *", "Europe/Berlin");
    let expected = ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"];
    assert_eq!(times(&step, "2026-03-29T00:30:00Z", 3), expected);
}

#[test]
fn months_and_years_follow_the_calendar_from_where_they_began() {
    let from = ms("2027-01-31T10:00:00Z");
    let month = |n| format_ms(after(from, Span::new(1, SpanUnit::Month), n).unwrap());
    assert_eq!(month(1), "2027-02-28T10:00:00.000Z");
    assert_eq!(month(2), "2027-03-31T10:00:00.000Z", "not the 28th: months are counted from the first time");
    assert_eq!(month(13), "2028-02-29T10:00:00.000Z");
    let leap = ms("2028-02-29T00:00:00Z");
    assert_eq!(format_ms(after(leap, Span::new(1, SpanUnit::Year), 1).unwrap()), "2029-02-28T00:00:00.000Z");
    assert_eq!(format_ms(after(leap, Span::new(1, SpanUnit::Year), 4).unwrap()), "2032-02-29T00:00:00.000Z");
    assert_eq!(after(from, Span::new(90, SpanUnit::Second), 2), Some(from + 180_000));
    assert_eq!(after(from, Span::new(u32::MAX, SpanUnit::Year), u64::MAX), None);
    assert_eq!(after(from, Span::new(9_000, SpanUnit::Year), 1), None);
}

proptest! {
    /// Whatever the expression: the next time is later, and the last one until it is itself.
    #[test]
    fn next_and_last_agree(minute in 0..60u8, hour in 0..24u8, step in 1..30u8, form in 0..4u8, zone in 0..4usize, at in 1_500_000_000_000u64..2_500_000_000_000) {
        let expression = match form {
            0 => format!("{minute} {hour} * * *"),
            1 => format!("*/{step} * * * *"),
            2 => format!("{minute} */{} * * 1-5", step % 12 + 1),
            _ => format!("*/{step} {minute} {hour} 1 * *"),
        };
        let zone = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"][zone];
        let cron = cron(&expression, zone);
        let next = cron.next_after(at).unwrap();
        prop_assert!(next > at);
        prop_assert_eq!(cron.last_until(next), Some(next), "{} {}", expression, zone);
        prop_assert!(cron.last_until(next - 1).is_some_and(|last| last <= at), "{} {} {}", expression, zone, at);
    }

    #[test]
    fn no_expression_panics(text in "[0-9*/,#LW+A-Z ?-]{0,40}", zone in ".{0,20}") {
        let _ = CronTimes::parse(&text, None);
        let _ = super::zone(&zone);
    }
}
