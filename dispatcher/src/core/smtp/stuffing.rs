//! A mail as it goes over the line: lines end with CRLF, a dot that begins a line is doubled, a dot alone ends it (RFC 5321, 4.5.2).

/// The text with its final dot. A lone CR or LF becomes the end of a line: servers differ in what they take for one, and a text that
/// ends a mail for one of them could begin a command there.
pub fn stuffed(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 64 + 8);
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
        if rest[0] == b'.' {
            out.push(b'.');
        }
        out.extend_from_slice(&rest[..end]);
        out.extend_from_slice(b"\r\n");
        rest = &rest[end..];
        rest = rest
            .strip_prefix(b"\r\n")
            .or_else(|| rest.strip_prefix(b"\r"))
            .unwrap_or_else(|| rest.strip_prefix(b"\n").unwrap_or(rest));
    }
    out.extend_from_slice(b".\r\n");
    out
}

/// Bytes of the final dot's line.
pub const END: usize = 3;
