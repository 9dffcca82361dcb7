//! Lines and header fields of a report.

use crate::limits::{BOUNCE_FIELD_BYTES_MAX, BOUNCE_FIELDS_MAX, BOUNCE_TEXT_BYTES_MAX};

/// Lines that end with LF or CRLF.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    whole: usize,
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a [u8]) -> Self {
        Self { whole: text.len(), rest: text }
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next line without its end, and where it begins.
    pub(super) fn next_at(&mut self) -> Option<(usize, &'a [u8])> {
        if self.rest.is_empty() {
            return None;
        }
        let at = self.whole - self.rest.len();
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let line = &self.rest[..end.unwrap_or(self.rest.len())];
        self.rest = &self.rest[end.map_or(self.rest.len(), |end| end + 1)..];
        Some((at, line.strip_suffix(b"\r").unwrap_or(line)))
    }
}

/// Header fields up to an empty line: the first [`BOUNCE_FIELDS_MAX`], each up to [`BOUNCE_FIELD_BYTES_MAX`].
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, Vec<u8>)>);

impl Fields {
    /// Reads them, and the empty line behind them.
    pub(super) fn read(lines: &mut Lines<'_>) -> Self {
        let mut fields = Self::default();
        let mut beyond = false;
        while let Some((_, line)) = lines.next_at().filter(|(_, line)| !line.is_empty()) {
            match (line[0], fields.0.last_mut()) {
                (b' ' | b'\t', Some((_, value))) if !beyond => append(value, line),
                _ => {
                    let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
                    beyond = fields.0.len() == BOUNCE_FIELDS_MAX;
                    let name = String::from_utf8_lossy(&line[..colon]).trim().to_ascii_lowercase();
                    if !beyond && name.len() <= BOUNCE_TEXT_BYTES_MAX {
                        let mut value = Vec::new();
                        append(&mut value, &line[colon + 1..]);
                        fields.0.push((name, value));
                    }
                }
            }
        }
        fields
    }

    /// The value of the first of this name, in small letters, on one line.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        Some(String::from_utf8_lossy(value).trim().to_owned())
    }
}

fn append(value: &mut Vec<u8>, line: &[u8]) {
    let room = BOUNCE_FIELD_BYTES_MAX.saturating_sub(value.len());
    value.extend_from_slice(&line[..line.len().min(room)]);
}

/// A parameter of a `Content-Type`, without its quotes.
pub(super) fn parameter(value: &str, name: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (key, value) = rest.split_once('=')?;
        // What stands before is a parameter without a value.
        let key = key.rsplit(';').next().unwrap_or(key).trim();
        let value = value.trim_start();
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_at(value.find(';').unwrap_or(value.len())),
        };
        if key.eq_ignore_ascii_case(name) {
            return Some(value.trim_end().to_owned());
        }
        rest = after;
    }
}

/// What stands before a comment in brackets.
pub(super) fn without_comment(value: &str) -> &str {
    value.split('(').next().unwrap_or_default().trim()
}

/// A Message-ID with its brackets.
pub(super) fn bare(value: &str) -> Option<String> {
    let (_, rest) = value.split_once('<')?;
    let (id, _) = rest.split_once('>')?;
    let sound = !id.is_empty() && id.len() <= BOUNCE_FIELD_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_graphic());
    sound.then(|| format!("<{id}>"))
}
