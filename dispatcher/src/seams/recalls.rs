//! How a message that is taken back reaches what is under way.

use pushgate_protocol::{
    ids::{AppId, MessageId},
    result::Recipient,
};

use super::BoxFuture;

/// Takes messages back from what is under way.
pub trait Recalls: Send + Sync {
    /// Message `id` is taken back from these recipients; none are known yet if there are none.
    fn recall(&self, app: AppId, id: MessageId, recipients: Vec<Recipient>) -> BoxFuture<'_, ()>;
}
