//! A connection to a message centre: what is under way on it, and what is due.
//!
//! Bytes and the time go in; bytes to write and events come out. Invariants: each submit ends in exactly one event, whatever the message
//! centre says and however the connection ends; what was not handed over for writing is never said to be perhaps sent.

use hashbrown::HashMap;

use super::{
    frames::Frames,
    pdu::{self, Bind, Head, Pdu, Submit, command},
    receipt::{IdForm, Receipt},
    status,
};
use crate::limits::{SMPP_ANSWER_MS, SMPP_ANSWERS_WAITING_MAX, SMPP_ENQUIRE_ANSWER_MS, SMPP_UNBIND_ANSWERS_MS};

/// A connection. `T` is whoever waits for the answer to a submit.
#[derive(Debug)]
pub struct Window<T> {
    frames: Frames,
    out: Vec<u8>,
    sequence: u32,
    bound: bool,
    under_way: HashMap<u32, UnderWay<T>>,
    /// Those in `out`.
    unwritten: Vec<u32>,
    /// Answers in `out`.
    answers: usize,
    leaving: Option<Leaving>,
    enquire_ms: u64,
    heard_ms: u64,
    enquired_ms: Option<u64>,
    /// When submits were last looked through for those that nobody answers.
    looked_ms: u64,
    ids: IdForm,
}

/// The message centre wants to end the session.
#[derive(Debug, Clone, Copy)]
struct Leaving {
    /// Of its question.
    sequence: u32,
    until_ms: u64,
    /// Whether it has its answer.
    agreed: bool,
}

#[derive(Debug)]
struct UnderWay<T> {
    whom: T,
    written: bool,
    since_ms: u64,
}

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<T> {
    /// We may send.
    Bound,
    /// A submit was answered: its status, and the message centre's name for the message.
    Answered(T, u32, Option<String>),
    /// A receipt: it is to be answered with [`Window::confirm`].
    Receipt(u32, Receipt),
    /// Nobody answers a submit, and nobody waits for that any more.
    Forgotten(T),
    /// The message centre ends the session: no submits may be made, and those under way may still be answered.
    Leaving,
}

/// Why a connection is of no more use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It does not want us.
    #[error("to bind it said {0}")]
    Refused(String),
    /// It ended the session.
    #[error("it ended the session")]
    Unbound,
    /// It says nothing any more.
    #[error("it does not answer enquire_link")]
    Silent,
    /// What it says is no SMPP.
    #[error("it does not speak SMPP: {0}")]
    Nonsense(String),
}

impl<T> Window<T> {
    /// One that begins with a bind.
    pub fn open(bind: &Bind<'_>, enquire_ms: u64, ids: IdForm, now_ms: u64) -> Self {
        let mut out = Vec::new();
        pdu::write_bind(&mut out, 1, bind);
        Self {
            frames: Frames::default(),
            out,
            sequence: 1,
            bound: false,
            under_way: HashMap::new(),
            unwritten: Vec::new(),
            answers: 0,
            leaving: None,
            enquire_ms,
            heard_ms: now_ms,
            enquired_ms: None,
            looked_ms: now_ms,
            ids,
        }
    }

    /// Whether submits may be made.
    pub fn is_bound(&self) -> bool {
        self.bound
    }

    /// How many submits are under way.
    pub fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Puts a submit to what is to be written.
    pub fn submit(&mut self, submit: &Submit<'_>, whom: T, now_ms: u64) {
        let sequence = self.next_sequence();
        pdu::write_submit(&mut self.out, sequence, submit);
        self.under_way.insert(sequence, UnderWay { whom, written: false, since_ms: now_ms });
        self.unwritten.push(sequence);
    }

    /// From 1 to 0x7fffffff (3.2), then from 1 again; one that is under way is left out.
    fn next_sequence(&mut self) -> u32 {
        loop {
            self.sequence = if self.sequence >= 0x7fff_ffff { 1 } else { self.sequence + 1 };
            if !self.under_way.contains_key(&self.sequence) {
                return self.sequence;
            }
        }
    }

    /// What is to be written now, into `out`.
    pub fn take_out(&mut self, out: &mut Vec<u8>) {
        out.clear();
        std::mem::swap(out, &mut self.out);
        self.answers = 0;
        for sequence in self.unwritten.drain(..) {
            if let Some(submit) = self.under_way.get_mut(&sequence) {
                submit.written = true;
            }
        }
    }

    /// Whether so much waits to be written that nothing is to be read.
    pub fn is_crowded(&self) -> bool {
        self.answers >= SMPP_ANSWERS_WAITING_MAX
    }

    /// Whether the session is over once what is there is written.
    pub fn has_left(&self) -> bool {
        self.leaving.is_some_and(|leaving| leaving.agreed)
    }

    /// Whether there is anything to write.
    pub fn has_out(&self) -> bool {
        !self.out.is_empty()
    }

