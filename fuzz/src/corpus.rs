//! Inputs in a text file, one a line, bytes that are not printable ASCII escaped: to be read and compared by people.

use std::{fs, io, path::Path};

/// The inputs of a file.
pub(crate) fn read(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let text = fs::read_to_string(path)?;
    let bad = |line: usize| {
        io::Error::new(io::ErrorKind::InvalidData, format!("line {} is not escaped as it should", line + 1))
    };
    text.lines().enumerate().map(|(n, line)| unescape(line).ok_or_else(|| bad(n))).collect()
}

/// Writes inputs, shortest first.
pub(crate) fn write(path: &Path, inputs: &[Vec<u8>]) -> io::Result<()> {
    let mut inputs: Vec<_> = inputs.to_vec();
    inputs.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    let lines: String = inputs.iter().map(|input| escape(input) + "\n").collect();
    fs::write(path, lines)
}

/// One input as a line.
pub(crate) fn escape(input: &[u8]) -> String {
    let mut line = String::with_capacity(input.len());
    for &byte in input {
        match byte {
            b'\\' => line.push_str("\\\\"),
            b'\n' => line.push_str("\\n"),
            b'\r' => line.push_str("\\r"),
            b' '..=b'~' => line.push(byte as char),
            _ => line.push_str(&format!("\\x{byte:02x}")),
        }
    }
    line
}

/// The input of a line; `None` if it is not escaped as it should.
pub(crate) fn unescape(line: &str) -> Option<Vec<u8>> {
    let mut input = Vec::with_capacity(line.len());
    let mut rest = line.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            input.push(byte);
            continue;
        }
        let (&kind, after) = rest.split_first()?;
        rest = after;
        match kind {
            b'\\' => input.push(b'\\'),
            b'n' => input.push(b'\n'),
            b'r' => input.push(b'\r'),
            b'x' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                input.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &rest[2..];
            }
            _ => return None,
        }
    }
    Some(input)
}
