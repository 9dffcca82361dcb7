//! Several processes that make one run, each on a machine of its own or not, with one report.
//!
//! The leader listens; joiners connect, prove that they have the shared key, and are told what is theirs: a share of the scenario, a run number, source
//! addresses, and all that it takes to connect and send (over the sealed connection alone). Each measures how far its clock is from the
//! leader's, and from then on runs by the leader's. Users are one process's with all their clients, who also sends to them; to everybody the
//! leader sends, and tells how many. Phases begin at one time, told by the leader once the clients of all are there. Each second a process
//! tells the leader what it saw, histograms and all; so of one that dies everything up to its last second is known, and nothing that
//! is merged has lost precision.
//!
//! | module | owns |
//! |---|---|
//! | `key` | the shared key and its proof |
//! | `sealed` | frames |
//! | `message` | what is said |
//! | `offset` | how far two clocks are apart |
//! | `lobby` | the leader, until all are there |
//! | `leading` | the leader, from then on |
//! | `joined` | a joiner |
//! | `seconds` | seconds of several processes as one |

mod joined;
mod key;
mod leading;
mod lobby;
mod message;
mod offset;
mod sealed;
mod seconds;
#[cfg(test)]
mod tests;

use std::io;

pub use self::{
    joined::{Joined, Joining},
    key::SharedKey,
    leading::{Joint, Leading, Process},
    lobby::Lobby,
    message::{Plan, Who},
    offset::Offset,
};
use crate::{
    limits::{JOIN_FRAME_BYTES_MAX, JOIN_KEY_BYTES_MIN, JOIN_SILENCE},
    scenario::ScenarioError,
};

/// Why processes do not make a run together. The connection that it is about is over.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The connection failed or ended.
    #[error("{}", said(.0))]
    Io(#[from] io::Error),
    /// A key that can be guessed.
    #[error("the shared key has {0} bytes, must have at least {JOIN_KEY_BYTES_MIN}")]
    ShortKey(usize),
    /// The other end has another key.
    #[error("the shared key is another than the leader's")]
    WrongKey,
    /// The other end is not a process of this kind or version.
    #[error("who answers there does not lead or join runs of this version")]
    Stranger,
    /// A frame was changed on its way.
    #[error("a frame is damaged")]
    Damaged,
    /// A frame is too long.
    #[error("a frame has {0} bytes, at most {JOIN_FRAME_BYTES_MAX} are taken")]
    Long(usize),
    /// A frame holds something else than a message.
    #[error("a message cannot be read: {0}")]
    Message(String),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// The leader does not take this process.
    #[error("the leader refuses: {0}")]
    Refused(String),
    /// Too few came.
    #[error("{0} of {1} processes came in {2:?}")]
    Few(u32, u32, std::time::Duration),
    /// It was to end before it began.
    #[error("ended before the run began")]
    Stopped,
    /// The scenario cannot be shared out.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
}

/// What the end of a connection means.
fn said(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!("it said nothing for {JOIN_SILENCE:?}"),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "its connection ended".into()
        }
        _ => error.to_string(),
    }
}
