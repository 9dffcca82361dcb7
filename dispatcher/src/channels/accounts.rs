//! The accounts of a dispatcher, as lanes and callers see them.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, Ordering},
};

use pushgate_protocol::{
    link::Lane,
    message::{Channel, Message},
};
use tokio::sync::mpsc;

use super::config::ChannelConfig;
use crate::{
    core::account::{Parcel, account_of},
    limits::ACCOUNT_BATCHES,
};

/// Channels that have accounts.
const CHANNELS: [Channel; 2] = [Channel::Email, Channel::Sms];

/// Where lanes put parcels, one for each lane.
pub type Inlets = [mpsc::Sender<Vec<Parcel>>; 3];

/// Where the accounts of a channel take them.
pub type Outlets = [mpsc::Receiver<Vec<Parcel>>; 3];

/// The accounts of a dispatcher, as lanes see them.
#[derive(Debug, Clone)]
pub struct Accounts {
    channels: Arc<[Entry; CHANNELS.len()]>,
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
    names: RwLock<Vec<Arc<str>>>,
    inlets: Inlets,
}

impl Accounts {
    /// Accounts of these channels and names, and the outlets of mail and of text messages.
    pub fn new(named: Vec<(Channel, Arc<str>)>) -> (Self, [Outlets; CHANNELS.len()]) {
        let new = |channel| {
            let [(high, high_out), (normal, normal_out), (low, low_out)] =
                Lane::ALL.map(|_| mpsc::channel(ACCOUNT_BATCHES));
            let entry = Entry { channel, names: RwLock::default(), inlets: [high, normal, low] };
            (entry, [high_out, normal_out, low_out])
        };
        let [(email, email_out), (sms, sms_out)] = CHANNELS.map(new);
        let rooms = [ChannelConfig::default().queue_max; Channel::ALL.len()];
        let new = Self { channels: Arc::new([email, sms]), rooms, crowded: Crowded::default() };
        for channel in CHANNELS {
            let of_channel = named.iter().filter(|(of, _)| *of == channel);
            new.name(channel, of_channel.map(|(_, name)| Arc::clone(name)).collect());
        }
        (new, [email_out, sms_out])
    }

    /// The accounts of a channel from now on.
    pub fn name(&self, channel: Channel, names: Vec<Arc<str>>) {
        if let Some(entry) = self.channels.iter().find(|entry| entry.channel == channel) {
            *entry.names.write().unwrap_or_else(PoisonError::into_inner) = names;
        }
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

    /// The inlets of each channel.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Inlets> {
        self.channels.iter().map(|entry| &entry.inlets)
    }

    /// Which of them a parcel is for.
    pub fn of(&self, parcel: &Parcel) -> usize {
        self.channels.iter().position(|entry| entry.channel == parcel.channel).unwrap_or(0)
    }

    /// Whether a channel has an account of this name.
    pub fn has(&self, channel: Channel, name: &str) -> bool {
        let entry = self.channels.iter().find(|entry| entry.channel == channel);
        entry.is_some_and(|entry| {
            entry.names.read().unwrap_or_else(PoisonError::into_inner).iter().any(|known| **known == *name)
        })
    }

    /// The first of a message's channels that has no account to go through, with what is missing.
    pub fn missing(&self, message: &Message) -> Option<(usize, String)> {
        message.channels.iter().enumerate().find_map(|(at, channel)| {
            let entry = self.channels.iter().find(|entry| entry.channel == *channel)?;
            let names = entry.names.read().unwrap_or_else(PoisonError::into_inner);
            let detail = match account_of(message, *channel) {
                Some(asked) if names.iter().any(|name| **name == *asked) => return None,
                Some(asked) => format!("there is no account {asked} of the channel {}", channel.as_str()),
                None if !names.is_empty() => return None,
                None => format!("no account of the channel {} is configured", channel.as_str()),
            };
            Some((at, detail))
        })
    }
}
