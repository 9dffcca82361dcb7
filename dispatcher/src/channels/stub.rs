//! A provider that sends nothing: it answers as its URL says, for tests and for trying things out.
//!
//! `stub:ANSWER[,ANSWER…][?delay=50ms]`, the answers taken in turns, each after the delay. An answer is `sent`, `delivered`,
//! `retry_after`, `retry_after=30s`, `address_dead`, `content`, `policy`, `unavailable`, `unknown`, `never`, which does not
//! answer at all, or `unheard`, which does not either, and has sent nothing.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use pushgate_protocol::message::{Channel, Span};

use super::Provider;
use crate::{
    core::account::{Answer, Parcel, Rejection},
    seams::BoxFuture,
};

/// The provider.
#[derive(Debug)]
pub struct Stub {
    channel: Channel,
    answers: Vec<Act>,
    delay: Duration,
    asked: AtomicUsize,
}

#[derive(Debug, Clone)]
enum Act {
    Answer(Answer),
    Never,
    /// The same before anything could be sent.
    Unheard,
}

impl Stub {
    /// A stub that answers as its URL says, or what is wrong with that.
    pub fn parse(channel: Channel, url: &str) -> Result<Self, String> {
        let form = || format!("url is {url:?}, must be like stub:sent,retry_after=30s?delay=50ms");
        let script = url.strip_prefix("stub:").ok_or_else(form)?;
        let (answers, delay) = match script.split_once("?delay=") {
            Some((answers, delay)) => {
                (answers, delay.strip_suffix("ms").and_then(|ms| ms.parse().ok()).ok_or_else(form)?)
            }
            None => (script, 0),
        };
        let answers = answers.split(',').map(act).collect::<Option<Vec<_>>>().ok_or_else(form)?;
        Ok(Self { channel, answers, delay: Duration::from_millis(delay), asked: AtomicUsize::new(0) })
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Provider for Stub {
    fn kind(&self) -> Channel {
        self.channel
    }

    fn remark(&self) -> Option<&'static str> {
        Some("this account is a stub: it sends nothing")
    }

    fn deliver<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Answer> {
        let turn = self.asked.fetch_add(1, Ordering::Relaxed) % self.answers.len();
        Box::pin(async move {
            if !self.delay.is_zero() {
                tokio::time::sleep(self.delay).await;
            }
            match self.answers[turn].clone() {
                Act::Unheard => {
                    parcel.sending.call();
                    std::future::pending().await
                }
                Act::Never => std::future::pending().await,
                Act::Answer(Answer::Sent { .. }) => Answer::Sent { provider_id: Some(format!("stub-{}", parcel.id)) },
                Act::Answer(answer) => answer,
            }
        })
    }
}

fn act(text: &str) -> Option<Act> {
    let detail = || "the stub says so".to_owned();
    let rejected = |why| Answer::Rejected { why, detail: detail() };
    let (word, value) = text.split_once('=').map_or((text, None), |(word, value)| (word, Some(value)));
    let answer = match (word, value) {
        ("retry_after", value) => {
            let after_ms = value.map(|span| Span::parse(span).map(|span| span.as_ms())).transpose().ok()?;
            Answer::RetryAfter { after_ms, detail: detail() }
        }
        (_, Some(_)) => return None,
        ("never", None) => return Some(Act::Never),
        ("unheard", None) => return Some(Act::Unheard),
        ("sent", None) => Answer::Sent { provider_id: None },
        ("delivered", None) => Answer::Delivered,
        ("address_dead", None) => rejected(Rejection::AddressDead),
        ("content", None) => rejected(Rejection::Content),
        ("policy", None) => rejected(Rejection::Policy),
        ("unavailable", None) => Answer::Unavailable { detail: detail() },
        ("unknown", None) => Answer::Unknown { detail: detail() },
        _ => return None,
    };
    Some(Act::Answer(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_url_is_its_script_and_nothing_else_is_one() {
        for url in
            ["stub:sent", "stub:never", "stub:unheard", "stub:unavailable,retry_after=30s,unknown,sent?delay=250ms"]
        {
            assert!(Stub::parse(Channel::Sms, url).is_ok(), "{url}");
        }
        for url in [
            "",
            "stub:",
            "sent",
            "stub:sent,",
            "stub:maybe",
            "stub:sent=1",
            "stub:sent?delay=soon",
            "stub:retry_after=x",
        ] {
            assert!(Stub::parse(Channel::Sms, url).is_err_and(|e| e.contains("must be like stub:sent")), "{url}");
        }
    }
}
