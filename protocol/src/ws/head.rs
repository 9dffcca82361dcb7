//! A frame's head (RFC 6455 section 5.2), read as strictly as it says.

use super::{DEFLATED, Opcode, Rules, Violation};

/// A frame whose payload is coming.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) opcode: Opcode,
    pub(super) fin: bool,
    /// It begins a message that is deflated.
    pub(super) deflated: bool,
    /// Turned to fit the next byte of payload.
    pub(super) key: [u8; 4],
    /// Bytes of payload still to come.
    pub(super) left: usize,
}

impl Head {
    /// The head at the start of `bytes`, and how many bytes it takes; `None` if it is not whole yet.
    pub(super) fn parse(rules: &Rules, bytes: &[u8]) -> Result<Option<(Self, usize)>, Violation> {
        let Some((&[first, second], rest)) = bytes.split_first_chunk::<2>() else {
            return Ok(None);
        };
        // Only the first frame of a message of data may say that it is deflated.
        let deflated = rules.deflate && first & 0x70 == DEFLATED && matches!(first & 0x0f, 1 | 2);
        if first & 0x70 != 0 && !deflated {
            return Err(Violation::Reserved(first & 0x70));
        }
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(Violation::Opcode(first & 0x0f))?;
        let fin = first & 0x80 != 0;
        let masked = second & 0x80 != 0;
        if masked != rules.masked {
            return Err(Violation::Mask(masked));
        }
        let short = second & 0x7f;
        if opcode.is_control() && (!fin || short > 125) {
            return Err(Violation::Control);
        }
        let (length, rest) = match short {
            126 => {
                let Some((&n, rest)) = rest.split_first_chunk::<2>() else { return Ok(None) };
                let n = u64::from(u16::from_be_bytes(n));
                if n < 126 {
                    return Err(Violation::Length);
                }
                (n, rest)
            }
            127 => {
                let Some((&n, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
                let n = u64::from_be_bytes(n);
                if n <= 0xffff || n >> 63 != 0 {
                    return Err(Violation::Length);
                }
                (n, rest)
            }
            n => (u64::from(n), rest),
        };
        let too_big = Violation::TooBig { max: rules.message_bytes_max };
        let left = usize::try_from(length).map_err(|_| too_big)?;
        let bytes_max = rules.payload_bytes_max(deflated || opcode == Opcode::Continuation);
        if !opcode.is_control() && left > bytes_max {
            return Err(too_big);
        }
        let (key, rest) = match masked {
            false => ([0; 4], rest),
            true => match rest.split_first_chunk::<4>() {
                Some((&key, rest)) => (key, rest),
                None => return Ok(None),
            },
        };
        Ok(Some((Self { opcode, fin, deflated, key, left }, bytes.len() - rest.len())))
    }
}
