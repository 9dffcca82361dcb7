//! What a lane has made of its records and not yet handed over: deliveries for workers, parcels for accounts.

use pushgate_protocol::link::Lane;
use tokio::sync::mpsc::{Sender, error::TrySendError};

use super::mailbox::Mailboxes;
use crate::{
    channels::Accounts,
    core::{
        account::Parcel,
        worker::{Delivery, Token},
    },
    seams::Hold,
};

/// Batches, by worker and by channel.
pub(super) struct Outgoing {
    mailboxes: Mailboxes,
    accounts: Accounts,
    deliveries: Vec<Vec<Box<Delivery>>>,
    parcels: Vec<Vec<Parcel>>,
    waiting: usize,
}

/// What became of the batches that were to be handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    Done,
    /// Somebody has no room.
    Full,
    /// Somebody is gone: the lane is to end.
    Ended,
}

impl Outgoing {
    pub(super) fn new(mailboxes: Mailboxes, accounts: Accounts) -> Self {
        let deliveries = (0..mailboxes.len()).map(|_| Vec::new()).collect();
        let parcels = accounts.iter().map(|_| Vec::new()).collect();
        Self { mailboxes, accounts, deliveries, parcels, waiting: 0 }
    }

    /// Deliveries and parcels not handed over.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// Puts what a record became with what is for the same workers and accounts.
    pub(super) fn push(&mut self, token: Token, deliveries: Vec<Box<Delivery>>, parcels: Vec<Parcel>, hold: &Hold) {
        deliveries.into_iter().for_each(|delivery| self.push_delivery(token, delivery));
        self.waiting += parcels.len();
        for mut parcel in parcels {
            (parcel.token, parcel.hold) = (token, hold.clone());
            self.parcels[self.accounts.of(&parcel)].push(parcel);
        }
    }

    pub(super) fn push_delivery(&mut self, token: Token, mut delivery: Box<Delivery>) {
        delivery.token = token;
        let user = &delivery.user;
        let worker = self.mailboxes.of_user(user.app.as_str(), user.user.as_str());
        self.deliveries[worker].push(delivery);
        self.waiting += 1;
    }

    /// Hands over what there is room for; the rest waits.
    pub(super) fn send(&mut self, lane: Lane) -> Sending {
        let mut left = Some(0);
        for (batch, mailbox) in self.deliveries.iter_mut().zip(self.mailboxes.iter()) {
            left = hand_over(batch, &mailbox.deliveries[lane as usize], left);
        }
        for (batch, inbox) in self.parcels.iter_mut().zip(self.accounts.iter()) {
            left = hand_over(batch, &inbox[lane as usize], left);
        }
        match left {
            None => Sending::Ended,
            Some(left) => {
                self.waiting = left;
                if left == 0 { Sending::Done } else { Sending::Full }
            }
        }
    }
}

/// Hands a batch over; `left` and what could not be, `None` once somebody is gone.
fn hand_over<T>(batch: &mut Vec<T>, to: &Sender<Vec<T>>, left: Option<usize>) -> Option<usize> {
    let left = left?;
    if batch.is_empty() {
        return Some(left);
    }
    match to.try_send(std::mem::take(batch)) {
        Ok(()) => Some(left),
        Err(TrySendError::Full(back)) => {
            *batch = back;
            Some(left + batch.len())
        }
        Err(TrySendError::Closed(_)) => None,
    }
}
