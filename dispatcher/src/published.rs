//! Results of which some are not published, because of their class.

use std::sync::Arc;

use pushgate_protocol::result::ResultRecord;

use crate::{
    classes::Classes,
    seams::{BoxFuture, DeadRecord, ResultSink, StoreError},
};

/// A sink that passes on results of the classes that publish, results of which the class is not known any more, and every dead letter.
pub struct Published {
    sink: Arc<dyn ResultSink>,
    classes: Classes,
}

impl Published {
    /// In front of `sink`.
    pub fn new(sink: Arc<dyn ResultSink>, classes: Classes) -> Self {
        Self { sink, classes }
    }
}

impl ResultSink for Published {
    fn publish(&self, mut records: Vec<ResultRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        records.retain(|record| record.info.as_ref().is_none_or(|info| self.classes.publishes(info.class)));
        if records.is_empty() {
            return Box::pin(async { Ok(()) });
        }
        self.sink.publish(records)
    }

    fn bury(&self, records: Vec<DeadRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.sink.bury(records)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use pushgate_protocol::{
        ids::{AppId, MessageId, UserId},
        link::Lane,
        result::{Class, Recipient, ResultInfo, State},
    };

    use super::*;
    use crate::classes::ClassConfig;

    #[derive(Default)]
    struct Noted(Mutex<Vec<String>>);

    impl ResultSink for Noted {
        fn publish(&self, records: Vec<ResultRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
            self.0.lock().unwrap().extend(records.iter().map(|record| record.message.to_string()));
            Box::pin(async { Ok(()) })
        }

        fn bury(&self, records: Vec<DeadRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
            self.0.lock().unwrap().extend(records.into_iter().map(|record| record.origin));
            Box::pin(async { Ok(()) })
        }
    }

    #[tokio::test]
    async fn results_of_a_silent_class_are_not_published_and_all_else_is() {
        let silent = ClassConfig { name: Class::State, outbox: None, redact: false, results: false };
        let noted = Arc::new(Noted::default());
        let sink = Published::new(noted.clone(), Classes::new(&[silent]));
        let record = |id: &str, class: Option<Class>| ResultRecord {
            message: MessageId::parse(id).unwrap(),
            app: AppId::parse("a").unwrap(),
            recipient: Recipient { user: UserId::parse("u").unwrap(), device: None },
            channel: "websocket",
            account: None,
            provider_id: None,
            state: State::Sent,
            reason: None,
            attempt: 1,
            time_ms: 1,
            info: class.map(|class| ResultInfo {
                occurrence: None,
                lane: Lane::Normal,
                class,
                accepted_ms: 1,
                bytes: 1,
                meta: None,
                trace: None,
            }),
        };
        let of = [record("silent", Some(Class::State)), record("told", Some(Class::Otp)), record("read", None)];
        sink.publish(of.to_vec()).await.unwrap();
        sink.publish(of[..1].to_vec()).await.unwrap();
        let dead = DeadRecord {
            key: None,
            value: Default::default(),
            reason: String::new(),
            attempts: 1,
            origin: "origin".into(),
        };
        sink.bury(vec![dead]).await.unwrap();
        assert_eq!(*noted.0.lock().unwrap(), ["told", "read", "origin"]);
    }
}
