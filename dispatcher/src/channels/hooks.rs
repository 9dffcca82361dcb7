//! Calls by which providers tell what became of messages: read and judged by the account that they are for.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use axum::http::HeaderMap;
use bytes::Bytes;
use pushgate_protocol::message::Channel;

use super::{Provider, reports::Reports};
use crate::seams::{MessageStore, ResultSink, StoreError};

/// What is known of a call of a provider before its body is read.
#[derive(Debug, Clone, Default)]
pub struct HookHead {
    /// What stands behind the `?`, as it came.
    pub query: String,
    /// Its headers.
    pub headers: HeaderMap,
}

/// A call of a provider.
#[derive(Debug, Clone)]
pub struct Hook {
    /// What came before its body.
    pub head: HookHead,
    /// Its body.
    pub body: Bytes,
}

/// Why a call is not listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookRefusal {
    /// No such account expects calls.
    NotExpected,
    /// Whoever calls is not who it says.
    WrongSignature,
}

impl HookHead {
    /// The fields of the query.
    pub fn options(&self) -> Vec<(String, String)> {
        form(&self.query)
    }

    /// A header that is plain text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Hook {
    /// The fields of a form.
    pub fn fields(&self) -> Vec<(String, String)> {
        form(&String::from_utf8_lossy(&self.body))
    }
}

fn form(text: &str) -> Vec<(String, String)> {
    let fields = text.split('&').filter(|field| !field.is_empty());
    let fields = fields.map(|field| field.split_once('=').unwrap_or((field, "")));
    fields.map(|(key, value)| (decoded(key), decoded(value))).collect()
}

/// A text of a form or a query.
pub(super) fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((byte, left)) = rest.split_first() {
        let digits = left.get(..2).filter(|_| *byte == b'%').and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(code) => {
                bytes.push(code);
                rest = &left[2..];
            }
            None => {
                bytes.push(if *byte == b'+' { b' ' } else { *byte });
                rest = left;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Accounts whose providers tell what became of messages. Clones are the same.
#[derive(Clone, Default)]
pub struct Hooks(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Where it goes; nowhere in tests of other things.
    stores: Option<Stores>,
    hooked: RwLock<Vec<Hooked>>,
}

struct Stores {
    messages: Arc<dyn MessageStore>,
    results: Arc<dyn ResultSink>,
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
}

#[derive(Clone)]
struct Hooked {
    name: Arc<str>,
    provider: Arc<dyn Provider>,
    reports: Reports,
}

/// What came of a call.
#[derive(Debug)]
pub enum HookError {
    /// It is not listened to.
    Refused(HookRefusal),
    /// What it says could not be recorded.
    Store(StoreError),
}

impl Hooks {
    /// None yet; what they tell goes to these stores.
    pub fn new(
        messages: Arc<dyn MessageStore>,
        results: Arc<dyn ResultSink>,
        clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    ) -> Self {
        Self(Arc::new(Inner { stores: Some(Stores { messages, results, clock }), hooked: RwLock::default() }))
    }

    /// An account begins, and takes the place of one of its name.
    pub fn serve(&self, name: &Arc<str>, provider: &Arc<dyn Provider>) {
        let Some(Stores { messages, results, clock }) = &self.0.stores else { return };
        let (messages, results) = (Arc::clone(messages), Arc::clone(results));
        let reports = Reports::new((provider.kind(), Arc::clone(name)), messages, results, Arc::clone(clock));
        provider.start(reports.clone());
        let mut hooked = self.0.hooked.write().unwrap_or_else(PoisonError::into_inner);
        hooked.retain(|other| other.name != *name || other.provider.kind() != provider.kind());
        hooked.push(Hooked { name: Arc::clone(name), provider: Arc::clone(provider), reports });
    }

    /// An account has ended.
    pub fn leave(&self, provider: &Arc<dyn Provider>) {
        let mut hooked = self.0.hooked.write().unwrap_or_else(PoisonError::into_inner);
        hooked.retain(|other| !Arc::ptr_eq(&other.provider, provider));
    }

    /// Whether the account of this name expects a call that begins so.
    pub fn expects(&self, channel: Channel, account: &str, head: &HookHead) -> Result<(), HookRefusal> {
        self.find(channel, account)?.provider.expects(head)
    }

    /// Takes a call for the account of this name: when it answers well, what the call says is recorded. Answers what the caller wants to hear, if anything, in
    /// JSON.
    pub async fn take(&self, channel: Channel, account: &str, hook: &Hook) -> Result<Option<&'static str>, HookError> {
        let hooked = self.find(channel, account).map_err(HookError::Refused)?;
        hooked.provider.expects(&hook.head).map_err(HookError::Refused)?;
        let reports = hooked.provider.hook(hook).await.map_err(HookError::Refused)?;
        if !reports.is_empty() {
            hooked.reports.tell(reports).await.map_err(HookError::Store)?;
        }
        Ok(hooked.provider.hook_answer())
    }

    fn find(&self, channel: Channel, account: &str) -> Result<Hooked, HookRefusal> {
        let hooked = self.0.hooked.read().unwrap_or_else(PoisonError::into_inner);
        let found = hooked.iter().find(|hooked| *hooked.name == *account && hooked.provider.kind() == channel);
        found.cloned().ok_or(HookRefusal::NotExpected)
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_it_was_written() {
        let hook = Hook {
            head: HookHead { query: "a=1&b".into(), ..HookHead::default() },
            body: Bytes::from_static(b"To=%2B86+1&x=%e4%bd%a0&bad=%zz%"),
        };
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(hook.fields(), [pair("To", "+86 1"), pair("x", "\u{4f60}"), pair("bad", "%zz%")]);
        assert_eq!(hook.head.options(), [pair("a", "1"), pair("b", "")]);
    }
}
