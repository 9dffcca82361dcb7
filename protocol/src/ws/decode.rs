//! The incremental parser: bytes as they come in, whole messages and control frames out.
//!
//! A message that lies whole in the input is unmasked there and handed out without a copy; only what is cut by the end
//! of the input, fragmented or deflated is kept. Text is checked as it arrives, so a bad byte ends the connection before
//! the message is complete; text that is deflated once it is whole and inflated. Nothing is reserved for announced
//! bytes, only for bytes that came.

use std::ops::Range;

use super::{
    HEAD_BYTES_MAX, Opcode, Violation,
    deflate::{deflated_bytes_max, inflate},
    head::Head,
    mask,
};
use crate::close::CloseCode;

/// What this side accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Frames must be masked (this side is a server) or must not be (a client).
    pub masked: bool,
    /// Longest message, bytes, all fragments together, inflated.
    pub message_bytes_max: usize,
    /// `permessage-deflate` was agreed on: messages may be deflated.
    pub deflate: bool,
}

impl Rules {
    /// Longest payload of a message, all fragments together.
    pub(super) fn payload_bytes_max(&self, deflated: bool) -> usize {
        match deflated && self.deflate {
            true => deflated_bytes_max(self.message_bytes_max),
            false => self.message_bytes_max,
        }
    }
}

/// Something whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping: answer with its payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The peer closes: answer with its code. Nothing that follows counts.
    Close(Option<CloseCode>, &'a str),
}

/// One connection's parser. One word; null between messages.
#[derive(Debug, Default)]
pub struct Decoder(Option<Box<Unfinished>>);

/// What came of something incomplete.
#[derive(Debug, Default)]
struct Unfinished {
    /// The first bytes of a frame's head.
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: u8,
    /// The frame whose payload is coming.
    frame: Option<Head>,
    /// Payload of a control frame so far.
    control: Vec<u8>,
    /// Whether the message under way is text; `None`: no message is under way.
    text: Option<bool>,
    /// Whether it is deflated.
    deflated: bool,
    message: Vec<u8>,
    /// How much of `message` is known to be UTF-8.
    checked: usize,
    /// The buffer was handed out and is to be emptied.
    spent: Spent,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Spent {
    #[default]
    Nothing,
    Control,
    Message,
    Inflated,
}

/// Where something whole lies.
enum Ready {
    Nothing,
    Input(Opcode, Range<usize>),
    Control(Opcode),
    Message { text: bool },
}

impl Decoder {
    /// Reads `bytes` up to the end of the next whole message or control frame. Returns how many bytes were used, and
    /// the event; without an event all were. Call it until it returns none, also with nothing left, so that memory of
    /// the last event is given back. After a violation or a close the decoder must not be used again.
    pub fn next<'a>(&'a mut self, rules: &Rules, bytes: &'a mut [u8]) -> Result<(usize, Option<Event<'a>>), Violation> {
        let (used, ready) = self.advance(rules, bytes)?;
        let kept = self.0.as_deref();
        let event = match ready {
            Ready::Nothing => None,
            Ready::Input(opcode, at) => Some(event(opcode, &bytes[at])?),
            Ready::Control(opcode) => Some(event(opcode, kept.map_or(&[], |u| &u.control))?),
            Ready::Message { text } => {
                let opcode = if text { Opcode::Text } else { Opcode::Binary };
                Some(event(opcode, kept.map_or(&[], |u| &u.message))?)
            }
        };
        Ok((used, event))
    }

    /// Whether nothing is incomplete.
    pub fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes kept of a message that is not whole yet.
    pub fn held_bytes(&self) -> usize {
        self.0.as_deref().map_or(0, |u| u.message.capacity())
    }

    /// Bytes of the event that was handed out last, if it was inflated.
    pub fn inflated_bytes(&self) -> usize {
        self.0.as_deref().filter(|u| u.spent == Spent::Inflated).map_or(0, |u| u.message.len())
    }

    fn advance(&mut self, rules: &Rules, bytes: &mut [u8]) -> Result<(usize, Ready), Violation> {
        self.release();
        let mut at = 0;
        loop {
            if let Some(unfinished) = self.0.as_deref_mut()
                && let Some(frame) = unfinished.frame
            {
                let end = at + frame.left.min(bytes.len() - at);
                let ready = unfinished.take(rules, frame, &mut bytes[at..end])?;
                at = end;
                match ready {
                    Some(Ready::Nothing) => continue,
                    Some(ready) => return Ok((at, ready)),
                    None => return Ok((at, Ready::Nothing)),
                }
            }
            let Some((frame, head_bytes)) = self.head(rules, &bytes[at..])? else {
                return Ok((bytes.len(), Ready::Nothing));
            };
            at += head_bytes;
            let fragmented = self.check_order(rules, &frame)?;
            let end = at.saturating_add(frame.left);
            if end <= bytes.len() && (frame.opcode.is_control() || (frame.fin && !fragmented)) {
                mask::apply(&mut bytes[at..end], frame.key);
                if frame.deflated {
                    let unfinished = self.0.get_or_insert_default();
                    unfinished.message = inflate(&bytes[at..end], rules.message_bytes_max)?;
                    unfinished.spent = Spent::Inflated;
                    return Ok((end, Ready::Message { text: frame.opcode == Opcode::Text }));
                }
                return Ok((end, Ready::Input(frame.opcode, at..end)));
            }
            let unfinished = self.0.get_or_insert_default();
            if !frame.opcode.is_control() && unfinished.text.is_none() {
                unfinished.text = Some(frame.opcode == Opcode::Text);
                unfinished.deflated = frame.deflated;
            }
            unfinished.frame = Some(frame);
        }
    }

