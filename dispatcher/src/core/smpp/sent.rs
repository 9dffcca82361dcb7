//! Messages that a message centre took and of which receipts may come, by its names for them.
//!
//! Bounded in number, bytes and time: the oldest are forgotten. A receipt may overtake the answer to its submit: those that fit nothing are kept
//! for a moment.

use std::{
    collections::VecDeque,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use hashbrown::HashMap;

use super::receipt::{IdForm, Receipt, ReceiptState};
use crate::limits::{
    SMPP_RECEIPT_BYTES, SMPP_RECEIPT_KEEP_MS, SMPP_RECEIPTS_BYTES_MAX, SMPP_RECEIPTS_EARLY_MAX, SMPP_RECEIPTS_EARLY_MS,
    SMPP_RECEIPTS_MAX,
};

/// A message on its way, in one or several parts.
#[derive(Debug)]
pub struct Parts<W> {
    /// Whom it is for.
    pub whom: W,
    /// What that takes, bytes.
    bytes: usize,
    /// Parts of which no receipt has come; 0 if it is over.
    left: AtomicU32,
    /// The name of the first that was taken.
    name: OnceLock<String>,
}

impl<W> Parts<W> {
    /// One in so many parts; `bytes` is what `whom` takes.
    pub fn new(whom: W, bytes: usize, parts: usize) -> Arc<Self> {
        Arc::new(Self { whom, bytes, left: AtomicU32::new(parts as u32), name: OnceLock::new() })
    }

    /// A part was taken under this name: the whole has that of the first.
    pub fn named(&self, name: &str) {
        let _ = self.name.set(name.to_owned());
    }

    /// What the message centre calls it.
    pub fn name(&self) -> Option<&str> {
        self.name.get().map(String::as_str)
    }

    /// Takes a receipt of a part: how many were left, if it is now known what became of the whole.
    fn receive(&self, state: ReceiptState) -> Option<u32> {
        match state {
            ReceiptState::Open => None,
            ReceiptState::Failed(_) => Some(self.left.swap(0, Ordering::Relaxed)).filter(|left| *left > 0),
            ReceiptState::Delivered => {
                let before = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                before.ok().filter(|left| *left == 1)
            }
        }
    }
}

/// What is known.
#[derive(Debug)]
pub struct Sent<W> {
    form: IdForm,
    by_name: HashMap<Arc<str>, Awaited<W>>,
    /// In the order of their times, with some that are not awaited any more.
    order: VecDeque<(u64, Arc<str>)>,
    bytes: usize,
    /// Receipts that fit nothing yet, by name.
    early: HashMap<String, (u64, Receipt)>,
    early_order: VecDeque<(u64, String)>,
}

#[derive(Debug)]
struct Awaited<W> {
    since_ms: u64,
    parts: Arc<Parts<W>>,
}

/// What became of a message, by the last of its receipts.
#[derive(Debug)]
pub struct Known<W> {
    /// The message.
    pub parts: Arc<Parts<W>>,
    /// The receipt.
    pub receipt: Receipt,
    /// Parts of which none had come before it.
    left: u32,
}

impl<W> Known<W> {
    fn of(parts: Arc<Parts<W>>, receipt: Receipt) -> Option<Self> {
        let left = parts.receive(receipt.state)?;
        Some(Self { parts, receipt, left })
    }
}

impl<W> Sent<W> {
    /// Nothing yet. `form` is how receipts name messages.
    pub fn new(form: IdForm) -> Self {
        let (early, early_order) = (HashMap::new(), VecDeque::new());
        Self { form, by_name: HashMap::new(), order: VecDeque::new(), bytes: 0, early, early_order }
    }

    /// A part was taken under this name. Answers what is known by a receipt that came before.
    pub fn took(&mut self, name: &str, parts: &Arc<Parts<W>>, now_ms: u64) -> Option<Known<W>> {
        parts.named(name);
        let id = self.form.of_answer(name);
        self.forget(now_ms);
        if let Some((_, receipt)) = self.early.remove(&id) {
            return Known::of(Arc::clone(parts), receipt);
        }
        self.wait_for(id.into(), Arc::clone(parts), now_ms);
        None
    }

    /// A receipt came. Answers what is known by it.
    pub fn receipt(&mut self, receipt: Receipt, now_ms: u64) -> Option<Known<W>> {
        if receipt.state == ReceiptState::Open {
            return None;
        }
        self.forget(now_ms);
        match self.remove(&receipt.id) {
            Some(parts) => Known::of(parts, receipt),
            None => {
                self.early_order.push_back((now_ms, receipt.id.clone()));
                self.early.insert(receipt.id.clone(), (now_ms, receipt));
                None
            }
        }
    }

    /// The message of which a part was taken under this name.
    pub fn find(&self, name: &str) -> Option<&Arc<Parts<W>>> {
        self.by_name.get(self.form.of_answer(name).as_str()).map(|awaited| &awaited.parts)
    }

    /// A receipt that could not be recorded comes again: until then all is as it was before.
    pub fn again(&mut self, known: &Known<W>, now_ms: u64) {
        let Known { parts, receipt, left } = known;
        parts.left.store(*left, Ordering::Relaxed);
        self.wait_for(receipt.id.as_str().into(), Arc::clone(parts), now_ms);
    }

    /// How many are waited for.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    fn wait_for(&mut self, id: Arc<str>, parts: Arc<Parts<W>>, now_ms: u64) {
        self.bytes += bytes(&id, &parts);
        self.order.push_back((now_ms, Arc::clone(&id)));
        if let Some(replaced) = self.by_name.insert(Arc::clone(&id), Awaited { since_ms: now_ms, parts }) {
            self.bytes -= bytes(&id, &replaced.parts);
        }
    }

    fn remove(&mut self, id: &str) -> Option<Arc<Parts<W>>> {
        let parts = self.by_name.remove(id)?.parts;
        self.bytes -= bytes(id, &parts);
        Some(parts)
    }

    /// Makes room for one more.
    fn forget(&mut self, now_ms: u64) {
        while let Some((since_ms, id)) = self.order.front() {
            let awaited = self.by_name.get(id).is_some_and(|awaited| awaited.since_ms == *since_ms);
            let full = self.by_name.len() >= SMPP_RECEIPTS_MAX || self.bytes >= SMPP_RECEIPTS_BYTES_MAX;
            if awaited && !full && now_ms < since_ms + SMPP_RECEIPT_KEEP_MS {
                break;
            }
            let Some((_, id)) = self.order.pop_front() else { break };
            if awaited {
                self.remove(&id);
            }
        }
        // What is behind one that waits long goes at times.
        if self.order.len() > 2 * SMPP_RECEIPTS_MAX {
            self.order
                .retain(|(since_ms, id)| self.by_name.get(id).is_some_and(|awaited| awaited.since_ms == *since_ms));
        }
        while let Some((since_ms, id)) = self.early_order.front()
            && (self.early_order.len() >= SMPP_RECEIPTS_EARLY_MAX || since_ms + SMPP_RECEIPTS_EARLY_MS <= now_ms)
        {
            if self.early.get(id).is_some_and(|(of_ms, _)| of_ms == since_ms) {
                self.early.remove(id);
            }
            self.early_order.pop_front();
        }
    }
}

