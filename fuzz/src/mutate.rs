//! How one input becomes another.

/// A small generator of numbers (xorshift64*): the same seed gives the same search.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`, which is at least 1.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n
    }
}

/// Bytes at which something changes: signs, bounds of lengths, first bytes of characters and of frames.
const EDGES: [u8; 20] =
    [0, 1, 2, 0x0a, 0x20, 0x7d, 0x7e, 0x7f, 0x80, 0x81, 0x82, 0x88, 0x89, 0xbf, 0xc2, 0xe0, 0xed, 0xf0, 0xf4, 0xff];

/// Changes `input` in one to eight places; `other` is another input, `words` are what the target knows.
pub(crate) fn mutate(dice: &mut Dice, input: &mut Vec<u8>, other: &[u8], words: &[&[u8]], bytes_max: usize) {
    for _ in 0..1 << dice.below(4) {
        change(dice, input, other, words);
    }
    input.truncate(bytes_max);
}

fn change(dice: &mut Dice, input: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
    let at = dice.below(input.len() + 1);
    if let Some(byte) = input.get_mut(at) {
        match dice.below(12) {
            0 => *byte ^= 1 << dice.below(8),
            1 => *byte = dice.below(256) as u8,
            2 => *byte = EDGES[dice.below(EDGES.len())],
            3 => *byte = byte.wrapping_add(1 + dice.below(16) as u8),
            4 => *byte = byte.wrapping_sub(1 + dice.below(16) as u8),
            5 => drop(input.drain(at..(at + 1 + dice.below(16)).min(input.len()))),
            6 => input.insert(at, EDGES[dice.below(EDGES.len())]),
            7 => {
                let piece = input[at..(at + 1 + dice.below(32)).min(input.len())].to_vec();
                insert(input, dice, &piece);
            }
            8 => input.truncate(at),
            9 if !words.is_empty() => {
                let word = words[dice.below(words.len())];
                let end = (at + word.len()).min(input.len());
                input.splice(at..end, word.iter().copied());
            }
            10 if !other.is_empty() => {
                input.truncate(at);
                input.extend_from_slice(&other[dice.below(other.len())..]);
            }
            _ => grow(dice, input, other, words),
        }
    } else {
        grow(dice, input, other, words);
    }
}

fn grow(dice: &mut Dice, input: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
    let piece = match dice.below(3) {
        0 if !words.is_empty() => words[dice.below(words.len())].to_vec(),
        1 if !other.is_empty() => {
            let from = dice.below(other.len());
            other[from..(from + 1 + dice.below(64)).min(other.len())].to_vec()
        }
        _ => (0..1 + dice.below(16)).map(|_| dice.below(256) as u8).collect(),
    };
    insert(input, dice, &piece);
}

fn insert(input: &mut Vec<u8>, dice: &mut Dice, piece: &[u8]) {
    let at = dice.below(input.len() + 1);
    input.splice(at..at, piece.iter().copied());
}
