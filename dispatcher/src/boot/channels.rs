//! Opening the accounts of all channels.

use std::sync::Arc;

use pushgate_protocol::message::Channel;
use tracing::{info, warn};

use super::{BootError, DispatcherParts};
use crate::{
    channels::{
        Absent, Accounts, ChannelMetrics, Outlets, Provider,
        config::{AccountConfig, ChannelConfig},
        email, sms,
    },
    core::account::AccountSettings,
};

/// Accounts with their providers.
pub(super) struct Channels {
    opened: Vec<(Channel, AccountConfig, Arc<dyn Provider>)>,
    email: ChannelConfig,
    sms: ChannelConfig,
    pub(super) metrics: ChannelMetrics,
}

/// An account to start.
pub(super) struct Opened {
    pub(super) channel: &'static str,
    /// What metrics and logs call it.
    pub(super) name: String,
    pub(super) settings: AccountSettings,
    pub(super) provider: Arc<dyn Provider>,
}

impl Channels {
    /// Opens every account; nothing is sent by that.
    pub(super) fn open(parts: &DispatcherParts, metrics: ChannelMetrics) -> Result<Self, BootError> {
        let mut opened = Vec::new();
        let emails = parts.email.iter().map(|account| (Channel::Email, account, email::open(account)));
        let phones = parts.sms.iter().map(|account| (Channel::Sms, account, sms::open(account)));
        for (channel, account, provider) in emails.chain(phones) {
            let named = |problem| BootError::Account { channel: channel.as_str(), name: account.name.clone(), problem };
            opened.push((channel, account.clone(), provider.map_err(named)?));
            if account.kind == "outbox" {
                let name = &account.name;
                info!(
                    channel = channel.as_str(),
                    account = name,
                    "this account sends nothing: what it is given is put into a folder"
                );
            }
            if account.kind == "stub" {
                warn!(channel = channel.as_str(), account = account.name, "this account is a stub: it sends nothing");
            }
        }
        Ok(Self { opened, email: parts.channels.email, sms: parts.channels.sms, metrics })
    }

    /// What lanes see of them, and the outlets of each, in the order of [`Self::opened`].
    pub(super) fn accounts(&self) -> (Accounts, Vec<Outlets>) {
        let named = self.opened.iter().map(|(channel, account, _)| (*channel, account.name.as_str().into())).collect();
        let (accounts, outlets) = Accounts::new(named);
        let (email, sms) = (self.email.queue_max, self.sms.queue_max);
        (accounts.with_room(Channel::Email, email).with_room(Channel::Sms, sms), outlets)
    }

    /// All accounts, then those that stand for none.
    pub(super) fn opened(&self) -> Vec<Opened> {
        let named = self.opened.iter().map(|(channel, account, provider)| {
            (*channel, Some(Arc::from(account.name.as_str())), Arc::clone(provider), account.concurrency)
        });
        let none = [Channel::Email, Channel::Sms];
        let none =
            none.into_iter().map(|channel| (channel, None, Arc::new(Absent(channel)) as Arc<dyn Provider>, None));
        let all = named.chain(none);
        all.map(|(channel, name, provider, concurrency)| self.one(channel, name, provider, concurrency)).collect()
    }

    fn one(
        &self,
        channel: Channel,
        name: Option<Arc<str>>,
        provider: Arc<dyn Provider>,
        concurrency: Option<usize>,
    ) -> Opened {
        let config = if channel == Channel::Email { self.email } else { self.sms };
        let concurrency = concurrency.unwrap_or(config.concurrency);
        let settings = AccountSettings {
            name: name.clone(),
            policy: config.policy(channel == Channel::Email),
            concurrency,
            // At least one is for all.
            reserved_high: config.reserved_high.min(concurrency.saturating_sub(1)),
            queue_max: config.queue_max,
            deadline_ms: config.deadline_ms,
        };
        let name = name.map_or_else(|| "none".to_owned(), |name| name.to_string());
        Opened { channel: channel.as_str(), name, settings, provider }
    }
}
