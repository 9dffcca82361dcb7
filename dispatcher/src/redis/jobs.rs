//! Commands of a batch on their way to one server of a cluster, and which of them are sent elsewhere.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    connection::Answer,
    failure::unavailable,
    server::Server,
    slots::{self, Elsewhere},
    wire::{Commands, Replies, Reply, each},
};
use crate::{limits, seams::StoreError};

/// Commands for one connection of one server.
pub(super) struct Job {
    pub(super) server: Arc<Server>,
    pub(super) at: usize,
    /// Each is led in by `ASKING`: the server does not have the slot yet.
    pub(super) asking: bool,
    pub(super) commands: Commands,
    /// Which command of the batch each is.
    pub(super) which: Vec<usize>,
}

/// A job that was sent, and its commands as they were.
pub(super) struct Sent {
    pub(super) server: Arc<Server>,
    pub(super) at: usize,
    pub(super) asking: bool,
    pub(super) bytes: Bytes,
    pub(super) which: Vec<usize>,
    /// Replicas that must have it; above 0 the last answer is that of `WAIT`.
    pub(super) replicas: u32,
}

/// A command that was sent elsewhere.
pub(super) struct Again {
    pub(super) which: usize,
    pub(super) at: usize,
    pub(super) command: Bytes,
    pub(super) to: Elsewhere,
}

impl Job {
    pub(super) fn new(server: &Arc<Server>, at: usize, asking: bool) -> Self {
        Self { server: Arc::clone(server), at, asking, commands: Commands::default(), which: Vec::new() }
    }

    pub(super) fn add(&mut self, which: usize, command: &[u8]) {
        if self.asking {
            self.commands.command(1).arg("ASKING");
        }
        self.commands.add_written(command);
        self.which.push(which);
    }

    pub(super) async fn send(mut self, replicas: u32) -> (Sent, Result<Answer, StoreError>) {
        if replicas > 0 {
            self.commands.wait(replicas, limits::REDIS_WAIT_MS);
        }
        let Self { server, at, asking, commands, which } = self;
        let count = commands.len();
        let bytes = Bytes::from(commands.into_bytes());
        let answer = server.ask(at, bytes.clone(), count, replicas).await;
        (Sent { server, at, asking, bytes, which, replicas }, answer)
    }
}

impl Sent {
    /// The answers to those commands that have run; the others are put into `again`.
    pub(super) fn sort(&self, answer: Answer, again: &mut Vec<Again>) -> Result<Answer, StoreError> {
        if !answer.failed {
            self.server.up();
            if !self.asking {
                return Ok(answer);
            }
        }
        let step = 1 + usize::from(self.asking);
        let pieces = answer.pieces();
        let own = |n: usize| n * step + step - 1;
        let mut come = Vec::with_capacity(self.which.len());
        let mut commands = each(&self.bytes).skip(step - 1).step_by(step);
        for (n, which) in self.which.iter().enumerate() {
            let (Some(piece), Some(command)) = (pieces.get(own(n)), commands.next()) else {
                return Err(unavailable(format!("{}: answers are missing", self.server.address())));
            };
            let Some(Reply::Error(text)) = Replies::of(piece, 1).next() else {
                come.push(piece.clone());
                continue;
            };
            match self.server.fixed().and_then(|address| slots::elsewhere(text, address)) {
                Some(to) => {
                    again.push(Again { which: *which, at: self.at, command: self.bytes.slice_ref(command.bytes), to })
                }
                None => return Err(self.server.refused(String::from_utf8_lossy(text).into_owned())),
            }
        }
        // Those that have run count only with their replicas, wherever the others are sent.
        if self.replicas > 0 && !come.is_empty() {
            let told = pieces.get(self.which.len() * step).and_then(|wait| Replies::of(wait, 1).next());
            self.server.copied(told, self.replicas)?;
        }
        Ok(Answer::of(&come))
    }
}
