//! The keys of `[[email]]`, `[[sms]]` and `[channels]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{core::account::RetryPolicy, limits};

/// `[[email]]` and `[[sms]]`: an account through which messages are sent. The first of a channel is its default; a message chooses
/// another with `overrides.email.account` or `overrides.sms.account`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountConfig {
    /// Its name: in messages, results and metrics. Unique in its channel.
    pub name: String,
    /// The kind of provider. `stub` sends nothing and answers as `url` says: for tests and for trying things out.
    pub kind: String,
    /// Where the provider is, in the form that its kind has. Of `stub`: `stub:` and answers that it gives in turns (`sent`,
    /// `delivered`, `retry_after`, `retry_after=30s`, `address_dead`, `content`, `policy`, `unavailable`, `unknown`, or `never`, which
    /// does not answer), then `?delay=50ms` if they are to take a while.
    pub url: String,
}

/// `[channels]`: how each channel works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ChannelsConfig {
    /// Mail.
    pub email: ChannelConfig,
    /// Text messages.
    pub sms: ChannelConfig,
}

/// How each account of a channel works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ChannelConfig {
    /// Attempts to send to one recipient; after the last the message is a dead letter. From 1 to 100. Default 6.
    pub attempts_max: u32,
    /// The pause after a failed attempt is drawn from 0 up to this, after the next up to twice as much, and so on, milliseconds. What the
    /// provider asks for is added. Default 2000.
    pub backoff_base_ms: u64,
    /// Up to this at most, milliseconds. Default 600000 (10 minutes).
    pub backoff_cap_ms: u64,
    /// How long a recipient may wait for a worker and the provider's answer together, milliseconds: then it waits in the schedule
    /// and its record is settled. From 100 to 300000. Default 10000.
    pub deadline_ms: u64,
    /// Attempts under way at once in an account. From 1 to 1000. Default 16.
    pub concurrency: usize,
    /// Those of them that are for lane high alone; at least one is for all. Default 4.
    pub reserved_high: usize,
    /// Recipients of each lane that may wait for a worker of an account; further ones wait in the schedule. From 1 to 100000. Default 2000.
    pub queue_max: usize,
    /// Whether a recipient is tried again when it is not known whether the provider sent the message. If not, its state is `unknown`.
    /// Default true for email, false for sms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_unknown: Option<bool>,
}

impl Default for ChannelConfig {
    fn default() -> Self {
        Self {
            attempts_max: 6,
            backoff_base_ms: 2_000,
            backoff_cap_ms: 600_000,
            deadline_ms: 10_000,
            concurrency: 16,
            reserved_high: 4,
            queue_max: 2_000,
            retry_unknown: None,
        }
    }
}

impl ChannelConfig {
    /// When it is tried again. `unknown` is what holds unless configured.
    pub fn policy(&self, unknown: bool) -> RetryPolicy {
        RetryPolicy {
            attempts_max: self.attempts_max,
            base_ms: self.backoff_base_ms,
            cap_ms: self.backoff_cap_ms,
            retry_unknown: self.retry_unknown.unwrap_or(unknown),
        }
    }

    /// What is wrong with its values; `section` is what texts call it.
    pub fn check(&self, section: &str) -> Vec<String> {
        let mut texts = Vec::new();
        let mut within = |key: &str, value: u64, low: u64, high: u64| {
            if !(low..=high).contains(&value) {
                texts.push(format!("{section}.{key} is {value}, must be from {low} to {high}"));
            }
        };
        within("attempts_max", self.attempts_max.into(), 1, limits::ATTEMPTS_MAX.into());
        within("backoff_base_ms", self.backoff_base_ms, 1, limits::BACKOFF_MS_MAX);
        within("backoff_cap_ms", self.backoff_cap_ms, self.backoff_base_ms.max(1), limits::BACKOFF_MS_MAX);
        within("deadline_ms", self.deadline_ms, limits::ACCOUNT_DEADLINE_MS_MIN, limits::ACCOUNT_DEADLINE_MS_MAX);
        within("concurrency", self.concurrency as u64, 1, limits::ACCOUNT_CONCURRENCY_MAX as u64);
        within("reserved_high", self.reserved_high as u64, 0, (self.concurrency as u64).saturating_sub(1));
        within("queue_max", self.queue_max as u64, 1, limits::ACCOUNT_QUEUE_MAX as u64);
        texts
    }
}

/// What is wrong with accounts; `channel` is what texts call them.
pub fn check_accounts<T>(
    channel: &str,
    accounts: &[AccountConfig],
    open: impl Fn(&AccountConfig) -> Result<T, String>,
) -> Vec<String> {
    let mut texts = Vec::new();
    for (n, account) in accounts.iter().enumerate() {
        let sound = (1..=64).contains(&account.name.len()) && !account.name.chars().any(char::is_control);
        if !sound {
            texts.push(format!("{channel}[{n}].name is {:?}, must have 1 to 64 bytes on one line", account.name));
        }
        if accounts[..n].iter().any(|other| other.name == account.name) {
            texts.push(format!("{channel}[{n}].name is {}, which another account of the channel has", account.name));
        }
        if let Err(problem) = open(account) {
            texts.push(format!("{channel}[{n}].{problem}"));
        }
    }
    texts
}
