//! What gateways say to each other about guests: sessions that one gateway, the *host*, serves for a user that a shard of
//! another owns.
//!
//! The host opens the link, with `Handshake::Guest`. To the owner it is what a shard is to a dispatcher: it gets
//! [`ToGateway`](super::ToGateway) and answers with [`ToDispatcher`]; two frames come on top. `Online` registers the user, or
//! repeats that, and asks for what its stream holds.

use super::{
    ToDispatcher,
    bytes::{FrameError, Reader, Writer},
    kind,
};

/// What a host says to the shard that owns the users of its guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToOwner<'a> {
    /// What a shard says to a dispatcher.
    Said(ToDispatcher<'a>),
    /// The user has had what its stream held: pushes may come at once, in order.
    Live {
        /// The app.
        app: &'a str,
        /// The user.
        user: &'a str,
        /// From the host's `Online`.
        episode: u64,
    },
    /// No session of the user is there any more, or another gateway owns it now. What was sent and not answered never will be.
    Left {
        /// The app.
        app: &'a str,
        /// The user.
        user: &'a str,
    },
}

impl<'a> ToOwner<'a> {
    /// Appends the frame, length word first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Said(said) => said.encode(out),
            Self::Live { app, user, episode } => {
                Writer::begin(out, kind::LIVE).text(app).text(user).u64(*episode).finish();
            }
            Self::Left { app, user } => Writer::begin(out, kind::LEFT).text(app).text(user).finish(),
        }
    }

    /// Reads a frame's body as [`super::take_frame`] returns it.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut r = Reader::new(body)?;
        let frame = match r.kind() {
            kind::LIVE => Self::Live { app: r.text("app")?, user: r.text("user")?, episode: r.u64()? },
            kind::LEFT => Self::Left { app: r.text("app")?, user: r.text("user")? },
            _ => return ToDispatcher::decode(body).map(Self::Said),
        };
        r.end(frame)
    }
}
