//! Channels other than sessions: mail and text messages, each through accounts of providers.
//!
//! | module | owns |
//! |---|---|
//! | [`config`] | the keys of `[[email]]`, `[[sms]]` and `[channels]` |
//! | [`email`] | providers of mail, a file each |
//! | [`sms`] | providers of text messages, a file each |
//! | `given_up` | what goes on for attempts that were given up, counted |
//! | [`hooks`] | calls by which providers tell what became of messages |
//! | [`journal`] | what providers took and no store knows of yet, on local disk |
//! | [`outbox`] | a provider that sends nothing: it puts messages into a folder |
//! | [`stub`] | a provider for tests, which sends nothing and answers as it is told |
//! | [`rate`] | the keys of how fast an account may send |
//! | [`roster`] | which accounts there are, and their replacement |
//! | [`running`] | the accounts of a channel at work: carries what [`core::account`](crate::core::account) asks for |
//! | `password` | the password of an account |
//! | [`reports`] | what providers tell of messages that they took |
//!
//! A provider stands behind [`Provider`]. A new one is a file in its channel's folder and its name in the list there: what is of one kind alone is said by its
//! provider.
//!
//! Invariants: an account never makes a lane wait; what a provider does, or does not do, ends at the deadline.

mod accounts;
mod checked;
pub mod config;
pub mod email;
mod given_up;
mod hex;
pub mod hooks;
pub mod journal;
mod metrics;
pub mod outbox;
mod password;
pub mod rate;
pub mod reports;
pub mod roster;
pub mod running;
pub mod sms;
pub mod stub;
mod trust;

use std::sync::Arc;

use pushgate_protocol::message::Channel;

pub use self::{
    accounts::{Accounts, Crowded, Inlets, Outlets},
    checked::Checked,
    metrics::{AccountMetrics, ChannelMetrics},
};
use self::{
    email::message_id::MessageIds,
    hooks::{Hook, HookHead, HookRefusal},
    reports::{Report, Reports},
};
pub(crate) use self::{
    password::read as password_in,
    trust::{connector_as, system_roots},
};
use crate::{
    core::account::{Answer, Parcel},
    seams::BoxFuture,
    unsubscribe::OptOutLinks,
};

/// What the mails of a dispatcher bear, so that what comes of them is known to be theirs.
#[derive(Debug, Clone)]
pub struct Offered {
    /// Links that mail without one of its own may have to be ended by, if they lead anywhere.
    pub links: Option<Arc<OptOutLinks>>,
    /// Their Message-IDs.
    pub ids: Arc<MessageIds>,
}

/// Sends what an account is given.
pub trait Provider: Send + Sync {
    /// For which channel.
    fn kind(&self) -> Channel;

    /// What its messages may bear: called once, before anything is sent.
    fn offer(&self, _offered: &Offered) {}

    /// Makes one attempt. It is dropped at the deadline, wherever it stands. What it answers is told in results: nothing of the
    /// content, no secret.
    fn deliver<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Answer>;

    /// Whether it was heard of since this was asked last, when the attempts that had called it were given up.
    fn take_heard(&self) -> bool {
        false
    }

    /// Looks whether it would take a message, without sending one: connects, encrypts, signs in. It may be dropped at any point.
    fn check(&self) -> BoxFuture<'_, Checked> {
        Box::pin(async { Checked::Unseen })
    }

    /// It is about to be given parcels; what it hears of them later goes to `reports`. Once, on a runtime.
    fn start(&self, _reports: Reports) {}

    /// Whether a call may be one of who runs the service, by what is known before its body is read: what is refused here costs nothing more.
    fn expects(&self, _: &HookHead) -> Result<(), HookRefusal> {
        Err(HookRefusal::NotExpected)
    }

    /// How many attempts it can have under way at once, unless the account says so; `None`: as many as the channel's other accounts.
    fn concurrency(&self) -> Option<usize> {
        None
    }

    /// What whoever starts the dispatcher is to know of it: that it sends nothing, for example.
    fn remark(&self) -> Option<&'static str> {
        None
    }

    /// Nothing more comes: it records what it still knows of messages, and says goodbye, within a bounded time.
    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Reads a call that was expected, and says what it tells of messages.
    fn hook<'a>(&'a self, _: &'a Hook) -> BoxFuture<'a, Result<Vec<Report>, HookRefusal>> {
        Box::pin(async { Err(HookRefusal::NotExpected) })
    }

    /// What who runs the service wants to hear when its call was taken, in JSON; `None` if nothing.
    fn hook_answer(&self) -> Option<&'static str> {
        None
    }
}

/// The providers of a channel: `providers! { smtp, stub }` takes a file of each name, with an `open` that makes the provider of
/// an account or says what is wrong with its configuration.
macro_rules! providers {
    ($($name:ident),+ $(,)?) => {
        $(mod $name;)+

        /// The kinds of accounts.
        pub const KINDS: &[&str] = &[$(stringify!($name)),+];

        /// The provider of an account, or what is wrong with its configuration.
        pub fn open(
            account: &$crate::channels::config::AccountConfig,
        ) -> Result<std::sync::Arc<dyn $crate::channels::Provider>, String> {
            match account.kind.as_str() {
                $(stringify!($name) => $name::open(account),)+
                other => Err(format!("kind is {other:?}, must be one of: {}", KINDS.join(", "))),
            }
        }
    };
}

use providers;

/// What happened to an attempt that was given up before it was handed over.
pub(crate) const UNWANTED: &str = "nobody waits for it any more";

/// Whether nothing may be handed over any more of what expires then, Unix milliseconds.
pub(crate) fn is_late(expires_ms: u64) -> bool {
    crate::clock::unix_ms() >= expires_ms
}

#[cfg(test)]
mod tests;
