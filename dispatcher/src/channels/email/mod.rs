//! Mail: each provider in a file of its own, named here. `mail` makes a mail of a message for all of them, `signing` signs it.

mod mail;
mod signing;

pub use self::signing::{DkimConfig, records};

super::providers! { outbox, smtp, stub }
