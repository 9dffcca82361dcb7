//! The keys of `[[email]]`, `[[sms]]` and `[channels]`.

use pushgate_protocol::apps::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    email::DkimConfig,
    rate::{RateConfig, RateToConfig},
    sms::config::{HttpConfig, SmppConfig},
};
use crate::{core::account::RetryPolicy, limits, phones::Region};

/// `[[email]]` and `[[sms]]`: an account through which messages are sent. By default the first of a channel is used, and the next take over
/// while it is down; a message that names one in `overrides.email.account` or `overrides.sms.account` goes through that one alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountConfig {
    /// Its name: in messages, results and metrics. Unique in its channel.
    pub name: String,
    /// The kind of provider: `smtp`, of `[[email]]`, is a mail server; `smpp`, of `[[sms]]`, a message centre, `twilio`, `aliyun` and `tencent` are those, `generic` is any HTTP
    /// API; `outbox` sends nothing and puts messages
    /// into a folder, to be looked at; `stub` sends nothing and answers as `url` says, for tests and for trying
    /// things out.
    pub kind: String,
    /// Where the provider is, in the form that its kind has. Of `stub`: `stub:` and answers that it gives in turns (`sent`,
    /// `delivered`, `retry_after`, `retry_after=30s`, `address_dead`, `content`, `policy`, `unavailable`, `unknown`, `never`, which
    /// does not answer, or `unheard`, which does not either and has sent nothing), then `?delay=50ms` if they are to take a while. Of `outbox`: `outbox:/absolute/folder`. Of `smtp`: `smtp://user@host:587` (the connection is encrypted by
    /// STARTTLS, or not used; port 587 if none is given) or `smtps://user@host:465` (encrypted from its first byte), the user left
    /// out where none is needed, an `@` in it written `%40`; then `?tls=offered` (STARTTLS if the server offers it) or `?tls=never`, and
    /// `?auth=plain`, `login` or `xoauth2` (by default `plain` or `login`, as the server offers), joined by `&`. Of `smpp`: `smpp://system_id@host:2775`, or `smpps://` if it is encrypted. Of `twilio`:
    /// `https://ACCOUNT_SID@api.twilio.com`. Of `aliyun`: `https://ACCESS_KEY_ID@dysmsapi.aliyuncs.com`. Of `tencent`:
    /// `https://SECRET_ID@sms.tencentcloudapi.com?app=SDK_APP_ID&region=ap-guangzhou`. Of `generic`: `https://user@api.example.org/send?to={to}`, see `http`.
    pub url: String,
    /// Who sends. Of `smtp`: `Shop <no-reply@example.org>`, or the address alone; bounces go there. Of `smpp` and `twilio`: a number, or letters where the network takes
    /// them, of `twilio` also a messaging service (`MG…`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The password of the user in `url`; with `auth=xoauth2` the access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A file that holds it: read anew for each connection, so that it can be replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// A file with the certificates, in PEM, of those who may vouch for the server, instead of those that the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Which account is used: messages that name none go through the accounts with the lowest number that are up. Those with a higher one take over
    /// while all before them are down, and hand back by themselves. From 0 to 1000000. By default an account's place in the list, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// How much of what goes through accounts of one `priority` goes through this one, against the weights of the others. 0: only messages that
    /// name the account go through it. From 0 to 1000. Default 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u32,
    /// How long an attempt may hear nothing of its provider before another account takes over, milliseconds; 0: as long as the channel's
    /// `deadline_ms`. Where there is no other account it is waited for in any case. From 0 to 300000. Default 500.
    #[serde(default = "failover_ms", skip_serializing_if = "is_failover_ms")]
    pub failover_ms: u64,
    /// How fast the account may send: `{ per_s = 100 }`. What comes faster waits, that of lane high in front, and after half of the channel's `deadline_ms` in
    /// the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateConfig>,
    /// How fast it may send to recipients of a domain (`"qq.com"`), to those of each other domain (`"*"`), or to telephone numbers that
    /// begin so (`"+86"`): `[{ to = "qq.com", per_s = 20 }]`. What may not go yet holds up nothing that is for others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rates_to: Vec<RateToConfig>,
    /// Attempts under way at once in this account, and so its connections, instead of the channel's `concurrency`: some providers allow few. From 1
    /// to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<usize>,
    /// Keys that sign the mail (DKIM), of `smtp`. With none the server at `url` signs, or nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dkim: Vec<DkimConfig>,
    /// The signature of text messages that name none, of `aliyun`, `tencent` and `generic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign: Option<String>,
    /// The template of text messages that name none, of `aliyun`, `tencent` and `generic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The address under which the provider reaches this dispatcher, of `twilio`: `https://push.example.org`. It then tells what became of each message
    /// there, at `/v1/hooks/sms/` and the account's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    /// What calls of the provider bring as `?key=`, of `aliyun` and `tencent`, which do not sign them: 16 to 128 letters and digits. With it the account listens to
    /// what became of messages at `/v1/hooks/sms/` and its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback_key: Option<Secret>,
    /// How a message centre is spoken to, of `smpp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smpp: Option<SmppConfig>,
    /// How an API is called, of `generic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpConfig>,
    /// How connections to the provider are kept.
    #[serde(default, skip_serializing_if = "ConnectionConfig::is_default")]
    pub connection: ConnectionConfig,
}

