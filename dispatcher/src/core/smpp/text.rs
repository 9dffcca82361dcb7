//! A text in the alphabets of the telephone network, in one or several parts.
//!
//! GSM 7 bit (3GPP TS 23.038, 6.2.1) holds 160 characters of Western European texts, UCS-2 holds 70 of any. A longer text goes in
//! parts that the receiving telephone joins, each with a head that says which it is (3GPP TS 23.040, 9.2.3.24.1).

use crate::limits::SMS_PARTS_MAX;

/// The basic characters of GSM 7 bit, in their order; 0x1b leads to [`EXTENSION`].
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\u{1b}ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// Characters that take two places: the second.
const EXTENSION: [(char, u8); 10] = [
    ('\u{c}', 0x0a),
    ('^', 0x14),
    ('{', 0x28),
    ('}', 0x29),
    ('\\', 0x2f),
    ('[', 0x3c),
    ('~', 0x3d),
    (']', 0x3e),
    ('|', 0x40),
    ('€', 0x65),
];
const ESCAPE: u8 = 0x1b;
/// Bytes of the head of a part.
const HEAD_BYTES: usize = 6;

/// What a message centre takes texts in, where they can be written so; others go in UCS-2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Alphabet {
    /// GSM 7 bit, a character in a byte.
    #[default]
    Gsm,
    /// Latin-1.
    Latin1,
    /// None: everything in UCS-2.
    Ucs2,
}

/// How a long text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Long {
    /// In parts with heads.
    #[default]
    Parts,
    /// In one `message_payload`, which the message centre takes apart.
    Payload,
}

/// A text, ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded {
    /// How it is to be read (SMPP 5.2.19).
    pub data_coding: u8,
    /// Its parts, with their heads if there are several.
    pub parts: Vec<Vec<u8>>,
    /// Whether it goes in `message_payload`.
    pub payload: bool,
}

/// A text that takes more parts than one message may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text takes {0} text messages, at most {SMS_PARTS_MAX} are sent of one")]
pub struct TooLong(pub usize);

/// Writes a text. `reference` tells the parts of one text from those of another to the same telephone.
pub fn encode(text: &str, alphabet: Alphabet, long: Long, reference: u8) -> Result<Encoded, TooLong> {
    // Most texts are short and plain: nothing has to be cut between characters.
    if alphabet == Alphabet::Gsm
        && text.len() <= 160
        && let Some(part) = text.bytes().map(plain).collect()
    {
        return Ok(Encoded { data_coding: 0, parts: vec![part], payload: false });
    }
    let (data_coding, one, part, units) = match alphabet {
        Alphabet::Gsm if let Some(units) = gsm(text) => (0, 160, 153, units),
        Alphabet::Latin1 if let Some(units) = latin1(text) => (3, 140, 134, units),
        _ => (8, 140, 134, ucs2(text)),
    };
    let bytes: usize = units.iter().map(Unit::len).sum();
    if bytes <= one {
        return Ok(Encoded { data_coding, parts: vec![joined(&units, Vec::new())], payload: false });
    }
    let pieces = pieces(&units, part);
    if pieces.len() > SMS_PARTS_MAX {
        return Err(TooLong(pieces.len()));
    }
    if long == Long::Payload {
        return Ok(Encoded { data_coding, parts: vec![joined(&units, Vec::new())], payload: true });
    }
    let total = pieces.len() as u8;
    let parts = pieces.iter().enumerate().map(|(n, piece)| {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + part);
        bytes.extend([5, 0, 3, reference, total, n as u8 + 1]);
        joined(piece, bytes)
    });
    Ok(Encoded { data_coding, parts: parts.collect(), payload: false })
}

/// What must not be torn apart: a character.
#[derive(Clone, Copy)]
struct Unit {
    bytes: [u8; 4],
    length: u8,
}

impl Unit {
    fn of(bytes: &[u8]) -> Self {
        let mut unit = Self { bytes: [0; 4], length: bytes.len() as u8 };
        unit.bytes[..bytes.len()].copy_from_slice(bytes);
        unit
    }

    fn len(&self) -> usize {
        self.length.into()
    }
}

