//! Mail: each provider in a file of its own, named here. `mail` makes a mail of a message for all of them, [`message_id`] names it, `signing` signs it.

mod mail;
pub mod message_id;
mod signing;

pub use self::signing::{DkimConfig, records};

super::providers! { outbox, smtp, stub }
