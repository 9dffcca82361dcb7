//! What is said in SMPP, in bytes: what we say is written, what a message centre says is read.

use super::status;
use crate::limits::{SMPP_ID_BYTES_MAX, SMPP_SHORT_BYTES_MAX};

/// Bytes of a PDU's head.
pub const HEAD_BYTES: usize = 16;

/// Command ids (5.1.2.1).
pub mod command {
    #![allow(missing_docs)]
    pub const GENERIC_NACK: u32 = 0x8000_0000;
    pub const SUBMIT_SM: u32 = 0x04;
    pub const SUBMIT_SM_RESP: u32 = 0x8000_0004;
    pub const DELIVER_SM: u32 = 0x05;
    pub const DELIVER_SM_RESP: u32 = 0x8000_0005;
    pub const UNBIND: u32 = 0x06;
    pub const UNBIND_RESP: u32 = 0x8000_0006;
    pub const BIND_TRANSCEIVER: u32 = 0x09;
    pub const BIND_TRANSCEIVER_RESP: u32 = 0x8000_0009;
    pub const ENQUIRE_LINK: u32 = 0x15;
    pub const ENQUIRE_LINK_RESP: u32 = 0x8000_0015;
    pub const ALERT_NOTIFICATION: u32 = 0x102;
}

/// Tags of optional parameters (5.3.2).
mod tag {
    pub(super) const RECEIPTED_MESSAGE_ID: u16 = 0x001e;
    pub(super) const MESSAGE_PAYLOAD: u16 = 0x0424;
    pub(super) const MESSAGE_STATE: u16 = 0x0427;
}

/// The head of a PDU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What is asked or answered.
    pub command: u32,
    /// How an answer ended; 0 is well.
    pub status: u32,
    /// Which question it is of.
    pub sequence: u32,
}

/// What a message centre says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pdu<'a> {
    /// To `bind_transceiver`.
    BindAnswer,
    /// To `submit_sm`: its name for the message, as far as there is one.
    SubmitAnswer(&'a [u8]),
    /// A message or receipt for us.
    Deliver(Deliver<'a>),
    /// Are we there?
    Enquire,
    /// To our `enquire_link`.
    EnquireAnswer,
    /// It wants to end the session.
    Unbind,
    /// To our `unbind`.
    UnbindAnswer,
    /// It did not understand us.
    Nack,
    /// Something that asks for no answer, or answers nothing of ours.
    Silent,
    /// A question that we do not know.
    Unknown,
}

/// `deliver_sm` (4.6.1), as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deliver<'a> {
    /// What kind of message it is.
    pub esm_class: u8,
    /// The text, in bytes.
    pub message: &'a [u8],
    /// The message that a receipt is of.
    pub receipted_id: Option<&'a [u8]>,
    /// What became of it.
    pub state: Option<u8>,
}

impl Deliver<'_> {
    /// Whether it is a receipt of the message centre (5.2.12).
    pub fn is_receipt(&self) -> bool {
        self.esm_class & 0x3c == 0x04
    }
}

/// Bytes that are no PDU of SMPP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PduError {
    /// It ends too soon.
    #[error("a PDU ends too soon")]
    Short,
    /// A text in it has no end.
    #[error("a text in a PDU has no end")]
    Endless,
}

/// Reads the head of a PDU.
pub fn head(frame: &[u8]) -> Result<Head, PduError> {
    let mut bytes = Bytes(frame);
    bytes.u32()?;
    Ok(Head { command: bytes.u32()?, status: bytes.u32()?, sequence: bytes.u32()? })
}

/// Reads a whole PDU.
pub fn read(frame: &[u8]) -> Result<(Head, Pdu<'_>), PduError> {
    let head = head(frame)?;
    let mut body = Bytes(frame.get(HEAD_BYTES..).ok_or(PduError::Short)?);
    let pdu = match head.command {
        command::BIND_TRANSCEIVER_RESP => Pdu::BindAnswer,
        // Without a body if the status is an error (4.4.2), and of some message centres then alone. An id that cannot be read is none: that
        // it was taken counts.
        command::SUBMIT_SM_RESP if body.0.is_empty() || head.status != status::OK => Pdu::SubmitAnswer(&[]),
        command::SUBMIT_SM_RESP => Pdu::SubmitAnswer(body.text(SMPP_ID_BYTES_MAX).unwrap_or_default()),
        command::DELIVER_SM => Pdu::Deliver(deliver(&mut body)?),
        command::ENQUIRE_LINK => Pdu::Enquire,
        command::ENQUIRE_LINK_RESP => Pdu::EnquireAnswer,
        command::UNBIND => Pdu::Unbind,
        command::UNBIND_RESP => Pdu::UnbindAnswer,
        command::GENERIC_NACK => Pdu::Nack,
        command::ALERT_NOTIFICATION => Pdu::Silent,
        other if other & command::GENERIC_NACK != 0 => Pdu::Silent,
        _ => Pdu::Unknown,
    };
    Ok((head, pdu))
}

