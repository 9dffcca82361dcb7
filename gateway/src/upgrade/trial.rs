//! What a client's first bytes get, decided as a shard decides it, but without a client: for tools that throw bytes at it.

use pushgate_protocol::auth::Apps;

use super::{
    answer::Answer,
    not_a_request,
    request::Request,
    route::{Decision, Offer, decide},
};
use crate::config::Origins;

/// What becomes of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The request is not whole yet.
    More,
    /// It is answered with these bytes and closed.
    Answer(Vec<u8>),
    /// It becomes a session, or an echo.
    Upgraded {
        /// The 101.
        preface: Vec<u8>,
        /// What came after the request.
        early: Vec<u8>,
        /// The session's user; an echo has none.
        user: Option<String>,
    },
}

/// Decides at `now_s` (Unix seconds), for a gateway that serves these apps, echoes and compresses.
pub fn first_bytes(bytes: &[u8], head_bytes_max: usize, apps: &Apps, now_s: u64) -> Outcome {
    let answer = |answer: Answer| Outcome::Answer(answer.encode());
    match Request::parse(bytes.to_vec(), head_bytes_max).map_err(not_a_request) {
        Err(refusal) => answer(refusal),
        Ok(Err(_)) => Outcome::More,
        Ok(Ok(request)) => match decide(
            &request,
            Offer {
                apps,
                origins: &Origins::default(),
                echo: true,
                compression: true,
                page: None,
                locator: None,
                draining: false,
            },
            now_s,
        ) {
            Decision::Answer(refusal) => answer(refusal),
            Decision::Session(open) => Outcome::Upgraded {
                preface: open.preface,
                early: open.early,
                user: Some(open.user.as_str().to_owned()),
            },
            Decision::Echo(open) => Outcome::Upgraded { preface: open.preface, early: open.early, user: None },
        },
    }
}