    /// Gives back what the last event lay in.
    fn release(&mut self) {
        let Some(unfinished) = self.0.as_deref_mut() else {
            return;
        };
        match std::mem::take(&mut unfinished.spent) {
            Spent::Nothing => {}
            Spent::Control => unfinished.control = Vec::new(),
            Spent::Message | Spent::Inflated => unfinished.message = Vec::new(),
        }
        if unfinished.head_bytes == 0 && unfinished.frame.is_none() && unfinished.text.is_none() {
            self.0 = None;
        }
    }

    /// The next frame's head and how many bytes of `bytes` it used; `None` keeps `bytes`, all of a head's beginning.
    fn head(&mut self, rules: &Rules, bytes: &[u8]) -> Result<Option<(Head, usize)>, Violation> {
        let kept = self.0.as_deref().map_or(0, |u| usize::from(u.head_bytes));
        if kept == 0 {
            if let Some(found) = Head::parse(rules, bytes)? {
                return Ok(Some(found));
            }
            if !bytes.is_empty() {
                let unfinished = self.0.get_or_insert_default();
                unfinished.head[..bytes.len()].copy_from_slice(bytes);
                unfinished.head_bytes = bytes.len() as u8;
            }
            return Ok(None);
        }
        let unfinished = self.0.get_or_insert_default();
        let more = bytes.len().min(HEAD_BYTES_MAX - kept);
        unfinished.head[kept..kept + more].copy_from_slice(&bytes[..more]);
        match Head::parse(rules, &unfinished.head[..kept + more])? {
            Some((frame, head_bytes)) => {
                unfinished.head_bytes = 0;
                Ok(Some((frame, head_bytes - kept)))
            }
            None => {
                unfinished.head_bytes = (kept + more) as u8;
                Ok(None)
            }
        }
    }

    /// Whether the frame may come now; returns whether it belongs to a fragmented message.
    fn check_order(&self, rules: &Rules, frame: &Head) -> Result<bool, Violation> {
        if frame.opcode.is_control() {
            return Ok(false);
        }
        let (under_way, so_far, deflated) = match self.0.as_deref() {
            Some(u) if u.text.is_some() => (true, u.message.len(), u.deflated),
            _ => (false, 0, frame.deflated),
        };
        if under_way != (frame.opcode == Opcode::Continuation) {
            return Err(Violation::Order);
        }
        if frame.left > rules.payload_bytes_max(deflated).saturating_sub(so_far) {
            return Err(Violation::TooBig { max: rules.message_bytes_max });
        }
        Ok(under_way)
    }
}

impl Unfinished {
    /// Takes payload of `frame`. `None`: more must come; [`Ready::Nothing`]: the frame is whole, its message is not.
    fn take(&mut self, rules: &Rules, mut frame: Head, bytes: &mut [u8]) -> Result<Option<Ready>, Violation> {
        frame.key = mask::apply(bytes, frame.key);
        frame.left -= bytes.len();
        if frame.opcode.is_control() {
            self.control.extend_from_slice(bytes);
        } else {
            self.make_room(rules, &frame, bytes.len());
            self.message.extend_from_slice(bytes);
            self.check_text()?;
        }
        if frame.left > 0 {
            self.frame = Some(frame);
            return Ok(None);
        }
        self.frame = None;
        if frame.opcode.is_control() {
            self.spent = Spent::Control;
            return Ok(Some(Ready::Control(frame.opcode)));
        }
        if !frame.fin {
            return Ok(Some(Ready::Nothing));
        }
        let text = self.text.take() == Some(true);
        if std::mem::take(&mut self.deflated) {
            self.message = inflate(&self.message, rules.message_bytes_max)?;
            self.spent = Spent::Inflated;
        } else if text && self.checked != self.message.len() {
            return Err(Violation::Utf8);
        } else {
            self.spent = Spent::Message;
        }
        self.checked = 0;
        Ok(Some(Ready::Message { text }))
    }

    /// Grows the message by doubling, but not past what is announced to come, nor past the bound.
    fn make_room(&mut self, rules: &Rules, frame: &Head, bytes: usize) {
        let needed = self.message.len() + bytes;
        if needed <= self.message.capacity() {
            return;
        }
        let end = if frame.fin { needed + frame.left } else { rules.payload_bytes_max(self.deflated) };
        let target = needed.max(end.min(2 * self.message.capacity()));
        self.message.reserve_exact(target - self.message.len());
    }

    /// Checks what came of a text that is not deflated; a character cut by the end is left for later.
    fn check_text(&mut self) -> Result<(), Violation> {
        if self.text != Some(true) || self.deflated {
            return Ok(());
        }
        match std::str::from_utf8(&self.message[self.checked..]) {
            Ok(_) => self.checked = self.message.len(),
            Err(e) if e.error_len().is_none() => self.checked += e.valid_up_to(),
            Err(_) => return Err(Violation::Utf8),
        }
        Ok(())
    }
}

fn event(opcode: Opcode, payload: &[u8]) -> Result<Event<'_>, Violation> {
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Violation::Utf8);
    Ok(match opcode {
        Opcode::Text => Event::Text(text(payload)?),
        Opcode::Binary | Opcode::Continuation => Event::Binary(payload),
        Opcode::Ping => Event::Ping(payload),
        Opcode::Pong => Event::Pong(payload),
        Opcode::Close => match payload.split_first_chunk::<2>() {
            None if payload.is_empty() => Event::Close(None, ""),
            None => return Err(Violation::CloseCode),
            Some((&code, reason)) => {
                let code = CloseCode(u16::from_be_bytes(code));
                if !code.valid_on_wire() {
                    return Err(Violation::CloseCode);
                }
                Event::Close(Some(code), text(reason)?)
            }
        },
    })
}