fn one() -> u32 {
    1
}

fn is_one(weight: &u32) -> bool {
    *weight == one()
}

fn failover_ms() -> u64 {
    500
}

fn is_failover_ms(ms: &u64) -> bool {
    *ms == failover_ms()
}

/// How an account keeps its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionConfig {
    /// How long opening one may take, with the greeting, TLS and the password, milliseconds. From 10 to 300000. Default 5000.
    pub open_ms: u64,
    /// How long one stays open that sends nothing, milliseconds; not of `smpp`, whose connections stay open. From 0 to 86400000. Default 20000.
    pub idle_ms: u64,
    /// How long one is used, milliseconds; of `smtp`. From 0 to 86400000. Default 300000.
    pub age_ms: u64,
    /// How many messages go over one, of `smtp`. From 1 to 1000000. Default 100.
    pub messages_max: u32,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self { open_ms: 5_000, idle_ms: 20_000, age_ms: 300_000, messages_max: 100 }
    }
}

impl ConnectionConfig {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl AccountConfig {
    /// An account with nothing but what every one has.
    pub fn new(name: &str, kind: &str, url: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            url: url.to_owned(),
            from: None,
            password: None,
            password_file: None,
            ca_file: None,
            priority: None,
            weight: one(),
            failover_ms: failover_ms(),
            rate: None,
            rates_to: Vec::new(),
            concurrency: None,
            dkim: Vec::new(),
            sign: None,
            template: None,
            callback_url: None,
            callback_key: None,
            smpp: None,
            http: None,
            connection: ConnectionConfig::default(),
        }
    }

    /// Whether its provider is the other's, though it may be used otherwise.
    pub fn has_provider_of(&self, other: &Self) -> bool {
        let Self { priority, weight, failover_ms, rate, concurrency, .. } = *other;
        let rates_to = other.rates_to.clone();
        Self { priority, weight, failover_ms, rate, rates_to, concurrency, ..self.clone() } == *other
    }

