//! Headers and body as they are signed, `relaxed/relaxed` (RFC 6376, 3.4.2 and 3.4.4): relays that fold or trim lines break nothing.

use ring::digest::{Context, Digest, SHA256};

use crate::core::smtp::stuffing::Lines;

/// The headers of a mail.
#[derive(Debug)]
pub(super) struct Head<'a> {
    fields: Vec<Field<'a>>,
}

#[derive(Debug)]
struct Field<'a> {
    name: &'a [u8],
    value: Vec<&'a [u8]>,
}

impl<'a> Head<'a> {
    /// Reads headers up to the empty line behind them.
    pub(super) fn read(lines: &mut Lines<'a>) -> Self {
        let mut fields: Vec<Field<'a>> = Vec::new();
        for line in lines.by_ref().take_while(|line| !line.is_empty()) {
            match (line.first(), fields.last_mut()) {
                (Some(b' ' | b'\t'), Some(last)) => last.value.push(line),
                _ => {
                    let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
                    let (name, value) = line.split_at(colon);
                    fields.push(Field {
                        name: name.trim_ascii_end(),
                        value: vec![value.strip_prefix(b":").unwrap_or(value)],
                    });
                }
            }
        }
        Self { fields }
    }

    /// How many of a name there are.
    pub(super) fn count(&self, name: &str) -> usize {
        self.fields.iter().filter(|field| field.is(name)).count()
    }

    /// Those of these names, in their order, in the form that is signed: of several of one name the last first. A name beyond what is
    /// there stands for nothing.
    pub(super) fn signed(&self, names: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let before = names[..at].iter().filter(|earlier| earlier.eq_ignore_ascii_case(name)).count();
            if let Some(field) = self.fields.iter().rev().filter(|field| field.is(name)).nth(before) {
                out.extend(field.name.iter().map(u8::to_ascii_lowercase));
                out.push(b':');
                relaxed(&mut out, field.value.iter().copied());
                out.extend_from_slice(b"\r\n");
            }
        }
        out
    }
}

impl Field<'_> {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// A header's value on one line, its white space single, none at its ends.
pub(super) fn relaxed<'a>(out: &mut Vec<u8>, lines: impl Iterator<Item = &'a [u8]>) {
    let mut any = false;
    for word in lines.flat_map(words) {
        if any {
            out.push(b' ');
        }
        any = true;
        out.extend_from_slice(word);
    }
}

/// What stands between white space, which is spaces and tabs alone.
fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty())
}

/// A body being hashed.
pub(super) struct Body {
    hash: Context,
    /// Empty lines that count if another line follows.
    empty: usize,
    line: Vec<u8>,
}

impl Default for Body {
    fn default() -> Self {
        Self { hash: Context::new(&SHA256), empty: 0, line: Vec::new() }
    }
}

impl Body {
    /// Takes a line.
    pub(super) fn line(&mut self, line: &[u8]) {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let end = line.iter().rposition(|byte| !blank(byte)).map_or(0, |last| last + 1);
        if end == 0 {
            self.empty += 1;
            return;
        }
        for _ in 0..std::mem::take(&mut self.empty) {
            self.hash.update(b"\r\n");
        }
        let line = &line[..end];
        // Most lines have single spaces within and need no copy.
        let plain = !blank(&line[0]) && !line.contains(&b'\t') && !line.windows(2).any(|pair| pair == b"  ");
        if plain {
            self.hash.update(line);
        } else {
            self.line.clear();
            if blank(&line[0]) {
                self.line.push(b' ');
            }
            relaxed(&mut self.line, std::iter::once(line));
            self.hash.update(&self.line);
        }
        self.hash.update(b"\r\n");
    }

    /// The hash of all lines; empty ones at the end do not count.
    pub(super) fn hash(self) -> Digest {
        self.hash.finish()
    }
}
