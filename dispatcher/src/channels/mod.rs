//! Channels other than sessions: mail and text messages, each through accounts of providers.
//!
//! | module | owns |
//! |---|---|
//! | [`config`] | the keys of `[[email]]`, `[[sms]]` and `[channels]` |
//! | [`email`] | providers of mail, a file each |
//! | [`sms`] | providers of text messages, a file each |
//! | [`outbox`] | a provider that sends nothing: it puts messages into a folder |
//! | [`stub`] | a provider for tests, which sends nothing and answers as it is told |
//! | [`running`] | the running account: carries what [`core::account`](crate::core::account) asks for |
//!
//! A provider stands behind [`Provider`]. A new one is a file in its channel's folder and its name in the list there.
//!
//! Invariants: an account never makes a lane wait; what a provider does, or does not do, ends at the deadline.

mod absent;
mod checked;
pub mod config;
pub mod email;
mod metrics;
pub mod outbox;
pub mod running;
pub mod sms;
pub mod stub;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use pushgate_protocol::{
    link::Lane,
    message::{Channel, Message},
};
use tokio::sync::mpsc;

use self::config::ChannelConfig;
pub use self::{
    absent::Absent,
    checked::Checked,
    metrics::{AccountMetrics, ChannelMetrics},
};
use crate::{
    core::account::{Answer, Parcel},
    limits::ACCOUNT_BATCHES,
    seams::BoxFuture,
};

/// Sends what an account is given.
pub trait Provider: Send + Sync {
    /// For which channel.
    fn kind(&self) -> Channel;

    /// Makes one attempt. It is dropped at the deadline, wherever it stands. What it answers is told in results: nothing of the
    /// content, no secret.
    fn deliver<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Answer>;

    /// Looks whether it would take a message, without sending one: connects, encrypts, signs in. It may be dropped at any point.
    fn check(&self) -> BoxFuture<'_, Checked> {
        Box::pin(async { Checked::Unseen })
    }
}

/// Where lanes put parcels, one for each lane.
pub type Inlets = [mpsc::Sender<Vec<Parcel>>; 3];

/// Where an account takes them.
pub type Outlets = [mpsc::Receiver<Vec<Parcel>>; 3];

/// The accounts of a dispatcher, as lanes see them.
#[derive(Debug, Clone)]
pub struct Accounts {
    all: Arc<[Entry]>,
    /// Recipients that each lane may have in accounts of a channel.
    rooms: [usize; Channel::ALL.len()],
    crowded: Crowded,
}

/// Lanes in which so much waits for accounts that these are to put into the schedule what they cannot try.
#[derive(Debug, Clone, Default)]
pub struct Crowded(Arc<[AtomicBool; 3]>);

impl Crowded {
    /// Whether it is so in a lane.
    pub fn set(&self, lane: Lane, crowded: bool) {
        self.0[lane as usize].store(crowded, Ordering::Relaxed);
    }

    /// Each lane's, high first.
    pub fn lanes(&self) -> [bool; 3] {
        self.0.each_ref().map(|crowded| crowded.load(Ordering::Relaxed))
    }
}

#[derive(Debug)]
struct Entry {
    channel: Channel,
    /// `None` stands for accounts that there are not.
    name: Option<Arc<str>>,
    inlets: Inlets,
}

impl Accounts {
    /// Accounts of these channels and names, the first of a channel being its default, and the outlets of each; behind them one
    /// without a name for each channel, with its outlets.
    pub fn new(named: Vec<(Channel, Arc<str>)>) -> (Self, Vec<Outlets>) {
        let nameless = [Channel::Email, Channel::Sms].map(|channel| (channel, None));
        let all = named.into_iter().map(|(channel, name)| (channel, Some(name))).chain(nameless);
        let (entries, outlets): (Vec<_>, Vec<_>) = all
            .map(|(channel, name)| {
                let [(high, high_out), (normal, normal_out), (low, low_out)] =
                    Lane::ALL.map(|_| mpsc::channel(ACCOUNT_BATCHES));
                (Entry { channel, name, inlets: [high, normal, low] }, [high_out, normal_out, low_out])
            })
            .unzip();
        let rooms = [ChannelConfig::default().queue_max; Channel::ALL.len()];
        (Self { all: entries.into(), rooms, crowded: Crowded::default() }, outlets)
    }

    /// The same accounts, those of a channel with room for so many recipients of each lane.
    pub fn with_room(mut self, channel: Channel, recipients: usize) -> Self {
        self.rooms[channel as usize] = recipients;
        self
    }

    /// For how many recipients of a lane the accounts of a channel have room.
    pub fn room(&self, channel: Channel) -> usize {
        self.rooms[channel as usize]
    }

    /// Where lanes say that too much waits.
    pub fn crowded(&self) -> &Crowded {
        &self.crowded
    }

    /// No accounts, and nobody who takes anything: for tests of what goes to sessions.
    pub fn closed() -> Self {
        Self::new(Vec::new()).0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Never: one stands for those that there are not.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Their inlets, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Inlets> {
        self.all.iter().map(|entry| &entry.inlets)
    }

    /// The account that a parcel is for: the one it names, else the first of its channel, else the one that stands for none.
    pub fn of(&self, parcel: &Parcel) -> usize {
        let asked = asked(&parcel.message, parcel.channel);
        let place = |wanted: &dyn Fn(Option<&str>) -> bool| {
            self.all.iter().position(|entry| entry.channel == parcel.channel && wanted(entry.name.as_deref()))
        };
        let named = match asked {
            Some(asked) => place(&|name| name == Some(asked)),
            None => place(&|name| name.is_some()),
        };
        named.or_else(|| place(&|name| name.is_none())).unwrap_or(self.all.len() - 1)
    }

    /// The first of a message's channels that has no account to go through, with what is missing.
    pub fn missing(&self, message: &Message) -> Option<(usize, String)> {
        message.channels.iter().enumerate().filter(|(_, channel)| **channel != Channel::Websocket).find_map(
            |(at, channel)| {
                let mut names =
                    self.all.iter().filter(|entry| entry.channel == *channel).filter_map(|e| e.name.as_deref());
                let detail = match asked(message, *channel) {
                    Some(asked) if names.any(|name| name == asked) => return None,
                    Some(asked) => format!("there is no account {asked} of the channel {}", channel.as_str()),
                    None if names.next().is_some() => return None,
                    None => format!("no account of the channel {} is configured", channel.as_str()),
                };
                Some((at, detail))
            },
        )
    }
}

fn asked(message: &Message, channel: Channel) -> Option<&str> {
    let overrides = message.overrides.as_ref()?;
    match channel {
        Channel::Email => overrides.email.as_ref()?.account.as_deref(),
        Channel::Sms => overrides.sms.as_ref()?.account.as_deref(),
        Channel::Websocket => None,
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

#[cfg(test)]
mod tests;
