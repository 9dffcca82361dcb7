//! The protocol of Redis (RESP 2) without I/O: commands are written behind one another into one buffer, answers are read where they lie.
//!
//! A push costs several commands, and most answers are a nil or a number. Written and read like this, one costs some tens of nanoseconds
//! and no allocation; a command and a value of the crate `redis` each cost several.

use redis::{Cmd, Pipeline, Value};

/// Commands, as they are sent.
#[derive(Debug, Default)]
pub(super) struct Commands {
    bytes: Vec<u8>,
    count: usize,
}

/// Takes the arguments of one command, its name first.
pub(super) struct Arguments<'a> {
    bytes: &'a mut Vec<u8>,
    missing: usize,
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply<'a> {
    Nil,
    Int(i64),
    /// Words of the server, such as `OK`.
    Status(&'a [u8]),
    Bulk(&'a [u8]),
    /// Its code is the first word.
    Error(&'a [u8]),
    Array(Replies<'a>),
}

/// Answers, one after another: those to several commands, or those within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Replies<'a> {
    bytes: &'a [u8],
    left: usize,
}

/// Finds the ends of answers in bytes that come in pieces.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// Bytes looked at.
    at: usize,
    /// Values of the answer under way that are not complete.
    open: usize,
    failed: bool,
}

/// What came is no answer of Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// A line that begins a value: its kind, its text, and its length with the end of the line.
type Head<'a> = (u8, &'a [u8], usize);

impl Commands {
    /// None, with room for so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), count: 0 }
    }

    /// Begins a command of so many arguments, its name counted.
    pub(super) fn command(&mut self, arguments: usize) -> Arguments<'_> {
        self.count += 1;
        head(&mut self.bytes, b'*', arguments);
        Arguments { bytes: &mut self.bytes, missing: arguments }
    }

    /// Adds a command made elsewhere.
    pub(super) fn add(&mut self, command: &Cmd) {
        self.count += 1;
        command.write_packed_command(&mut self.bytes);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Adds a command as it is sent.
    pub(super) fn add_written(&mut self, written: &[u8]) {
        self.count += 1;
        self.bytes.extend_from_slice(written);
    }

    /// Has whoever takes these say how many replicas have them.
    pub(super) fn wait(&mut self, replicas: u32, patience_ms: u64) {
        self.command(3).arg("WAIT").number(replicas.into()).number(patience_ms);
    }
}

/// Each of the commands that lie behind one another.
pub(super) fn each(mut commands: &[u8]) -> impl Iterator<Item = Written<'_>> {
    std::iter::from_fn(move || {
        let written = Written::first(commands)?;
        commands = &commands[written.bytes.len()..];
        Some(written)
    })
}

/// A command among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written<'a> {
    /// All of it.
    pub(super) bytes: &'a [u8],
    /// What says which node of a cluster has its data: of a script the first key, else the first argument.
    pub(super) key: &'a [u8],
}

impl<'a> Written<'a> {
    fn first(bytes: &'a [u8]) -> Option<Self> {
        let (_, text, mut at) = line_of(bytes).ok()??;
        let (mut script, mut key) = (false, &bytes[..0]);
        for n in 0..number(text).ok()? {
            let (_, text, used) = line_of(&bytes[at..]).ok()??;
            let argument = bytes.get(at + used..)?.get(..usize::try_from(number(text).ok()?).ok()?)?;
            match n {
                0 => script = argument == b"EVALSHA",
                1 if !script => key = argument,
                3 if script => key = argument,
                _ => {}
            }
            at += used + argument.len() + 2;
        }
        Some(Self { bytes: bytes.get(..at)?, key })
    }
}

impl From<&Pipeline> for Commands {
    fn from(pipeline: &Pipeline) -> Self {
        Self { bytes: pipeline.get_packed_pipeline(), count: pipeline.len() }
    }
}

impl Arguments<'_> {
    /// One argument.
    pub(super) fn arg(&mut self, argument: impl AsRef<[u8]>) -> &mut Self {
        self.parts(&[argument.as_ref()])
    }

    /// One argument in parts.
    pub(super) fn parts(&mut self, parts: &[&[u8]]) -> &mut Self {
        self.missing -= 1;
        head(self.bytes, b'$', parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.bytes.extend_from_slice(b"\r\n");
        self
    }

    /// So many arguments that were written elsewhere.
    pub(super) fn written(&mut self, arguments: usize, bytes: &[u8]) -> &mut Self {
        self.missing -= arguments;
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// One argument, in decimal digits.
    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        let mut digits = [0; DIGITS];
        let from = write_digits(number, &mut digits);
        self.arg(&digits[from..])
    }
}

impl Drop for Arguments<'_> {
    fn drop(&mut self) {
        debug_assert!(self.missing == 0 || std::thread::panicking(), "{} arguments are missing", self.missing);
    }
}

/// Of the largest number.
const DIGITS: usize = 20;

/// Writes at the end of `digits`; answers where they begin.
fn write_digits(mut number: u64, digits: &mut [u8; DIGITS]) -> usize {
    let mut at = DIGITS;
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return at;
        }
    }
}