fn deliver<'a>(body: &mut Bytes<'a>) -> Result<Deliver<'a>, PduError> {
    // service_type, then twice ton, npi and address.
    body.text(64)?;
    for _ in 0..2 {
        body.take(2)?;
        body.text(64)?;
    }
    let esm_class = body.u8()?;
    // protocol_id, priority_flag
    body.take(2)?;
    // schedule_delivery_time, validity_period
    body.text(64)?;
    body.text(64)?;
    // registered_delivery, replace_if_present_flag, data_coding, sm_default_msg_id
    body.take(4)?;
    let length = usize::from(body.u8()?);
    let mut deliver = Deliver { esm_class, message: body.take(length)?, receipted_id: None, state: None };
    // Some message centres put bytes behind it that are no fields.
    while let (Ok(tag), Ok(length)) = (body.u16(), body.u16())
        && let Ok(value) = body.take(length.into())
    {
        match tag {
            // The NUL belongs to it, and some leave it out.
            tag::RECEIPTED_MESSAGE_ID => {
                let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
                deliver.receipted_id = Some(&value[..end]).filter(|id| !id.is_empty() && id.len() <= SMPP_ID_BYTES_MAX);
            }
            tag::MESSAGE_STATE => deliver.state = value.first().copied(),
            tag::MESSAGE_PAYLOAD if deliver.message.is_empty() => deliver.message = value,
            _ => {}
        }
    }
    Ok(deliver)
}

/// What is left of a PDU.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], PduError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(PduError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, PduError> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, PduError> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, PduError> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// A text that ends with NUL.
    fn text(&mut self, bytes_max: usize) -> Result<&'a [u8], PduError> {
        let end = self.0.iter().take(bytes_max + 1).position(|byte| *byte == 0).ok_or(PduError::Endless)?;
        let text = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Ok(text)
    }
}

/// An address with its kinds (5.2.5, 5.2.6).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Address {
    /// Type of number.
    pub ton: u8,
    /// Numbering plan.
    pub npi: u8,
    /// Digits or letters, at most 20 bytes.
    pub digits: String,
}

/// Who binds.
#[derive(Clone, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The account there, at most 15 bytes.
    pub system_id: &'a str,
    /// Its password.
    pub password: &'a str,
    /// What kind of system we are, at most 12 bytes.
    pub system_type: &'a str,
}

/// One text message.
#[derive(Clone, Copy)]
pub struct Submit<'a> {
    /// What the message centre makes of it; empty for the default.
    pub service_type: &'a str,
    /// Who sends.
    pub source: &'a Address,
    /// Type and plan of the recipient's number.
    pub to: (u8, u8),
    /// The recipient's digits.
    pub digits: &'a str,
    /// Whether it begins with a head of its own.
    pub has_head: bool,
    /// Whether a receipt is wanted.
    pub receipt: bool,
    /// How the text is to be read (5.2.19).
    pub data_coding: u8,
    /// For how long it is worth sending, seconds.
    pub valid_s: Option<u64>,
    /// Goes into `message_payload` instead of `short_message`.
    pub payload: bool,
    /// The text.
    pub body: &'a [u8],
}

/// Writes a PDU without a body.
pub fn write_bare(out: &mut Vec<u8>, head: Head) {
    write(out, head, |_| {});
}

/// Writes `bind_transceiver`.
pub fn write_bind(out: &mut Vec<u8>, sequence: u32, bind: &Bind<'_>) {
    write(out, Head { command: command::BIND_TRANSCEIVER, status: 0, sequence }, |out| {
        for text in [bind.system_id, bind.password, bind.system_type] {
            write_text(out, text);
        }
        // interface_version, then ton, npi and range of addresses.
        out.extend([0x34, 0, 0, 0]);
    });
}

/// Writes `submit_sm`. What is longer than `short_message` may be goes into `message_payload`.
pub fn write_submit(out: &mut Vec<u8>, sequence: u32, submit: &Submit<'_>) {
    write(out, Head { command: command::SUBMIT_SM, status: 0, sequence }, |out| {
        write_text(out, submit.service_type);
        out.extend([submit.source.ton, submit.source.npi]);
        write_text(out, &submit.source.digits);
        out.extend([submit.to.0, submit.to.1]);
        write_text(out, submit.digits);
        // esm_class, protocol_id, priority_flag, schedule_delivery_time
        out.extend([if submit.has_head { 0x40 } else { 0 }, 0, 0, 0]);
        match submit.valid_s {
            Some(seconds) => write_relative(out, seconds),
            None => out.push(0),
        }
        // registered_delivery, replace_if_present_flag, data_coding, sm_default_msg_id
        out.extend([u8::from(submit.receipt), 0, submit.data_coding, 0]);
        if submit.payload || submit.body.len() > SMPP_SHORT_BYTES_MAX {
            out.push(0);
            out.extend(tag::MESSAGE_PAYLOAD.to_be_bytes());
            out.extend((submit.body.len() as u16).to_be_bytes());
        } else {
            out.push(submit.body.len() as u8);
        }
        out.extend_from_slice(submit.body);
    });
}