    /// Takes what came.
    pub fn received(&mut self, bytes: &[u8], now_ms: u64, mut event: impl FnMut(Event<T>)) -> Result<(), Fault> {
        self.heard_ms = now_ms;
        self.frames.push(bytes);
        let Self { frames, out, bound, under_way, enquired_ms, ids, answers, leaving, .. } = self;
        loop {
            let frame = match frames.take() {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(()),
                Err(error) => return Err(Fault::Nonsense(error.to_string())),
            };
            // Whoever is heard is there, whatever he says.
            *enquired_ms = None;
            let (head, pdu) = match pdu::read(frame) {
                Ok(read) => read,
                // Where it ends is known. A receipt that cannot be read would only come again.
                Err(_) => match pdu::head(frame) {
                    Ok(head) if head.command == command::DELIVER_SM => {
                        *answers += 1;
                        pdu::write_deliver_answer(out, head.sequence, status::OK);
                        continue;
                    }
                    _ => return Err(Fault::Nonsense("a PDU that cannot be read".into())),
                },
            };
            let answer = |command| Head { command, status: status::OK, sequence: head.sequence };
            match pdu {
                Pdu::BindAnswer if head.status == status::OK => {
                    *bound = leaving.is_none();
                    event(Event::Bound);
                }
                Pdu::BindAnswer => return Err(Fault::Refused(status::said(head.status))),
                Pdu::SubmitAnswer(id) => {
                    if let Some(submit) = under_way.remove(&head.sequence) {
                        let id = String::from_utf8_lossy(id).into_owned();
                        event(Event::Answered(submit.whom, head.status, (!id.is_empty()).then_some(id)));
                    }
                }
                Pdu::Nack if !*bound && leaving.is_none() => return Err(Fault::Refused(status::said(head.status))),
                Pdu::Nack => {
                    if let Some(submit) = under_way.remove(&head.sequence) {
                        // One without a status would say that it was taken.
                        event(Event::Answered(submit.whom, head.status.max(1), None));
                    }
                }
                Pdu::Deliver(deliver) => match Receipt::of(&deliver, *ids) {
                    Some(receipt) => event(Event::Receipt(head.sequence, receipt)),
                    // A message to us: nobody here reads it, and it is not to come again.
                    None => {
                        *answers += 1;
                        pdu::write_deliver_answer(out, head.sequence, status::OK);
                    }
                },
                Pdu::Enquire => {
                    *answers += 1;
                    pdu::write_bare(out, answer(command::ENQUIRE_LINK_RESP));
                }
                // Its answer lets it close the connection: what it still has to say about submits comes first.
                Pdu::Unbind if leaving.is_none() => {
                    *bound = false;
                    let (sequence, until_ms) = (head.sequence, now_ms + SMPP_UNBIND_ANSWERS_MS);
                    *leaving = Some(Leaving { sequence, until_ms, agreed: false });
                    event(Event::Leaving);
                }
                Pdu::UnbindAnswer => return Err(Fault::Unbound),
                Pdu::Unbind | Pdu::EnquireAnswer | Pdu::Silent => {}
                Pdu::Unknown => {
                    *answers += 1;
                    let nack = Head { status: status::INVALID_COMMAND, ..answer(command::GENERIC_NACK) };
                    pdu::write_bare(out, nack);
                }
            }
        }
    }

    /// Answers a receipt: 0 if it is recorded, else it comes again.
    pub fn confirm(&mut self, sequence: u32, status: u32) {
        self.answers += 1;
        pdu::write_deliver_answer(&mut self.out, sequence, status);
    }

    /// Says goodbye.
    pub fn unbind(&mut self) {
        let sequence = self.next_sequence();
        self.bound = false;
        pdu::write_bare(&mut self.out, Head { command: command::UNBIND, status: 0, sequence });
    }

    /// The time has come so far. Answers when to come again, Unix milliseconds.
    pub fn tick(&mut self, now_ms: u64, mut event: impl FnMut(Event<T>)) -> Result<u64, Fault> {
        if self.looked_ms + SMPP_ANSWER_MS / 4 <= now_ms {
            self.looked_ms = now_ms;
            let late = self.under_way.iter().filter(|(_, submit)| submit.since_ms + SMPP_ANSWER_MS <= now_ms);
            let mut late: Vec<u32> = late.map(|(sequence, _)| *sequence).collect();
            late.sort_unstable();
            late.iter()
                .filter_map(|sequence| self.under_way.remove(sequence))
                .for_each(|submit| event(Event::Forgotten(submit.whom)));
        }
        if let Some(leaving) = &mut self.leaving {
            if !leaving.agreed && (self.under_way.is_empty() || leaving.until_ms <= now_ms) {
                leaving.agreed = true;
                let head = Head { command: command::UNBIND_RESP, status: status::OK, sequence: leaving.sequence };
                pdu::write_bare(&mut self.out, head);
            }
            return Ok(leaving.until_ms.max(now_ms + 1));
        }
        match self.enquired_ms {
            Some(since_ms) if since_ms + SMPP_ENQUIRE_ANSWER_MS <= now_ms => return Err(Fault::Silent),
            Some(since_ms) => return Ok(since_ms + SMPP_ENQUIRE_ANSWER_MS),
            None => {}
        }
        let due_ms = self.heard_ms + self.enquire_ms;
        if !self.bound || now_ms < due_ms {
            return Ok(due_ms.max(now_ms + 1));
        }
        let sequence = self.next_sequence();
        pdu::write_bare(&mut self.out, Head { command: command::ENQUIRE_LINK, status: 0, sequence });
        self.enquired_ms = Some(now_ms);
        Ok(now_ms + SMPP_ENQUIRE_ANSWER_MS)
    }

    /// The connection is gone: those who wait, and whether the message centre may have what they sent.
    pub fn close(&mut self) -> Vec<(T, bool)> {
        self.bound = false;
        self.under_way.drain().map(|(_, submit)| (submit.whom, submit.written)).collect()
    }
}

#[cfg(test)]
mod tests;
