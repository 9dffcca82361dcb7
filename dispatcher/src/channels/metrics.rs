//! What the accounts count, for `/metrics`.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::core::account::Counts;

/// Everything that is counted; clones count into the same numbers.
#[derive(Debug, Clone)]
pub struct ChannelMetrics {
    attempts: Family<AnswerLabel, Counter>,
    waits: Family<WaitLabel, Counter>,
    dead: Family<AccountLabel, Counter>,
    suppressed: Family<ChannelLabel, Counter>,
    waiting: Family<AccountLabel, Gauge>,
    under_way: Family<AccountLabel, Gauge>,
    up: Family<AccountLabel, Gauge>,
    passed_on: Family<AccountLabel, Counter>,
    reloads: Family<ResultLabel, Counter>,
    duration: Family<AccountLabel, Histogram, fn() -> Histogram>,
    /// Notes of what was handed to providers, or taken by them, that could not be written to local disk.
    pub unnoted: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChannelLabel {
    channel: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AccountLabel {
    channel: &'static str,
    account: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabel {
    channel: &'static str,
    account: String,
    answer: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WaitLabel {
    channel: &'static str,
    account: String,
    why: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// What one account counts.
#[derive(Debug, Clone)]
pub struct AccountMetrics {
    label: AccountLabel,
    attempts: Family<AnswerLabel, Counter>,
    given_up: Counter,
    retried: Counter,
    parked: Counter,
    dead: Counter,
    waiting: Gauge,
    under_way: Gauge,
    up: Gauge,
    passed_on: Counter,
    duration: Histogram,
}

impl ChannelMetrics {
    /// Registers everything.
    pub fn register(registry: &mut Registry) -> Self {
        let histogram: fn() -> Histogram =
            || Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]);
        let new = Self {
            attempts: Family::default(),
            waits: Family::default(),
            dead: Family::default(),
            suppressed: Family::default(),
            waiting: Family::default(),
            under_way: Family::default(),
            up: Family::default(),
            passed_on: Family::default(),
            reloads: Family::default(),
            duration: Family::new_with_constructor(histogram),
            unnoted: Counter::default(),
        };
        let help = "Attempts to send through an account, by what its provider answered";
        registry.register("channel_attempts", help, new.attempts.clone());
        let help = "Recipients that wait in the schedule, because an attempt failed or there was no room to try";
        registry.register("channel_waits", help, new.waits.clone());
        registry.register("channel_dead_letters", "Recipients given up after the last attempt", new.dead.clone());
        let help = "Recipients that were skipped because their address is sent nothing";
        registry.register("channel_suppressed", help, new.suppressed.clone());
        registry.register("channel_recipients", "Recipients in an account", new.waiting.clone());
        registry.register("channel_under_way", "Attempts under way", new.under_way.clone());
        let help = "Whether an account is worth attempts; 0: its provider did not answer lately";
        registry.register("channel_up", help, new.up.clone());
        let help = "Recipients that another account took over, because the provider of this one did not answer";
        registry.register("channel_passed_on", help, new.passed_on.clone());
        let help = "Changes of accounts in the configuration, by result";
        registry.register("channel_reloads", help, new.reloads.clone());
        for result in ["ok", "error"] {
            drop(new.reloads.get_or_create(&ResultLabel { result }));
        }
        let help = "Notes of what was handed to providers, or taken by them, that could not be written to local disk";
        registry.register("channel_unnoted", help, new.unnoted.clone());
        let help = "How long providers took to answer";
        registry.register_with_unit("channel_attempt", help, Unit::Seconds, new.duration.clone());
        new
    }

    /// So many recipients more were skipped because their address is sent nothing.
    pub fn suppressed(&self, channel: &'static str, recipients: u64) {
        self.suppressed.get_or_create(&ChannelLabel { channel }).inc_by(recipients);
    }

    /// The numbers of one account.
    pub fn account(&self, channel: &'static str, account: &str) -> AccountMetrics {
        let label = AccountLabel { channel, account: account.to_owned() };
        let waits = |why| {
            let label = WaitLabel { channel, account: account.to_owned(), why };
            self.waits.get_or_create(&label).clone()
        };
        let none = AnswerLabel { channel, account: account.to_owned(), answer: "none" };
        AccountMetrics {
            attempts: self.attempts.clone(),
            given_up: self.attempts.get_or_create(&none).clone(),
            retried: waits("retry"),
            parked: waits("no_room"),
            dead: self.dead.get_or_create(&label).clone(),
            waiting: self.waiting.get_or_create(&label).clone(),
            under_way: self.under_way.get_or_create(&label).clone(),
            up: self.up.get_or_create(&label).clone(),
            passed_on: self.passed_on.get_or_create(&label).clone(),
            duration: self.duration.get_or_create(&label).clone(),
            label,
        }
    }
}

impl ChannelMetrics {
    /// Accounts were changed, or could not be.
    pub fn reloaded(&self, ok: bool) {
        self.reloads.get_or_create(&ResultLabel { result: if ok { "ok" } else { "error" } }).inc();
    }

    /// An account is no more; what it counted stays.
    pub fn forget(&self, channel: &'static str, account: &str) {
        let label = AccountLabel { channel, account: account.to_owned() };
        for family in [&self.waiting, &self.under_way, &self.up] {
            family.remove(&label);
        }
    }
}

impl AccountMetrics {
    /// An attempt was answered after so many seconds.
    pub fn answered(&self, answer: &'static str, seconds: f64) {
        let AccountLabel { channel, account } = self.label.clone();
        self.attempts.get_or_create(&AnswerLabel { channel, account, answer }).inc();
        self.duration.observe(seconds);
    }

    /// What was counted, and what is there.
    pub fn show(&self, counts: Counts, here: usize, under_way: usize, up: bool) {
        self.retried.inc_by(counts.retried);
        self.parked.inc_by(counts.parked);
        self.given_up.inc_by(counts.given_up);
        self.dead.inc_by(counts.dead);
        self.passed_on.inc_by(counts.passed_on);
        self.up.set(up.into());
        self.waiting.set(here as i64);
        self.under_way.set(under_way as i64);
    }
}