fn pieces(units: &[Unit], bytes_max: usize) -> Vec<&[Unit]> {
    let (mut pieces, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, unit) in units.iter().enumerate() {
        if bytes + unit.len() > bytes_max {
            pieces.push(&units[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += unit.len();
    }
    pieces.push(&units[start..]);
    pieces
}

fn joined(units: &[Unit], mut bytes: Vec<u8>) -> Vec<u8> {
    for unit in units {
        bytes.extend_from_slice(&unit.bytes[..unit.len()]);
    }
    bytes
}

/// A byte of ASCII in GSM 7 bit, if it takes one place there: most stand where they do in ASCII.
fn plain(byte: u8) -> Option<u8> {
    match byte {
        b'@' => Some(0x00),
        b'$' => Some(0x02),
        b'_' => Some(0x11),
        b'\n' | b'\r' | b' '..=b'Z' | b'a'..=b'z' => Some(byte),
        _ => None,
    }
}

fn gsm(text: &str) -> Option<Vec<Unit>> {
    text.chars()
        .map(|c| {
            if let Some(byte) = u8::try_from(c).ok().and_then(plain) {
                return Some(Unit::of(&[byte]));
            }
            let extended = || EXTENSION.iter().find(|(e, _)| *e == c).map(|(_, code)| Unit::of(&[ESCAPE, *code]));
            let basic = BASIC.chars().position(|b| b == c).filter(|at| *at != usize::from(ESCAPE));
            basic.map(|at| Unit::of(&[at as u8])).or_else(extended)
        })
        .collect()
}

fn latin1(text: &str) -> Option<Vec<Unit>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok().map(|byte| Unit::of(&[byte]))).collect()
}

/// UTF-16 in truth, as telephones read it: what is beyond 65,536 takes a pair.
fn ucs2(text: &str) -> Vec<Unit> {
    let mut pair = [0; 2];
    text.chars()
        .map(|c| match c.encode_utf16(&mut pair) {
            [one] => Unit::of(&one.to_be_bytes()),
            pair => {
                let (high, low) = (pair[0].to_be_bytes(), pair[1].to_be_bytes());
                Unit::of(&[high[0], high[1], low[0], low[1]])
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Encoded {
        encode(text, Alphabet::Gsm, Long::Parts, 9).unwrap()
    }

    #[test]
    fn the_alphabet_has_its_128_places_and_each_character_its_own() {
        assert_eq!(BASIC.chars().count(), 128);
        let encoded = parts("@£Δ §à€[");
        assert_eq!((encoded.data_coding, &encoded.parts[0][..]), (0, &b"\0\x01\x10 \x5f\x7f\x1b\x65\x1b\x3c"[..]));
        assert_eq!(parts("你\u{1f600}").parts, [[0x4f, 0x60, 0xd8, 0x3d, 0xde, 0x00]]);
        assert_eq!(parts("\u{1b}").data_coding, 8, "what leads to others is none itself");
    }

    #[test]
    fn what_is_plain_stands_where_the_alphabet_has_it() {
        for byte in 0..0x80 {
            let place = BASIC.chars().position(|c| c == char::from(byte)).filter(|at| *at != usize::from(ESCAPE));
            assert_eq!(plain(byte).map(usize::from), place, "{byte:#x}");
        }
        assert!((0x80..=0xff).all(|byte| plain(byte).is_none()));
    }

    #[test]
    fn a_text_goes_in_as_few_parts_as_it_fits_and_no_character_is_torn() {
        for (text, lengths) in [
            ("x".repeat(160), vec![160]),
            ("x".repeat(161), vec![6 + 153, 6 + 8]),
            ("€".repeat(80), vec![160]),
            // A pair stands at the border.
            (format!("{}€{}", "x".repeat(152), "x".repeat(10)), vec![6 + 152, 6 + 12]),
            ("你".repeat(70), vec![140]),
            ("你".repeat(71), vec![6 + 134, 6 + 8]),
            (format!("{}\u{1f600}{}", "你".repeat(66), "你".repeat(10)), vec![6 + 132, 6 + 24]),
            (String::new(), vec![0]),
        ] {
            let encoded = parts(&text);
            assert_eq!(encoded.parts.iter().map(Vec::len).collect::<Vec<_>>(), lengths, "{text}");
            for (n, part) in encoded.parts.iter().enumerate().filter(|_| lengths.len() > 1) {
                assert_eq!(part[..6], [5, 0, 3, 9, lengths.len() as u8, n as u8 + 1]);
            }
        }
    }

    #[test]
    fn other_alphabets_and_one_payload_are_as_configured() {
        let latin = encode("é€", Alphabet::Latin1, Long::Parts, 0).unwrap();
        assert_eq!((latin.data_coding, latin.parts[0].len()), (8, 4), "there is no euro sign in Latin-1");
        assert_eq!(encode("é", Alphabet::Latin1, Long::Parts, 0).unwrap().parts, [[0xe9]]);
        assert_eq!(encode("a", Alphabet::Ucs2, Long::Parts, 0).unwrap().parts, [[0, b'a']]);
        let payload = encode(&"x".repeat(400), Alphabet::Gsm, Long::Payload, 0).unwrap();
        assert!(payload.payload && payload.parts == [vec![b'x'; 400]]);
        assert!(!encode("x", Alphabet::Gsm, Long::Payload, 0).unwrap().payload);
    }

    #[test]
    fn a_text_without_end_is_refused() {
        assert!(encode(&"x".repeat(153 * SMS_PARTS_MAX), Alphabet::Gsm, Long::Parts, 0).is_ok());
        for long in [Long::Parts, Long::Payload] {
            let error = encode(&"x".repeat(153 * SMS_PARTS_MAX + 1), Alphabet::Gsm, long, 0).err();
            assert_eq!(error, Some(TooLong(SMS_PARTS_MAX + 1)));
        }
    }
}
