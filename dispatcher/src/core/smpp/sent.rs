//! Messages that a message centre took and of which receipts may come, by its names for them.
//!
//! Bounded in number and time: the oldest are forgotten. A receipt may overtake the answer to its submit: those that fit nothing are kept
//! for a moment.

use std::{
    collections::VecDeque,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use hashbrown::HashMap;

use super::receipt::{IdForm, Receipt, ReceiptState, canonical};
use crate::limits::{SMPP_RECEIPT_KEEP_MS, SMPP_RECEIPTS_EARLY_MAX, SMPP_RECEIPTS_EARLY_MS, SMPP_RECEIPTS_MAX};

/// A message on its way, in one or several parts.
#[derive(Debug)]
pub struct Parts<W> {
    /// Whom it is for.
    pub whom: W,
    /// Parts of which no receipt has come; 0 if it is over.
    left: AtomicU32,
    /// The name of the first that was taken.
    name: OnceLock<String>,
}

impl<W> Parts<W> {
    /// One in so many parts.
    pub fn new(whom: W, parts: usize) -> Arc<Self> {
        Arc::new(Self { whom, left: AtomicU32::new(parts as u32), name: OnceLock::new() })
    }

    /// A part was taken under this name: the whole has that of the first.
    pub fn named(&self, name: &str) {
        let _ = self.name.set(name.to_owned());
    }

    /// What the message centre calls it.
    pub fn name(&self) -> Option<&str> {
        self.name.get().map(String::as_str)
    }

    /// Takes a receipt of a part. Whether it is now known what became of the whole.
    fn receive(&self, state: ReceiptState) -> bool {
        match state {
            ReceiptState::Open => false,
            ReceiptState::Failed(_) => self.left.swap(0, Ordering::Relaxed) > 0,
            ReceiptState::Delivered => {
                let before = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                before == Ok(1)
            }
        }
    }
}

/// What is known.
#[derive(Debug)]
pub struct Sent<W> {
    by_name: HashMap<String, Arc<Parts<W>>>,
    order: VecDeque<(u64, String)>,
    early: VecDeque<(u64, Receipt)>,
}

impl<W> Default for Sent<W> {
    fn default() -> Self {
        Self { by_name: HashMap::new(), order: VecDeque::new(), early: VecDeque::new() }
    }
}

/// What became of a message, by the last of its receipts.
pub type Known<W> = (Arc<Parts<W>>, Receipt);

impl<W> Sent<W> {
    /// A part was taken under this name. Answers what is known by a receipt that came before.
    pub fn took(&mut self, name: &str, parts: &Arc<Parts<W>>, now_ms: u64) -> Option<Known<W>> {
        parts.named(name);
        let id = canonical(name, IdForm::Same);
        self.forget(now_ms);
        if let Some(at) = self.early.iter().position(|(_, receipt)| receipt.id == id) {
            let (_, receipt) = self.early.remove(at)?;
            return parts.receive(receipt.state).then(|| (Arc::clone(parts), receipt));
        }
        self.order.push_back((now_ms, id.clone()));
        self.by_name.insert(id, Arc::clone(parts));
        None
    }

    /// A receipt came. Answers what is known by it.
    pub fn receipt(&mut self, receipt: Receipt, now_ms: u64) -> Option<Known<W>> {
        if receipt.state == ReceiptState::Open {
            return None;
        }
        self.forget(now_ms);
        match self.by_name.remove(&receipt.id) {
            Some(parts) => parts.receive(receipt.state).then_some((parts, receipt)),
            None => {
                self.early.push_back((now_ms, receipt));
                None
            }
        }
    }

    /// A receipt that could not be recorded comes again.
    pub fn again(&mut self, (parts, receipt): &Known<W>, now_ms: u64) {
        parts.left.store(1, Ordering::Relaxed);
        self.order.push_back((now_ms, receipt.id.clone()));
        self.by_name.insert(receipt.id.clone(), Arc::clone(parts));
    }

    /// How many are waited for.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    fn forget(&mut self, now_ms: u64) {
        while let Some((since_ms, _)) = self.order.front()
            && (self.order.len() > SMPP_RECEIPTS_MAX || since_ms + SMPP_RECEIPT_KEEP_MS <= now_ms)
        {
            let Some((_, id)) = self.order.pop_front() else { return };
            self.by_name.remove(&id);
        }
        while let Some((since_ms, _)) = self.early.front()
            && (self.early.len() >= SMPP_RECEIPTS_EARLY_MAX || since_ms + SMPP_RECEIPTS_EARLY_MS <= now_ms)
        {
            self.early.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(id: &str, state: ReceiptState) -> Receipt {
        Receipt { id: id.into(), state, error: None }
    }

    fn known(known: Option<Known<u32>>) -> Option<(u32, ReceiptState)> {
        known.map(|(parts, receipt)| (parts.whom, receipt.state))
    }

    const FAILED: ReceiptState = ReceiptState::Failed("UNDELIV");

    #[test]
    fn a_message_is_delivered_with_its_last_part_and_failed_with_the_first_that_is() {
        let mut sent = Sent::default();
        for (whom, names) in [(1, ["A", "b"]), (2, ["c", "d"])] {
            let parts = Parts::new(whom, 2);
            names.iter().for_each(|name| assert!(sent.took(name, &parts, 0).is_none()));
            assert_eq!(parts.name(), Some(names[0]));
        }
        assert_eq!(known(sent.receipt(receipt("a", ReceiptState::Delivered), 1)), None);
        assert_eq!(known(sent.receipt(receipt("a", ReceiptState::Delivered), 1)), None, "told twice");
        assert_eq!(known(sent.receipt(receipt("b", ReceiptState::Open), 1)), None);
        assert_eq!(known(sent.receipt(receipt("b", ReceiptState::Delivered), 1)), Some((1, ReceiptState::Delivered)));
        assert_eq!(known(sent.receipt(receipt("d", FAILED), 1)), Some((2, FAILED)));
        assert_eq!(known(sent.receipt(receipt("c", FAILED), 1)), None);
        assert!(sent.is_empty());
    }

    #[test]
    fn a_receipt_that_overtakes_its_answer_is_not_lost_and_one_that_was_not_recorded_comes_again() {
        let mut sent = Sent::default();
        assert_eq!(known(sent.receipt(receipt("7", ReceiptState::Delivered), 0)), None);
        let early = sent.took("007", &Parts::new(1, 1), 5);
        assert_eq!(known(early), Some((1, ReceiptState::Delivered)));
        assert!(sent.took("8", &Parts::new(2, 1), 5).is_none());
        let first = sent.receipt(receipt("8", FAILED), 6).unwrap();
        sent.again(&first, 6);
        assert_eq!(known(sent.receipt(receipt("8", FAILED), 7)), Some((2, FAILED)));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut sent = Sent::default();
        for n in 0..SMPP_RECEIPTS_MAX as u64 + 10 {
            sent.took(&format!("x{n}"), &Parts::new(n, 1), n);
            sent.receipt(receipt("other", FAILED), n);
        }
        assert!(sent.len() <= SMPP_RECEIPTS_MAX + 1 && sent.early.len() <= SMPP_RECEIPTS_EARLY_MAX);
        assert!(sent.receipt(receipt("x0", FAILED), 300_000).is_none());
        sent.receipt(receipt("x", FAILED), 300_000 + SMPP_RECEIPT_KEEP_MS);
        assert!(sent.is_empty() && sent.order.is_empty());
    }
}