fn head(bytes: &mut Vec<u8>, kind: u8, length: usize) {
    // Nearly all are so short.
    if length < 100 {
        let (tens, ones) = (b'0' + (length / 10) as u8, b'0' + (length % 10) as u8);
        let line = [kind, tens, ones, b'\r', b'\n'];
        return match length {
            0..10 => bytes.extend_from_slice(&[kind, ones, b'\r', b'\n']),
            _ => bytes.extend_from_slice(&line),
        };
    }
    let mut digits = [0; DIGITS];
    let from = write_digits(length as u64, &mut digits);
    bytes.push(kind);
    bytes.extend_from_slice(&digits[from..]);
    bytes.extend_from_slice(b"\r\n");
}

impl Scanner {
    /// The next answer that is complete in `bytes`, which begin where those of the last call did: whether it is an error. `None` if
    /// more must come.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<Option<bool>, Malformed> {
        loop {
            let rest = bytes.get(self.at..).ok_or(Malformed)?;
            let Some((kind, text, mut used)) = line_of(rest)? else { return Ok(None) };
            if self.open == 0 {
                (self.open, self.failed) = (1, kind == b'-');
            }
            match kind {
                b'+' | b'-' => {}
                b':' => drop(number(text)?),
                b'$' => {
                    if let Ok(length) = usize::try_from(number(text)?) {
                        used = used.checked_add(length).and_then(|used| used.checked_add(2)).ok_or(Malformed)?;
                        if rest.len() < used {
                            return Ok(None);
                        }
                        if !rest[..used].ends_with(b"\r\n") {
                            return Err(Malformed);
                        }
                    }
                }
                b'*' => {
                    let values = usize::try_from(number(text)?).unwrap_or(0);
                    self.open = self.open.checked_add(values).ok_or(Malformed)?;
                }
                _ => return Err(Malformed),
            }
            self.at += used;
            self.open -= 1;
            if self.open == 0 {
                return Ok(Some(self.failed));
            }
        }
    }

    /// Bytes looked at: after an answer, those up to its end.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The bytes up to the end of the last answer are taken away.
    pub(super) fn taken(&mut self) {
        debug_assert!(self.open == 0, "an answer is taken when it is complete");
        self.at = 0;
    }
}

impl<'a> Replies<'a> {
    /// So many answers; a [`Scanner`] found that they are complete.
    pub(super) fn of(bytes: &'a [u8], count: usize) -> Self {
        Self { bytes, left: count }
    }
}

impl<'a> Iterator for Replies<'a> {
    type Item = Reply<'a>;

    fn next(&mut self) -> Option<Reply<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (kind, text, used) = line_of(self.bytes).ok()??;
        let rest = &self.bytes[used..];
        let (reply, used) = match kind {
            b'+' => (Reply::Status(text), 0),
            b'-' => (Reply::Error(text), 0),
            b':' => (Reply::Int(number(text).ok()?), 0),
            b'$' => match usize::try_from(number(text).ok()?) {
                Ok(length) => (Reply::Bulk(rest.get(..length)?), length + 2),
                Err(_) => (Reply::Nil, 0),
            },
            _ => match usize::try_from(number(text).ok()?) {
                Ok(left) => {
                    let mut scanner = Scanner::default();
                    for _ in 0..left {
                        scanner.next(rest).ok()??;
                    }
                    (Reply::Array(Replies { bytes: &rest[..scanner.at], left }), scanner.at)
                }
                Err(_) => (Reply::Nil, 0),
            },
        };
        self.bytes = rest.get(used..)?;
        Some(reply)
    }
}

impl Reply<'_> {
    /// As the crate `redis` has it.
    pub(super) fn to_value(self) -> Value {
        match self {
            Self::Nil => Value::Nil,
            Self::Int(number) => Value::Int(number),
            Self::Status(b"OK") => Value::Okay,
            Self::Status(text) | Self::Error(text) => Value::SimpleString(String::from_utf8_lossy(text).into_owned()),
            Self::Bulk(bytes) => Value::BulkString(bytes.to_vec()),
            Self::Array(replies) => Value::Array(replies.map(Reply::to_value).collect()),
        }
    }
}

/// The line at the start, if it is complete.
fn line_of(bytes: &[u8]) -> Result<Option<Head<'_>>, Malformed> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\r') else { return Ok(None) };
    match bytes.get(end + 1) {
        None => Ok(None),
        Some(b'\n') if end > 0 => Ok(Some((bytes[0], &bytes[1..end], end + 2))),
        Some(_) => Err(Malformed),
    }
}

fn number(text: &[u8]) -> Result<i64, Malformed> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return Err(Malformed);
    }
    let mut number: i64 = 0;
    for digit in digits {
        let digit = i64::from(digit.wrapping_sub(b'0'));
        if digit > 9 {
            return Err(Malformed);
        }
        // Built downwards: there is one more negative number than there are positive ones.
        number = number.checked_mul(10).and_then(|number| number.checked_sub(digit)).ok_or(Malformed)?;
    }
    if negative { Ok(number) } else { number.checked_neg().ok_or(Malformed) }
}

#[cfg(test)]
mod tests;
