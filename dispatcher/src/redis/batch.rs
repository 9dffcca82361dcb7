//! Commands that are run together, spread over the connections, and their answers in the order they were asked.

use redis::Cmd;

use super::{
    connection::Answer,
    wire::{Arguments, Commands, Replies, Reply},
};
use crate::limits;

/// Commands to run together. Those of one hash are run in order.
pub(super) struct Batch {
    parts: Parts,
    places: Vec<u16>,
}

/// The commands by connection.
pub(super) struct Parts {
    /// The connection of the first part.
    pub(super) first: usize,
    pub(super) commands: Vec<Commands>,
}

/// The answers to a batch.
pub(super) struct Answers {
    /// By part.
    answers: Vec<Option<Answer>>,
    /// The part of each command.
    places: Vec<u16>,
}

const _: () = assert!(limits::REDIS_CONNECTIONS <= u16::MAX as usize, "parts are counted in u16");

impl Batch {
    /// For so many commands, mostly of so many bytes: over as many connections as Redis reads them from in one turn.
    pub(super) fn of(commands: usize, bytes_usual: usize) -> Self {
        let turns = (commands * bytes_usual).div_ceil(limits::REDIS_PART_BYTES).next_power_of_two();
        let parts = turns.min(limits::REDIS_CONNECTIONS);
        // One part gets more than another.
        let bytes = commands * bytes_usual / parts * 5 / 4;
        let parts = Parts { first: 0, commands: (0..parts).map(|_| Commands::with_capacity(bytes)).collect() };
        Self { parts, places: Vec::with_capacity(commands) }
    }

    /// Begins a command of so many arguments.
    pub(super) fn command(&mut self, hash: u64, arguments: usize) -> Arguments<'_> {
        self.part(hash).command(arguments)
    }

    /// Adds a command made elsewhere.
    pub(super) fn add(&mut self, hash: u64, command: &Cmd) {
        self.part(hash).add(command);
    }

    fn part(&mut self, hash: u64) -> &mut Commands {
        let parts = self.parts.commands.len();
        if parts < limits::REDIS_CONNECTIONS && self.places.is_empty() {
            self.parts.first = (hash % limits::REDIS_CONNECTIONS as u64) as usize;
        }
        let part = (hash % parts as u64) as usize;
        self.places.push(part as u16);
        &mut self.parts.commands[part]
    }

    pub(super) fn into_parts(self) -> (Parts, Vec<u16>) {
        (self.parts, self.places)
    }
}

impl Answers {
    pub(super) fn new(answers: Vec<Option<Answer>>, places: Vec<u16>) -> Self {
        Self { answers, places }
    }

    /// The answers in the order asked.
    pub(super) fn iter(&self) -> impl Iterator<Item = Reply<'_>> {
        let none = Replies::of(&[], 0);
        let mut parts: Vec<Replies<'_>> =
            self.answers.iter().map(|answer| answer.as_ref().map_or(none, Answer::replies)).collect();
        self.places.iter().map_while(move |part| parts.get_mut(usize::from(*part))?.next())
    }
}
