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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crowd::wake::Watch;

    #[test]
    fn a_full_mailbox_gives_the_mail_back_and_takes_more_once_some_is_taken() {
        // A bell needs a runtime of the thread that it wakes.
        let mut runtime = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().build().unwrap();
        let watch = runtime.block_on(async { Watch::new() }).unwrap();
        let (sender, mailbox) = mailbox(2, watch.bell());
        assert!(sender.send(1).is_ok() && sender.send(2).is_ok());
        assert!(matches!(sender.send(3), Err(NotSent::Full(3))));
        assert_eq!((mailbox.take(), mailbox.len()), (Some(1), 1));
        assert!(sender.send(4).is_ok());
        drop(mailbox);
        assert!(matches!(sender.send(5), Err(NotSent::Closed(5))));
    }
}
