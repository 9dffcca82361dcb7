//! What a reply at a stage means for the recipient (RFC 5321, 4.2; RFC 3463; and what large providers do beside them).

use super::reply::{Reply, Status};
use crate::{
    core::account::{Answer, Rejection},
    limits::{SMTP_ASKED_MS_MAX, SMTP_BUSY_MS, SMTP_LATER_DOUBLINGS_MAX, SMTP_LATER_MS, SMTP_NAME_CHARS_MAX},
};

/// What the server was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Whether it forgets the mail before, which came to nothing.
    Reset,
    /// Whether it takes a mail of this sender.
    Mail,
    /// Whether it takes it for this recipient.
    Rcpt,
    /// Whether it is ready for the mail.
    Data,
    /// Whether it has it.
    Dot,
}

/// What a reply means. `attempts` were made before this one; `discreet`: of the server's words only its codes are told.
pub fn of(stage: Stage, reply: &Reply, attempts: u32, discreet: bool) -> Answer {
    let detail = if discreet { reply.digits() } else { reply.words() };
    if stage == Stage::Reset && !reply.is_transient() {
        // It says nothing of the mail that was to follow.
        return Answer::Unavailable { detail };
    }
    if stage == Stage::Dot && reply.is_positive() {
        return Answer::Sent { provider_id: taken_as(reply, discreet) };
    }
    match reply.code / 100 {
        4 => Answer::RetryAfter { after_ms: Some(after_ms(reply, attempts)), detail },
        5 => match refused(stage, reply) {
            Refused::For(why) => Answer::Rejected { why, detail },
            Refused::Later => Answer::RetryAfter { after_ms: Some(after_ms(reply, attempts)), detail },
            Refused::Us => Answer::Unavailable { detail },
        },
        _ if stage == Stage::Dot => Answer::Unknown { detail },
        _ => Answer::Unavailable { detail },
    }
}

enum Refused {
    For(Rejection),
    Later,
    /// Nothing is wrong with the mail, but with who we are there.
    Us,
}

fn refused(stage: Stage, reply: &Reply) -> Refused {
    use Rejection::{AddressDead, Content, Policy};
    // Of each of these every mail would be refused: it waits until somebody has looked at the account.
    if matches!(reply.code, 530 | 534 | 535 | 538) {
        return Refused::Us;
    }
    let about_address = stage == Stage::Rcpt;
    match reply.status {
        // At MAIL the address is the sender's.
        Some(Status(5, 1, 7 | 8)) => Refused::For(Policy),
        Some(Status(5, 1, _)) if stage == Stage::Mail => Refused::For(Policy),
        Some(Status(5, 1, _) | Status(5, 2, 1)) => Refused::For(AddressDead),
        // The mailbox is full: RFC 5321 (4.5.3.1.10) has it tried again.
        Some(Status(5, 2, 2)) => Refused::Later,
        Some(Status(5, 2, 3) | Status(5, 3, 4) | Status(5, 6, _)) => Refused::For(Content),
        // Nowhere to send it on to; large providers say of a mailbox that is not there that it is not to be reached.
        Some(Status(5, 4, _)) if about_address => Refused::For(AddressDead),
        Some(Status(5, 7, _)) => Refused::For(Policy),
        _ => match (reply.code, stage) {
            (552, Stage::Rcpt) => Refused::Later,
            (552, _) => Refused::For(Content),
            (501 | 521 | 550 | 551 | 553 | 556, Stage::Rcpt) => Refused::For(AddressDead),
            _ => Refused::For(Policy),
        },
    }
}

/// How long to wait: what the server says, or longer with each attempt.
fn after_ms(reply: &Reply, attempts: u32) -> u64 {
    let first = if reply.code == 421 { SMTP_BUSY_MS } else { SMTP_LATER_MS };
    let grown = first << attempts.min(SMTP_LATER_DOUBLINGS_MAX);
    reply.lines.iter().find_map(|line| asked_ms(line)).unwrap_or(grown)
}

/// The pause that a text names: `try again in 299 seconds`, `5 minutes`, `00:04:59`.
fn asked_ms(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | ';')).collect();
    let number = |word: &str| word.parse::<u64>().ok().filter(|n| *n > 0);
    let unit = |word: &str| match word.trim_end_matches(['.', '!']).to_ascii_lowercase().as_str() {
        "s" | "sec" | "secs" | "second" | "seconds" => Some(1_000),
        "m" | "min" | "mins" | "minute" | "minutes" => Some(60_000),
        _ => None,
    };
    let apart = words.windows(2).find_map(|pair| number(pair[0])?.checked_mul(unit(pair[1])?));
    let together = || {
        words.iter().find_map(|word| {
            let end = word.find(|c: char| !c.is_ascii_digit())?;
            number(&word[..end])?.checked_mul(unit(&word[end..])?)
        })
    };
    let clock = || {
        words.iter().find_map(|word| {
            let mut parts = word.trim_end_matches('.').split(':').map(|part| part.parse::<u64>().ok());
            let (h, m, s) = (parts.next()??, parts.next()??, parts.next()??);
            let sound = parts.next().is_none() && h < 24 && m < 60 && s < 60;
            sound.then_some((h * 3_600 + m * 60 + s) * 1_000).filter(|ms| *ms > 0)
        })
    };
    apart.or_else(together).or_else(clock).map(|ms| ms.min(SMTP_ASKED_MS_MAX))
}

/// The name that the server gave the mail: `queued as 4B2F1`, `OK id=1tX`; else, unless it is to be `discreet`, its words.
fn taken_as(reply: &Reply, discreet: bool) -> Option<String> {
    let line = reply.lines.last()?.trim();
    let lower = line.to_ascii_lowercase();
    let behind = |mark: &str| lower.find(mark).and_then(|at| line[at + mark.len()..].split([' ', ',', ';']).next());
    let name = behind("queued as ").or_else(|| behind("id=")).or((!discreet).then_some(line))?;
    let name: String = name.chars().filter(|c| !c.is_control()).take(SMTP_NAME_CHARS_MAX).collect();
    (!name.is_empty()).then_some(name)
}
