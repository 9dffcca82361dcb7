//! Text messages to be sent, and where what becomes of them is told.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use pushgate_dispatcher::{
    channels::reports::Reports,
    core::account::{Answer, Parcel},
    decode::{Decoded, Decoder},
    memory::MemoryMessages,
    seams::{BoxFuture, DeadRecord, Position, Record, ResultSink, StoreError},
    states::MessageBounds,
};
use pushgate_protocol::{ids::AppId, link::Lane, message::Channel, result::ResultRecord};
use serde_json::{Value, json};

/// A text message to a number.
pub fn text(to: &str, text: &str) -> Parcel {
    parcel(json!({"id": "m1", "to": {"phones": [to]}, "channels": ["sms"], "content": {"body": text}}))
}

/// The parcel to the first number of a message.
pub fn parcel(message: Value) -> Parcel {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let position = Position { partition: 0, generation: 0, offset: 7 };
    let time_ms = now.as_millis() as u64;
    let record = Record { position, key: None, value: message.to_string().into(), time_ms };
    let decoder = Decoder::new(Some(AppId::parse("shop").unwrap()), ["high", "normal", "low"].map(String::from));
    match decoder.read(Lane::High, &record) {
        Ok(Decoded::Deliveries(_, mut parcels)) => parcels.swap_remove(0),
        other => panic!("{other:?}"),
    }
}

/// What an answer says.
pub fn detail(answer: &Answer) -> &str {
    match answer {
        Answer::RetryAfter { detail, .. }
        | Answer::Rejected { detail, .. }
        | Answer::Unavailable { detail }
        | Answer::Unknown { detail } => detail,
        Answer::Sent { .. } | Answer::Delivered | Answer::Late => "",
    }
}

/// What was told of messages.
#[derive(Default)]
pub struct Told {
    pub records: Mutex<Vec<ResultRecord>>,
    /// Refuses once.
    pub fails: AtomicBool,
    /// Nothing is recorded while somebody holds it.
    pub hold: tokio::sync::Mutex<()>,
}

impl Told {
    pub fn reports(self: &Arc<Self>) -> Reports {
        let messages = Arc::new(MemoryMessages::new(MessageBounds::default()));
        Reports::new(
            (Channel::Sms, "carrier".into()),
            messages,
            Arc::clone(self) as Arc<dyn ResultSink>,
            Arc::new(|| 5),
        )
    }

    /// Waits for so many.
    pub async fn until(&self, count: usize) -> Vec<ResultRecord> {
        loop {
            let records = self.records.lock().unwrap().clone();
            if records.len() >= count {
                return records;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }
}

impl ResultSink for Told {
    fn publish(&self, records: Vec<ResultRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let _held = self.hold.lock().await;
            if self.fails.swap(false, Ordering::Relaxed) {
                return Err(StoreError::Unavailable { what: "results", detail: "told to".into() });
            }
            self.records.lock().unwrap().extend(records);
            Ok(())
        })
    }

    fn bury(&self, _: Vec<DeadRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}
