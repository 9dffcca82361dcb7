//! Which accounts there are: opened from the configuration, looked at, and replaced while they run.
//!
//! Invariants: a configuration that is wrong changes nothing; an account that stays as it is keeps its connections, and what it knows of its
//! provider.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pushgate_protocol::message::Channel;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::{
    Accounts, ChannelMetrics, Offered, Outlets, Provider,
    config::{AccountConfig, ChannelConfig, ChannelsConfig},
    email, sms,
};
use crate::core::account::{AccountId, AccountSettings, AccountView, PoolSettings};

/// The accounts of both channels; clones are the same.
#[derive(Clone)]
pub struct Roster {
    accounts: Accounts,
    metrics: ChannelMetrics,
    listed: Arc<Mutex<[Listed; 2]>>,
}

/// The accounts of a channel.
struct Listed {
    channel: Channel,
    config: ChannelConfig,
    accounts: Vec<Kept>,
    next: u32,
    orders: mpsc::UnboundedSender<Order>,
    /// What every provider is offered.
    offered: Option<Offered>,
}

/// An account of which a provider runs.
struct Kept {
    id: AccountId,
    config: AccountConfig,
    /// What its provider says of how many attempts it can have under way.
    concurrency: Option<usize>,
}

/// What running accounts are told.
pub enum Order {
    /// The accounts from now on; those with a provider are new.
    Replace(Vec<(AccountId, AccountSettings, Option<Served>)>),
    /// Tells how they are.
    Look(oneshot::Sender<Vec<Seen>>),
}

/// An account as it is now.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its channel.
    pub channel: Channel,
    /// The kind of its provider.
    pub kind: Arc<str>,
    /// What is known of it.
    pub account: AccountView,
}

/// Who sends what an account is given.
#[derive(Clone)]
pub struct Served {
    /// Its name.
    pub name: Arc<str>,
    /// The kind of provider.
    pub kind: Arc<str>,
    /// The provider.
    pub provider: Arc<dyn Provider>,
}

/// The accounts of a channel, to be started.
pub struct ChannelParts {
    /// The channel.
    pub channel: Channel,
    /// What they have in common.
    pub settings: PoolSettings,
    /// Each account and who serves it.
    pub accounts: Vec<(AccountSettings, Served)>,
    /// Where parcels come from.
    pub outlets: Outlets,
    /// Where orders come from.
    pub orders: mpsc::UnboundedReceiver<Order>,
}

/// An account that is configured wrongly.
#[derive(Debug, thiserror::Error)]
#[error("{channel} account {name}: {problem}")]
pub struct Misconfigured {
    /// The channel.
    pub channel: &'static str,
    /// The account.
    pub name: String,
    /// What is wrong.
    pub problem: String,
}

impl Roster {
    /// Opens every account; nothing is sent by that.
    pub fn open(
        email: &[AccountConfig],
        sms: &[AccountConfig],
        config: ChannelsConfig,
        metrics: ChannelMetrics,
    ) -> Result<(Self, [ChannelParts; 2]), Misconfigured> {
        let (accounts, [mails, texts]) = Accounts::new(Vec::new());
        let (email_room, sms_room) = (config.email.queue_max, config.sms.queue_max);
        let accounts = accounts.with_room(Channel::Email, email_room).with_room(Channel::Sms, sms_room);
        let (email, email_parts) = Listed::open(Channel::Email, config.email, email, mails)?;
        let (sms, sms_parts) = Listed::open(Channel::Sms, config.sms, sms, texts)?;
        let new = Self { accounts, metrics, listed: Arc::new(Mutex::new([email, sms])) };
        new.tell_names(&new.listed());
        Ok((new, [email_parts, sms_parts]))
    }

    /// Offers what mails bear to those that were opened, and to those that are later.
    pub fn offer(&self, offered: &Offered, opened: &[ChannelParts]) {
        opened.iter().flat_map(|parts| &parts.accounts).for_each(|(_, served)| served.provider.offer(offered));
        self.listed().iter_mut().for_each(|listed| listed.offered = Some(offered.clone()));
    }

    /// What lanes and callers see of them.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// What they count.
    pub fn metrics(&self) -> &ChannelMetrics {
        &self.metrics
    }

    /// Replaces the accounts: what is new is opened, what is gone ends what it has under way. Answers whether anything changed; if
    /// anything is wrong, nothing is: whoever asked says so with [`Self::refuse`] where it is worth counting.
    pub fn replace(&self, email: &[AccountConfig], sms: &[AccountConfig]) -> Result<bool, Misconfigured> {
        let mut listed = self.listed();
        let wanted = [email, sms];
        let changed = |(listed, wanted): (&Listed, &&[AccountConfig])| {
            !listed.accounts.iter().map(|kept| &kept.config).eq(wanted.iter())
        };
        if !listed.iter().zip(&wanted).any(changed) {
            return Ok(false);
        }
        let plans = [listed[0].plan(email), listed[1].plan(sms)];
        let plans = plans.into_iter().collect::<Result<Vec<_>, _>>()?;
        for (listed, plan) in listed.iter_mut().zip(plans) {
            listed.follow(plan);
        }
        self.tell_names(&listed);
        self.metrics.reloaded(true);
        Ok(true)
    }

