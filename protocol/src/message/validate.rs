//! What types cannot say: bounds, and fields that depend on one another.

use std::collections::HashSet;

use super::{
    Message, Schedule, Span, To, channels,
    error::{MessageError, Problem},
};
use crate::{
    calendar::{CalendarError, CronTimes},
    ids::UserId,
    limits::{
        COLLAPSE_BYTES_MAX, CONTENT_BYTES_MAX, DATA_DEPTH_MAX, EXCLUDED_MAX, META_BYTES_MAX, RECIPIENTS_MAX,
        SCHEDULE_SPAN_MS_MAX, TASK_ID_BYTES_MAX, TTL_MS_MAX, TTL_MS_MIN,
    },
};

pub(super) fn check(message: &Message) -> Result<(), MessageError> {
    check_recipients(message)?;
    check_content(message)?;
    if message.channels.is_empty() {
        return invalid("/channels", "channels names no channel");
    }
    check_ttl(message.ttl)?;
    match message.collapse.as_ref().map_or(1, String::len) {
        1..=COLLAPSE_BYTES_MAX => {}
        bytes => {
            return invalid("/collapse", format!("collapse has {bytes} bytes, must have 1 to {COLLAPSE_BYTES_MAX}"));
        }
    }
    if let Some(meta) = &message.meta {
        let bytes = meta.as_str().len();
        if bytes > META_BYTES_MAX {
            return invalid("/meta", format!("meta has {bytes} bytes, at most {META_BYTES_MAX} are allowed"));
        }
        check_depth("/meta", meta)?;
    }
    if let Some(schedule) = &message.schedule {
        check_schedule(schedule)?;
        let bytes = message.id.as_ref().map_or(0, |id| id.as_str().len());
        if bytes > TASK_ID_BYTES_MAX {
            let detail = format!("id has {bytes} bytes, at most {TASK_ID_BYTES_MAX} are allowed with a schedule");
            return invalid("/id", detail);
        }
        if message.occurrence.is_some() {
            return invalid("/occurrence", "an occurrence has no schedule of its own");
        }
    }
    if message.retry.is_some() && message.schedule.is_some() {
        return invalid("/retry", "a retry has no schedule of its own");
    }
    channels::check(message)
}

pub(super) fn check_ttl(ttl: Span) -> Result<(), MessageError> {
    match ttl.as_ms() {
        TTL_MS_MIN..=TTL_MS_MAX => Ok(()),
        _ => invalid("/ttl", format!("ttl is {ttl}, must be from 1s to 1y")),
    }
}

fn check_recipients(message: &Message) -> Result<(), MessageError> {
    let to = &message.to;
    match to.count() {
        0 if !to.all => invalid("/to", "to names no recipient"),
        n if n > RECIPIENTS_MAX => {
            invalid("/to", format!("to names {n} recipients, at most {RECIPIENTS_MAX} are allowed"))
        }
        _ if to.exclude.len() > EXCLUDED_MAX => {
            let detail = format!("exclude names {} users, at most {EXCLUDED_MAX} are allowed", to.exclude.len());
            invalid("/to/exclude", detail)
        }
        _ if names_everyone(to) => invalid("/to/users", "the user * stands for everyone: use all"),
        n if to.all && n > 0 => invalid("/to/all", "all goes to every user: name no other recipient with it"),
        _ if excludes_all(to) => invalid("/to/exclude", "exclude leaves no recipient"),
        _ => Ok(()),
    }
}

fn names_everyone(to: &To) -> bool {
    to.users.iter().chain(to.devices.iter().map(|d| &d.user)).any(UserId::is_everyone)
}

fn excludes_all(to: &To) -> bool {
    let unfiltered = to.all || to.sessions.len() + to.emails.len() + to.phones.len() > 0;
    if to.exclude.is_empty() || unfiltered {
        return false;
    }
    let excluded: HashSet<&UserId> = to.exclude.iter().collect();
    to.users.iter().chain(to.devices.iter().map(|d| &d.user)).all(|user| excluded.contains(user))
}

fn check_content(message: &Message) -> Result<(), MessageError> {
    let content = &message.content;
    if content.title.is_none() && content.body.is_none() && content.data.is_none() {
        return invalid("/content", "content has none of title, body, data");
    }
    let bytes = content.encoded_bytes();
    if bytes > CONTENT_BYTES_MAX {
        return invalid("/content", format!("content has {bytes} bytes, at most {CONTENT_BYTES_MAX} are allowed"));
    }
    content.data.as_ref().map_or(Ok(()), |data| check_depth("/content/data", data))
}

fn check_depth(pointer: &str, object: &super::JsonObject) -> Result<(), MessageError> {
    // An object this short cannot be too deep.
    if object.as_str().len() <= 2 * DATA_DEPTH_MAX {
        return Ok(());
    }
    match object.depth() {
        depth if depth > DATA_DEPTH_MAX => {
            invalid(pointer, format!("nested {depth} deep, at most {DATA_DEPTH_MAX} are allowed"))
        }
        _ => Ok(()),
    }
}

fn check_schedule(s: &Schedule) -> Result<(), MessageError> {
    let forms = [s.at.is_some(), s.delay.is_some(), s.every.is_some(), s.cron.is_some()];
    if forms.into_iter().filter(|given| *given).count() != 1 {
        return invalid("/schedule", "schedule must have exactly one of at, delay, every, cron");
    }
    let repeats = s.every.is_some() || s.cron.is_some();
    for (field, given, with, there) in [
        ("times", s.times.is_some(), "every", s.every.is_some()),
        ("start", s.start.is_some(), "every or cron", repeats),
        ("until", s.until.is_some(), "every or cron", repeats),
        ("zone", s.zone.is_some(), "cron", s.cron.is_some()),
    ] {
        if given && !there {
            return invalid(&format!("/schedule/{field}"), format!("{field} has a meaning only with {with}"));
        }
    }
    if s.times == Some(0) {
        return invalid("/schedule/times", "times is 0, must be at least 1");
    }
    if s.every.is_some_and(|every| every.as_ms() == 0) {
        return invalid("/schedule/every", "every is 0, must be at least 1s");
    }
    for (field, span) in [("delay", s.delay), ("every", s.every)] {
        if let Some(span) = span.filter(|span| span.as_ms() > SCHEDULE_SPAN_MS_MAX) {
            return invalid(&format!("/schedule/{field}"), format!("{field} is {span}, must be at most 100y"));
        }
    }
    if let (Some(start), Some(until)) = (s.start, s.until)
        && until < start
    {
        return invalid("/schedule/until", "until comes before start");
    }
    check_cron(s)
}

fn check_cron(s: &Schedule) -> Result<(), MessageError> {
    let Some(cron) = &s.cron else { return Ok(()) };
    match CronTimes::parse(cron, s.zone.as_deref()) {
        Ok(_) => Ok(()),
        Err(CalendarError::Zone) => invalid("/schedule/zone", format!("zone {}", CalendarError::Zone)),
        Err(error) => invalid("/schedule/cron", format!("cron: {error}")),
    }
}

fn invalid(pointer: &str, detail: impl Into<String>) -> Result<(), MessageError> {
    Err(MessageError::new(Problem::Invalid, pointer, detail))
}
