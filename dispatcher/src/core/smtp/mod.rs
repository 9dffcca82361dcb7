//! SMTP as a client speaks it (RFC 5321), without I/O: replies in, commands out.
//!
//! | module | owns |
//! |---|---|
//! | [`reply`] | a server's replies, read from bytes |
//! | [`opening`] | from the greeting to a connection that takes mail: EHLO, STARTTLS, AUTH |
//! | [`transfer`] | one mail over it |
//! | [`outcome`] | what a reply at a stage means for the recipient |
//! | [`stuffing`] | the mail as it goes over the line |
//!
//! Invariants:
//! - nothing that comes from a message becomes a command: an address is written only if it is one;
//! - nothing of a mail is written before the server asked for it, and the final dot after all of it;
//! - what the server says is bounded in bytes, and a reply that is none ends the connection.

pub mod opening;
pub mod outcome;
pub mod reply;
pub mod stuffing;
pub mod transfer;

#[cfg(test)]
mod tests;

/// A mail, ready to go over a line.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// The sender's address, whom bounces go to.
    pub from: Path,
    /// Whom it is for: the recipient first, then those who get copies.
    pub to: Vec<Path>,
    /// Headers and body, with the final dot: see [`stuffing::stuffed`].
    pub data: Vec<u8>,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[mail of {} bytes for {} addresses]", self.data.len(), self.to.len())
    }
}

impl Mail {
    /// Whether the server must know SMTPUTF8 (RFC 6531) to take it.
    pub fn needs_utf8(&self) -> bool {
        self.to.iter().chain([&self.from]).any(|path| !path.0.is_ascii())
    }
}

/// An address as it stands in a command, without its brackets: it cannot end the command or begin another parameter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path(String);

impl Path {
    /// The address, if it is one that may stand there.
    pub fn parse(address: &str) -> Option<Self> {
        let (local, domain) = address.rsplit_once('@')?;
        let bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | '"' | '\\' | ',' | ';');
        let sound = !local.is_empty() && !domain.is_empty() && !local.contains('@') && !address.contains(bad);
        (sound && domain.is_ascii()).then(|| Self(address.to_owned()))
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is behind the `@`.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}