    /// Keys that were given and that a kind of provider does not know.
    pub fn refuse_secrets(&self) -> Result<(), String> {
        let given = [
            ("password", self.password.is_some()),
            ("password_file", self.password_file.is_some()),
            ("ca_file", self.ca_file.is_some()),
            ("dkim", !self.dkim.is_empty()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(format!("{key} is not for kind {:?}", self.kind)),
            None => {
                self.refuse(&["sign", "template", "callback_url", "callback_key", "smpp", "http"])?;
                self.refuse(&["connection.idle_ms", "connection.age_ms", "connection.messages_max"])
            }
        }
    }

    /// Those of these keys that were given and that a kind of provider does not know.
    pub fn refuse(&self, keys: &[&str]) -> Result<(), String> {
        let (ConnectionConfig { idle_ms, age_ms, messages_max, .. }, usual) =
            (self.connection, ConnectionConfig::default());
        let given = [
            ("from", self.from.is_some()),
            ("sign", self.sign.is_some()),
            ("template", self.template.is_some()),
            ("callback_url", self.callback_url.is_some()),
            ("callback_key", self.callback_key.is_some()),
            ("smpp", self.smpp.is_some()),
            ("http", self.http.is_some()),
            ("dkim", !self.dkim.is_empty()),
            ("connection.idle_ms", idle_ms != usual.idle_ms),
            ("connection.age_ms", age_ms != usual.age_ms),
            ("connection.messages_max", messages_max != usual.messages_max),
        ];
        match given.iter().find(|(key, given)| *given && keys.contains(key)) {
            Some((key, _)) => Err(format!("{key} is not for kind {:?}", self.kind)),
            None => Ok(()),
        }
    }

    fn check_numbers(&self) -> Vec<String> {
        let ConnectionConfig { open_ms, idle_ms, age_ms, messages_max } = self.connection;
        let concurrency = self.concurrency.unwrap_or(1) as u64;
        let deadline_ms_max = limits::ACCOUNT_DEADLINE_MS_MAX;
        let age_ms_max = limits::CONNECTION_AGE_MS_MAX;
        [
            ("priority", self.priority.unwrap_or(0).into(), 0, limits::ACCOUNT_PRIORITY_MAX.into()),
            ("weight", self.weight.into(), 0, limits::ACCOUNT_WEIGHT_MAX.into()),
            ("failover_ms", self.failover_ms, 0, deadline_ms_max),
            ("concurrency", concurrency, 1, limits::ACCOUNT_CONCURRENCY_MAX as u64),
            ("connection.open_ms", open_ms, limits::CONNECTION_OPEN_MS_MIN, deadline_ms_max),
            ("connection.idle_ms", idle_ms, 0, age_ms_max),
            ("connection.age_ms", age_ms, 0, age_ms_max),
            ("connection.messages_max", messages_max.into(), 1, limits::CONNECTION_MESSAGES_MAX.into()),
        ]
        .into_iter()
        .filter(|(_, value, low, high)| !(low..=high).contains(&value))
        .map(|(key, value, low, high)| format!("{key} is {value}, must be from {low} to {high}"))
        .collect()
    }
}

/// `[channels]`: how each channel works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ChannelsConfig {
    /// Mail.
    pub email: ChannelConfig,
    /// Text messages.
    pub sms: ChannelConfig,
    /// The country, like `CN`, of telephone numbers that are written without one: `138 0013 8000` instead of `+8613800138000`. Without it such a number is
    /// refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_region: Option<Region>,
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
    /// Whether a recipient is tried once more when it is not known whether the provider sent the message. If not, or if that is not known of two
    /// attempts, its state is `unknown`.
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
    if accounts.len() > limits::ACCOUNTS_MAX {
        texts.push(format!("{channel} has {} accounts, must be at most {}", accounts.len(), limits::ACCOUNTS_MAX));
    }
    if !accounts.is_empty() && accounts.iter().all(|account| account.weight == 0) {
        texts
            .push(format!("{channel} has weight 0 in each account, must be at least 1 in one: messages may name none"));
    }
    for (n, account) in accounts.iter().enumerate() {
        let sound = (1..=64).contains(&account.name.len()) && !account.name.chars().any(char::is_control);
        if !sound {
            texts.push(format!("{channel}[{n}].name is {:?}, must have 1 to 64 bytes on one line", account.name));
        }
        if accounts[..n].iter().any(|other| other.name == account.name) {
            texts.push(format!("{channel}[{n}].name is {}, which another account of the channel has", account.name));
        }
        texts.extend(account.rates().err().map(|problem| format!("{channel}[{n}].{problem}")));
        texts.extend(account.check_numbers().into_iter().map(|problem| format!("{channel}[{n}].{problem}")));
        if let Err(problem) = open(account) {
            texts.push(format!("{channel}[{n}].{problem}"));
        }
    }
    texts
}
