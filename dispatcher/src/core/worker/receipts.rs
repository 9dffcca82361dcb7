//! What clients say that their users did with messages.

use pushgate_protocol::{
    ids::{DeviceId, MessageId},
    result::{Recipient, ResultRecord, State},
    wire::ReceiptEvent,
};

use super::{CHANNEL, Finished, Worker};
use crate::seams::UserKey;

impl Worker {
    /// Publishes `read` or `clicked`; `dismissed` is `read` with that reason. Nothing of the message is known here
    /// but its id, so the result repeats nothing of it.
    pub(super) fn receipt(&mut self, user: UserKey, device: Option<&str>, event: ReceiptEvent, id: &str) {
        let Ok(message) = MessageId::parse(id) else { return };
        let (state, reason) = match event {
            ReceiptEvent::Read => (State::Read, None),
            ReceiptEvent::Clicked => (State::Clicked, None),
            ReceiptEvent::Dismissed => (State::Read, Some("dismissed".to_owned())),
        };
        let device = device.and_then(|d| DeviceId::parse(d).ok());
        let record = ResultRecord {
            message,
            app: user.app,
            recipient: Recipient { user: user.user.clone(), device },
            channel: CHANNEL,
            account: None,
            provider_id: None,
            state,
            reason,
            attempt: 1,
            time_ms: self.now_ms,
            info: None,
        };
        let recipient = Recipient { user: user.user, device: None };
        self.finish(Finished { record, recipient, token: None }, 0);
    }
}
