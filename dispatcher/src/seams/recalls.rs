//! How a message that is taken back reaches what is under way.

use pushgate_protocol::result::Recipient;

use super::{BoxFuture, MessageKey};

/// Takes messages back from what is under way.
pub trait Recalls: Send + Sync {
    /// The message is taken back from these recipients, all of whose sessions are told; and, with `holders`, from every session
    /// that has it unacknowledged, whoever's it is.
    fn recall(&self, message: MessageKey, recipients: Vec<Recipient>, holders: bool) -> BoxFuture<'_, ()>;
}