/// Writes the answer to `deliver_sm`: its message id is empty (4.6.2).
pub fn write_deliver_answer(out: &mut Vec<u8>, sequence: u32, status: u32) {
    write(out, Head { command: command::DELIVER_SM_RESP, status, sequence }, |out| out.push(0));
}

fn write(out: &mut Vec<u8>, head: Head, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 4]);
    for field in [head.command, head.status, head.sequence] {
        out.extend(field.to_be_bytes());
    }
    body(out);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// A text with its NUL. One inside would end it early: what is behind it is left out.
fn write_text(out: &mut Vec<u8>, text: &str) {
    let end = text.bytes().position(|byte| byte == 0).unwrap_or(text.len());
    out.extend_from_slice(&text.as_bytes()[..end]);
    out.push(0);
}

/// A span from now on (7.1.1): days at most, for months and years have no one length.
fn write_relative(out: &mut Vec<u8>, seconds: u64) {
    let seconds = seconds.clamp(1, 28 * 86_400);
    out.extend_from_slice(b"0000");
    for number in [seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60] {
        out.extend([b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]);
    }
    out.extend_from_slice(b"000R\0");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submit_stands_as_the_specification_lays_it_out() {
        let source = Address { ton: 5, npi: 0, digits: "Shop".into() };
        let mut out = Vec::new();
        let submit = Submit {
            service_type: "",
            source: &source,
            to: (1, 1),
            digits: "8613",
            has_head: true,
            receipt: true,
            data_coding: 8,
            valid_s: Some(90_061),
            payload: false,
            body: b"\0h",
        };
        write_submit(&mut out, 7, &submit);
        let mut expected = b"\0\0\0\x42\0\0\0\x04\0\0\0\0\0\0\0\x07\0\x05\0Shop\0\x01\x018613\0".to_vec();
        expected.extend(b"\x40\0\0\x00000001010101000R\0\x01\0\x08\0\x02\0h");
        expected[3] = expected.len() as u8;
        assert_eq!(out, expected);
        let long = [b'x'; 300];
        out.clear();
        write_submit(&mut out, 8, &Submit { body: &long, valid_s: None, has_head: false, ..submit });
        let tail = &out[out.len() - 305..];
        assert_eq!(&tail[..5], b"\0\x04\x24\x01\x2c");
    }

    #[test]
    fn what_is_cut_off_anywhere_is_an_error_and_no_panic() {
        let mut whole = vec![0; 4];
        whole.extend(command::DELIVER_SM.to_be_bytes());
        whole.extend([0, 0, 0, 0, 0, 0, 0, 1]);
        whole.extend(b"svc\0\x01\x01123\0\x01\x01456\0\x04\0\0\0\0\0\0\0\0\x03abc");
        let bare = whole.len();
        whole.extend(b"\0\x1e\0\x03id\0\x04\x27\0\x01\x02");
        let (head, pdu) = read(&whole).unwrap();
        let expected = Deliver { esm_class: 4, message: b"abc", receipted_id: Some(b"id"), state: Some(2) };
        assert_eq!((head.sequence, &pdu), (1, &Pdu::Deliver(expected.clone())));
        assert!(expected.is_receipt());
        for end in 0..whole.len() {
            // Of its options those count that are whole.
            assert_eq!(read(&whole[..end]).is_ok(), end >= bare, "{end}");
        }
        let Ok((_, Pdu::Deliver(cut))) = read(&whole[..bare + 8]) else { panic!() };
        assert_eq!((cut.receipted_id, cut.state), (Some(&b"id"[..]), None));
    }

    #[test]
    fn an_answer_to_a_submit_counts_though_its_body_cannot_be_read() {
        let answer = |status: u8, body: &[u8]| {
            let mut whole = vec![0; 4];
            whole.extend(command::SUBMIT_SM_RESP.to_be_bytes());
            whole.extend([0, 0, 0, status, 0, 0, 0, 1]);
            whole.extend(body);
            whole
        };
        for (status, body, id) in
            [(0, &b"id7\0"[..], &b"id7"[..]), (0, b"id7", b""), (0, b"", b""), (8, b"no end", b"")]
        {
            assert_eq!(read(&answer(status, body)).unwrap().1, Pdu::SubmitAnswer(id), "{status} {body:?}");
        }
    }
}