/// What it takes to wait for a receipt: the name stands once, and the rest belongs to places in both tables.
fn bytes<W>(id: &str, parts: &Parts<W>) -> usize {
    SMPP_RECEIPT_BYTES + id.len() + parts.bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(id: &str, state: ReceiptState) -> Receipt {
        Receipt { id: id.into(), state, error: None }
    }

    fn known(known: Option<Known<u32>>) -> Option<(u32, ReceiptState)> {
        known.map(|known| (known.parts.whom, known.receipt.state))
    }

    const FAILED: ReceiptState = ReceiptState::Failed("UNDELIV");

    #[test]
    fn a_message_is_delivered_with_its_last_part_and_failed_with_the_first_that_is() {
        let mut sent = Sent::new(IdForm::Loose);
        for (whom, names) in [(1, ["A", "b"]), (2, ["c", "d"])] {
            let parts = Parts::new(whom, 0, 2);
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
        let mut sent = Sent::new(IdForm::Loose);
        assert_eq!(known(sent.receipt(receipt("7", ReceiptState::Delivered), 0)), None);
        let early = sent.took("007", &Parts::new(1, 0, 1), 5);
        assert_eq!(known(early), Some((1, ReceiptState::Delivered)));
        assert!(sent.took("8", &Parts::new(2, 0, 1), 5).is_none());
        let first = sent.receipt(receipt("8", FAILED), 6).unwrap();
        sent.again(&first, 6);
        assert_eq!(known(sent.receipt(receipt("8", FAILED), 7)), Some((2, FAILED)));
    }

    #[test]
    fn a_failure_that_was_not_recorded_does_not_become_delivered_by_another_part() {
        let mut sent = Sent::new(IdForm::Same);
        let parts = Parts::new(1, 0, 3);
        ["a", "b", "c"].iter().for_each(|name| assert!(sent.took(name, &parts, 0).is_none()));
        let first = sent.receipt(receipt("a", FAILED), 1).unwrap();
        sent.again(&first, 1);
        assert_eq!(known(sent.receipt(receipt("b", ReceiptState::Delivered), 2)), None);
        assert_eq!(known(sent.receipt(receipt("c", ReceiptState::Delivered), 2)), None);
        assert_eq!(known(sent.receipt(receipt("a", FAILED), 3)), Some((1, FAILED)));
    }

    #[test]
    fn names_that_differ_are_of_different_messages_unless_the_centre_writes_them_loosely() {
        for (form, expected) in [(IdForm::Same, Some(2)), (IdForm::Loose, Some(1))] {
            let mut sent = Sent::new(form);
            sent.took("Ab", &Parts::new(1, 0, 1), 0);
            if form == IdForm::Same {
                sent.took("aB", &Parts::new(2, 0, 1), 0);
            }
            let id = form.of_receipt("aB");
            assert_eq!(known(sent.receipt(receipt(&id, FAILED), 0)).map(|(whom, _)| whom), expected, "{form:?}");
        }
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut sent = Sent::new(IdForm::Same);
        for n in 0..SMPP_RECEIPTS_MAX as u64 + 10 {
            sent.took(&format!("x{n}"), &Parts::new(n, 0, 1), n);
            sent.receipt(receipt("other", FAILED), n);
        }
        assert!(sent.len() <= SMPP_RECEIPTS_MAX && sent.early_order.len() <= SMPP_RECEIPTS_EARLY_MAX);
        assert!(sent.receipt(receipt("x0", FAILED), 300_000).is_none());
        sent.receipt(receipt("x", FAILED), 300_000 + SMPP_RECEIPT_KEEP_MS);
        assert!(sent.is_empty() && sent.order.is_empty() && sent.bytes == 0);
    }

    #[test]
    fn long_ones_are_fewer_and_what_is_known_takes_nobody_s_place() {
        let mut sent = Sent::new(IdForm::Same);
        let bytes = SMPP_RECEIPTS_BYTES_MAX / 10;
        for n in 0..30 {
            sent.took(&n.to_string(), &Parts::new(n, bytes, 1), n);
        }
        assert!((9..=10).contains(&sent.len()), "{}", sent.len());
        let mut sent = Sent::new(IdForm::Same);
        sent.took("first", &Parts::new(0, 0, 1), 0);
        for n in 1..=3 * SMPP_RECEIPTS_MAX as u32 {
            sent.took(&n.to_string(), &Parts::new(n, 0, 1), 1);
            assert!(sent.receipt(receipt(&n.to_string(), FAILED), 1).is_some());
        }
        assert!(sent.order.len() <= 2 * SMPP_RECEIPTS_MAX + 1);
        assert_eq!(known(sent.receipt(receipt("first", FAILED), 1)), Some((0, FAILED)));
    }
}
