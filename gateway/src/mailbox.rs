//! Mailboxes: how another thread gives something to a shard. A bounded queue whose sender rings the shard's bell.
//!
//! Nothing blocks: a full mailbox is the sender's to handle.

use crate::crowd::wake::Bell;

/// The sending side; clones send to the same mailbox.
#[derive(Debug)]
pub(crate) struct MailSender<T> {
    queue: flume::Sender<T>,
    bell: Bell,
}

/// The receiving side, for one thread.
#[derive(Debug)]
pub(crate) struct Mailbox<T>(flume::Receiver<T>);

/// Why mail was not taken; it comes back.
#[derive(Debug)]
pub(crate) enum NotSent<T> {
    /// The mailbox is full: try later or give up.
    Full(T),
    /// The receiving shard has ended.
    Closed(T),
}

/// A mailbox of at most `entries` for the thread that `bell` wakes.
pub(crate) fn mailbox<T>(entries: usize, bell: Bell) -> (MailSender<T>, Mailbox<T>) {
    let (tx, rx) = flume::bounded(entries);
    (MailSender { queue: tx, bell }, Mailbox(rx))
}

impl<T> Clone for MailSender<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), bell: self.bell.clone() }
    }
}

impl<T> MailSender<T> {
    /// Puts `mail` into the mailbox and rings.
    pub(crate) fn send(&self, mail: T) -> Result<(), NotSent<T>> {
        self.queue.try_send(mail).map_err(|e| match e {
            flume::TrySendError::Full(mail) => NotSent::Full(mail),
            flume::TrySendError::Disconnected(mail) => NotSent::Closed(mail),
        })?;
        self.bell.ring();
        Ok(())
    }
}

impl<T> Mailbox<T> {
    /// The next entry, if any.
    pub(crate) fn take(&self) -> Option<T> {
        self.0.try_recv().ok()
    }

    /// Entries waiting.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
