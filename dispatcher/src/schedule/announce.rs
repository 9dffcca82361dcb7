//! States of recipients that the schedule knows of: `scheduled`, and the end of what will never be sent.

use std::sync::Arc;

use pushgate_protocol::{
    message::{Message, Occurrence, Schedule},
    result::{Recipient, ResultInfo, ResultRecord, State},
};

use crate::{
    core::worker::{CHANNEL, DeliveryTarget},
    decode,
    seams::{MessageStore, ResultSink, StateChange, StoreError, Task},
};

/// Records and publishes states.
#[derive(Clone)]
pub struct Announcer {
    /// Where states are kept.
    pub messages: Arc<dyn MessageStore>,
    /// Where they are told.
    pub results: Arc<dyn ResultSink>,
}

impl Announcer {
    /// Records the states, then publishes them. May be repeated.
    pub async fn tell(&self, results: Vec<ResultRecord>) -> Result<(), StoreError> {
        if results.is_empty() {
            return Ok(());
        }
        // Of a message that was taken back nothing is sent: its deliveries are taken back when they come.
        self.messages.record(results.iter().map(change).collect()).await?;
        self.results.publish(results).await
    }
}

/// The state of a result as message stores take it.
pub fn change(result: &ResultRecord) -> StateChange {
    StateChange {
        app: result.app.clone(),
        message: result.message.clone(),
        recipient: result.recipient.clone(),
        channel: result.channel,
        state: result.state,
        reason: result.reason.clone(),
        time_ms: result.time_ms,
    }
}

/// That every recipient of a task's message entered a state.
pub fn results(task: &Task, message: &Message, state: State, reason: Option<&str>, now_ms: u64) -> Vec<ResultRecord> {
    let once = message.schedule.as_ref().is_some_and(repeats_not);
    let occurrence = Occurrence { task: task.key.id.clone(), due_ms: task.head.due_ms };
    let info = ResultInfo {
        occurrence: once.then(|| occurrence.to_string().into()),
        lane: task.head.lane,
        class: message.class,
        accepted_ms: task.head.created_ms,
        bytes: 0,
        meta: message.meta.as_ref().map(|meta| Arc::from(meta.as_str())),
        trace: message.traceparent.clone(),
    };
    // What is tried again is a part of a message that has a name of its own.
    let again = message.retry.is_some();
    let id = message.id.clone().filter(|_| again).unwrap_or_else(|| task.key.id.clone());
    let app = message.app.clone().filter(|_| again).unwrap_or_else(|| task.key.app.clone());
    let result = |(recipient, channel)| ResultRecord {
        message: id.clone(),
        app: app.clone(),
        recipient,
        channel,
        account: None,
        provider_id: None,
        state,
        reason: reason.map(str::to_owned),
        attempt: 1,
        time_ms: now_ms,
        info: Some(info.clone()),
    };
    let sessions = decode::recipients(message).into_iter().map(|(user, target)| {
        let device = if let DeliveryTarget::Device(device) = target { Some(device) } else { None };
        (Recipient { user, device }, CHANNEL)
    });
    let addresses = decode::addresses(message).into_iter();
    let addresses = addresses.map(|(channel, user)| (Recipient { user, device: None }, channel.as_str()));
    sessions.chain(addresses).map(result).collect()
}

fn repeats_not(schedule: &Schedule) -> bool {
    schedule.every.is_none() && schedule.cron.is_none()
}
