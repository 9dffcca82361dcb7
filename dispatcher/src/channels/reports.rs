//! What providers tell of messages after they took them: that one arrived, or will not.

use std::sync::Arc;

use pushgate_protocol::{
    ids::{AppId, MessageId, UserId},
    message::Channel,
    result::{Recipient, ResultInfo, ResultRecord, State},
};

use crate::{
    core::account::Parcel,
    seams::{MessageStore, ResultSink, StateChange, StoreError},
};

/// Whom a message went to.
#[derive(Debug, Clone)]
pub struct Whom {
    /// Whose message.
    pub app: AppId,
    /// Its id.
    pub message: MessageId,
    /// The recipient's address.
    pub address: UserId,
    /// What results repeat of the message, as far as it is known.
    pub info: Option<ResultInfo>,
}

impl Whom {
    /// The recipient of a parcel.
    pub fn of(parcel: &Parcel) -> Self {
        let Parcel { app, id, address, info, .. } = parcel;
        Self { app: app.clone(), message: id.clone(), address: address.clone(), info: Some(info.clone()) }
    }

    /// What its texts take, bytes; those that it shares with others count in each.
    pub fn bytes(&self) -> usize {
        let given = self.info.iter().flat_map(|info| [&info.occurrence, &info.meta]).flatten().map(|text| text.len());
        self.app.as_str().len() + self.message.as_str().len() + self.address.as_str().len() + given.sum::<usize>()
    }
}

/// What became of a message that a provider took.
#[derive(Debug, Clone)]
pub struct Report {
    /// Whose.
    pub whom: Whom,
    /// `delivered` or `failed`.
    pub state: State,
    /// Why it failed; nothing of the content.
    pub reason: Option<String>,
    /// The provider's name for the message.
    pub provider_id: Option<String>,
}

/// Where reports go: an account of a channel.
#[derive(Clone)]
pub struct Reports {
    channel: Channel,
    account: Arc<str>,
    messages: Arc<dyn MessageStore>,
    results: Arc<dyn ResultSink>,
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Reports {
    /// Those of an account.
    pub fn new(
        (channel, account): (Channel, Arc<str>),
        messages: Arc<dyn MessageStore>,
        results: Arc<dyn ResultSink>,
        clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    ) -> Self {
        Self { channel, account, messages, results, clock }
    }

    /// Records and publishes reports; one that is told again changes nothing. After an error nothing may be assumed of them.
    pub async fn tell(&self, reports: Vec<Report>) -> Result<(), StoreError> {
        let time_ms = (self.clock)();
        let recipient = |whom: &Whom| Recipient { user: whom.address.clone(), device: None };
        let changes = reports.iter().map(|report| StateChange {
            app: report.whom.app.clone(),
            message: report.whom.message.clone(),
            recipient: recipient(&report.whom),
            channel: self.channel.as_str(),
            state: report.state,
            reason: report.reason.clone(),
            time_ms,
        });
        self.messages.record(changes.collect()).await?;
        let records = reports.into_iter().map(|report| ResultRecord {
            recipient: recipient(&report.whom),
            message: report.whom.message,
            app: report.whom.app,
            channel: self.channel.as_str(),
            account: Some(Arc::clone(&self.account)),
            provider_id: report.provider_id,
            state: report.state,
            reason: report.reason,
            attempt: 1,
            time_ms,
            info: report.whom.info,
        });
        self.results.publish(records.collect()).await
    }
}
