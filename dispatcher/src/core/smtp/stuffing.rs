//! A mail as it goes over the line: lines end with CRLF, a dot that begins a line is doubled, a dot alone ends it (RFC 5321, 4.5.2).

use memchr::memchr2;

/// The lines of a text, without their ends. A lone CR or LF ends one, too: servers differ in what they take for an end, and a text that
/// ends a mail for one of them could begin a command there.
#[derive(Debug, Clone)]
pub struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    /// Those of a text.
    pub fn of(text: &'a [u8]) -> Self {
        Self(text)
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = memchr2(b'\r', b'\n', self.0).unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at(end);
        self.0 = rest
            .strip_prefix(b"\r\n")
            .or_else(|| rest.strip_prefix(b"\r"))
            .unwrap_or_else(|| rest.strip_prefix(b"\n").unwrap_or(rest));
        Some(line)
    }
}

/// The text with its final dot, behind what is in `before`, of which no line begins with a dot.
pub fn stuffed(before: Vec<u8>, text: &[u8]) -> Vec<u8> {
    let mut out = before;
    out.reserve(text.len() + text.len() / 64 + 8);
    for line in Lines::of(text) {
        if line.first() == Some(&b'.') {
            out.push(b'.');
        }
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

/// Bytes of the final dot's line.
pub const END: usize = 3;
