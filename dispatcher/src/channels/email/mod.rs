//! Mail: each provider in a file of its own, named here. [`mail`] makes a mail of a message for all of them.

mod mail;

super::providers! { outbox, smtp, stub }
