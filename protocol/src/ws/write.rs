//! Writing frames. A server's are never masked, a client's always (RFC 6455 section 5.1).

use super::{CONTROL_BYTES_MAX, DEFLATED, Opcode, mask};
use crate::close::CloseCode;

/// Appends the head of an unfragmented server frame; `payload_bytes` bytes of payload must follow.
pub fn head(out: &mut Vec<u8>, opcode: Opcode, payload_bytes: usize) {
    write_head(out, opcode, payload_bytes, 0);
}

/// As [`head`], of a message whose payload is deflated.
pub fn deflated_head(out: &mut Vec<u8>, opcode: Opcode, payload_bytes: usize) {
    let start = out.len();
    write_head(out, opcode, payload_bytes, 0);
    out[start] |= DEFLATED;
}

/// Appends a server frame.
pub fn frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    debug_assert!(!opcode.is_control() || payload.len() <= CONTROL_BYTES_MAX, "a control frame is short");
    out.reserve(payload.len() + 10);
    head(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a server's close frame. A `reason` that does not fit a control frame is cut at a character.
pub fn close(out: &mut Vec<u8>, code: CloseCode, reason: &str) {
    let mut cut = reason.len().min(CONTROL_BYTES_MAX - 2);
    while !reason.is_char_boundary(cut) {
        cut -= 1;
    }
    let reason = &reason[..cut];
    head(out, Opcode::Close, 2 + reason.len());
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Appends a client frame masked with `key`, which should be drawn anew for each frame. `fin` is false for all but the
/// last fragment of a message.
pub fn masked(out: &mut Vec<u8>, opcode: Opcode, fin: bool, key: [u8; 4], payload: &[u8]) {
    let start = out.len();
    write_head(out, opcode, payload.len(), 0x80);
    if !fin {
        out[start] &= 0x7f;
    }
    out.extend_from_slice(&key);
    let body = out.len();
    out.extend_from_slice(payload);
    mask::apply(&mut out[body..], key);
}

fn write_head(out: &mut Vec<u8>, opcode: Opcode, payload_bytes: usize, mask_bit: u8) {
    out.push(0x80 | opcode as u8);
    match payload_bytes {
        0..=125 => out.push(mask_bit | payload_bytes as u8),
        126..=0xffff => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&(payload_bytes as u16).to_be_bytes());
        }
        _ => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
        }
    }
}
