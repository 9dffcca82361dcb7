//! A server's replies (RFC 5321, 4.2), read from bytes as they come.

use crate::limits::{SMTP_LINE_BYTES_MAX, SMTP_REPLY_BYTES_MAX, SMTP_REPLY_LINES_MAX, SMTP_WORDS_BYTES_MAX};

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its three digits.
    pub code: u16,
    /// The enhanced status (RFC 3463), if the last line has one.
    pub status: Option<Status>,
    /// The text of each line, without code and status; at least one.
    pub lines: Vec<String>,
}

/// An enhanced status: `5.1.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub u16, pub u16, pub u16);

/// Bytes that are no reply: the connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line is too long, or there are too many.
    #[error("the server's reply has no end")]
    TooLong,
    /// A line is none of a reply.
    #[error("the server's reply is none of SMTP")]
    Malformed,
}

/// Takes bytes and gives replies.
#[derive(Debug, Default)]
pub struct ReplyReader {
    unread: Vec<u8>,
    lines: Vec<String>,
    code: Option<u16>,
    bytes: usize,
}

impl Reply {
    /// 2xx.
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 4xx.
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// Code and status alone: what may be told of a mail that must not be repeated.
    pub fn digits(&self) -> String {
        match self.status {
            Some(Status(a, b, c)) => format!("{} {a}.{b}.{c}", self.code),
            None => self.code.to_string(),
        }
    }

    /// What it says, on one line, bounded.
    pub fn words(&self) -> String {
        let mut words = self.digits();
        for line in self.lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()) {
            words.push(' ');
            words.extend(line.chars().map(|c| if c.is_control() { ' ' } else { c }));
            if words.len() >= SMTP_WORDS_BYTES_MAX {
                break;
            }
        }
        let mut end = words.len().min(SMTP_WORDS_BYTES_MAX);
        while !words.is_char_boundary(end) {
            end -= 1;
        }
        words.truncate(end);
        words
    }
}

impl ReplyReader {
    /// Takes what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// Whether nothing is left of what came: a server says nothing unasked.
    pub fn is_empty(&self) -> bool {
        self.unread.is_empty() && self.lines.is_empty()
    }

    /// The next whole reply. After an error nothing more is to be read.
    pub fn take(&mut self) -> Result<Option<Reply>, ReplyError> {
        loop {
            let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') else {
                return if self.unread.len() > SMTP_LINE_BYTES_MAX { Err(ReplyError::TooLong) } else { Ok(None) };
            };
            self.bytes += end + 1;
            let too_much = self.bytes > SMTP_REPLY_BYTES_MAX || self.lines.len() >= SMTP_REPLY_LINES_MAX;
            if end > SMTP_LINE_BYTES_MAX || too_much {
                return Err(ReplyError::TooLong);
            }
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            if let Some(reply) = self.line(&line)? {
                return Ok(Some(reply));
            }
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (digits, rest) = line.split_at_checked(3).ok_or(ReplyError::Malformed)?;
        let [first @ b'2'..=b'5', second @ b'0'..=b'9', third @ b'0'..=b'9'] = *digits else {
            return Err(ReplyError::Malformed);
        };
        let code = [first, second, third].iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        let (last, text) = match rest.split_first() {
            None => (true, &[][..]),
            Some((b' ', text)) => (true, text),
            Some((b'-', text)) => (false, text),
            Some(_) => return Err(ReplyError::Malformed),
        };
        if *self.code.get_or_insert(code) != code {
            return Err(ReplyError::Malformed);
        }
        self.lines.push(String::from_utf8_lossy(text).into_owned());
        if !last {
            return Ok(None);
        }
        (self.code, self.bytes) = (None, 0);
        let mut lines = std::mem::take(&mut self.lines);
        // Only where it agrees with the code: other text may begin with figures, too.
        let status = lines.last().and_then(|line| status(line)).filter(|status| status.0 == code / 100);
        if status.is_some() {
            for line in &mut lines {
                if self::status(line).is_some() {
                    *line = line.split_once(' ').map_or_else(String::new, |(_, text)| text.to_owned());
                }
            }
        }
        Ok(Some(Reply { code, status, lines }))
    }
}

/// The status that a text begins with.
fn status(text: &str) -> Option<Status> {
    let word = text.split([' ', '\t']).next()?;
    let mut parts = word.split('.').map(|part| {
        let digits = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse().ok()).flatten()
    });
    let status = Status(parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(status)
}
