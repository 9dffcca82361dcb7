//! Stands for the accounts that there are not: a message for one of them ends, with the reason.

use pushgate_protocol::message::Channel;

use super::Provider;
use crate::{
    core::account::{Answer, Parcel, Rejection},
    seams::BoxFuture,
};

/// The provider of what names no account that is configured.
#[derive(Debug)]
pub struct Absent(pub Channel);

impl Provider for Absent {
    fn kind(&self) -> Channel {
        self.0
    }

    fn deliver<'a>(&'a self, _: &'a Parcel) -> BoxFuture<'a, Answer> {
        let detail = format!("no such account of the channel {} is configured", self.0.as_str());
        Box::pin(async { Answer::Rejected { why: Rejection::Policy, detail } })
    }
}