    /// The configuration cannot be used: the accounts stay as they are.
    pub fn refuse(&self) {
        self.metrics.reloaded(false);
    }

    /// Each account as it is now; a channel that does not answer is left out.
    pub async fn look(&self) -> Vec<Seen> {
        let orders = self.listed().each_ref().map(|listed| listed.orders.clone());
        let mut all = Vec::new();
        for orders in orders {
            let (tell, told) = oneshot::channel();
            if orders.send(Order::Look(tell)).is_ok() {
                all.extend(told.await.unwrap_or_default());
            }
        }
        all
    }

    fn tell_names(&self, listed: &[Listed; 2]) {
        for Listed { channel, accounts, .. } in listed {
            self.accounts.name(*channel, accounts.iter().map(|kept| kept.config.name.as_str().into()).collect());
        }
    }

    fn listed(&self) -> MutexGuard<'_, [Listed; 2]> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Plan = Vec<(Kept, AccountSettings, Option<Served>)>;

impl Listed {
    fn open(
        channel: Channel,
        config: ChannelConfig,
        accounts: &[AccountConfig],
        outlets: Outlets,
    ) -> Result<(Self, ChannelParts), Misconfigured> {
        let (orders, ordered) = mpsc::unbounded_channel();
        let mut new = Self { channel, config, accounts: Vec::new(), next: 0, orders, offered: None };
        let mut opened = Vec::new();
        for (n, account) in accounts.iter().enumerate() {
            let served = serve(channel, account)?;
            let concurrency = served.provider.concurrency();
            new.accounts.push(Kept { id: AccountId(new.next), config: account.clone(), concurrency });
            opened.push((settings(channel, &config, account, concurrency, n)?, served));
            new.next += 1;
        }
        let settings = PoolSettings {
            channel,
            policy: config.policy(channel == Channel::Email),
            queue_max: config.queue_max,
            deadline_ms: config.deadline_ms,
        };
        Ok((new, ChannelParts { channel, settings, accounts: opened, outlets, orders: ordered }))
    }

    /// What is to be done so that these are the accounts.
    fn plan(&self, wanted: &[AccountConfig]) -> Result<Plan, Misconfigured> {
        let mut next = self.next;
        let plan = wanted.iter().enumerate().map(|(n, account)| {
            let kept = self.accounts.iter().find(|kept| kept.config.has_provider_of(account));
            let (id, concurrency, served) = match kept {
                Some(kept) => (kept.id, kept.concurrency, None),
                None => {
                    next += 1;
                    let served = serve(self.channel, account)?;
                    self.offered.iter().for_each(|offered| served.provider.offer(offered));
                    (AccountId(next - 1), served.provider.concurrency(), Some(served))
                }
            };
            let settings = settings(self.channel, &self.config, account, concurrency, n)?;
            Ok((Kept { id, config: account.clone(), concurrency }, settings, served))
        });
        plan.collect()
    }

    fn follow(&mut self, plan: Plan) {
        let channel = self.channel.as_str();
        for Kept { config: before, .. } in &self.accounts {
            if !plan.iter().any(|(account, ..)| account.config.name == before.name) {
                info!(channel, account = before.name, "this account is no longer configured");
            }
        }
        for (account, _, served) in &plan {
            if served.is_some() {
                info!(channel, account = account.config.name, "this account is configured anew");
            }
        }
        self.next += plan.iter().filter(|(.., served)| served.is_some()).count() as u32;
        let split = |(account, settings, served): (Kept, _, _)| ((account.id, settings, served), account);
        let (orders, accounts) = plan.into_iter().map(split).unzip();
        self.accounts = accounts;
        // Without a pool the process is going down.
        let _ = self.orders.send(Order::Replace(orders));
    }
}

fn settings(
    channel: Channel,
    config: &ChannelConfig,
    account: &AccountConfig,
    of_provider: Option<usize>,
    n: usize,
) -> Result<AccountSettings, Misconfigured> {
    let (channel, name) = (channel.as_str(), account.name.clone());
    let rates = account.rates().map_err(|problem| Misconfigured { channel, name, problem })?;
    let concurrency = account.concurrency.or(of_provider).unwrap_or(config.concurrency);
    Ok(AccountSettings {
        name: account.name.as_str().into(),
        priority: account.priority.unwrap_or(n as u32 + 1),
        weight: account.weight,
        concurrency,
        // At least one is for all.
        reserved_high: config.reserved_high.min(concurrency.saturating_sub(1)),
        failover_ms: account.failover_ms,
        open_ms: account.connection.open_ms,
        rates,
    })
}

fn serve(channel: Channel, account: &AccountConfig) -> Result<Served, Misconfigured> {
    let provider = if channel == Channel::Email { email::open(account) } else { sms::open(account) };
    let (channel, name) = (channel.as_str(), account.name.clone());
    let provider = provider.map_err(|problem| Misconfigured { channel, name, problem })?;
    let name = &account.name;
    if let Some(remark) = provider.remark() {
        warn!(channel, account = name, "{remark}");
    }
    Ok(Served { name: name.as_str().into(), kind: account.kind.as_str().into(), provider })
}
