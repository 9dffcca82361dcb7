//! The Lua scripts: each change is one script call, so it happens whole or not at all.

use std::sync::LazyLock;

use pushgate_protocol::result::State;
use redis::{Cmd, Script};

use super::{batch::Batch, wire::Arguments};
use crate::states::{is_end, may_follow, may_start};

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $($file:literal)+;)*) => {
        $($(#[$doc])* pub(super) static $name: LazyLock<Source> =
            LazyLock::new(|| Source::of(concat!($(include_str!(concat!("scripts/", $file)),)+).to_owned()));)*

        /// Every script.
        pub(super) fn all() -> Vec<&'static Source> {
            vec![$(&*$name,)* &*RECORD]
        }
    };
}

scripts! {
    /// Appends to a stream.
    APPEND = "stream.lua" "append.lua";
    /// Settles a delivery.
    SETTLE = "stream.lua" "settle.lua";
    /// Tags an entry.
    TAG = "stream.lua" "tag.lua";
    /// Reads a page of a stream.
    READ = "stream.lua" "read.lua";
    /// Notes that a user has had a message to everyone.
    SEEN = "stream.lua" "seen.lua";
    /// Adds tasks.
    TASKS_ADD = "tasks_add.lua";
    /// Claims tasks that are due.
    TASKS_CLAIM = "tasks_claim.lua";
    /// Settles claimed tasks.
    TASKS_SETTLE = "tasks_place.lua" "tasks_settle.lua";
    /// Changes a task.
    TASKS_CHANGE = "tasks_place.lua" "tasks_change.lua";
    /// Counts unnamed recipients of a message.
    COUNT = "count.lua";
    /// Takes a message back.
    RECALL = "recall.lua";
    /// Reserves a message id.
    RESERVE = "reserve.lua";
    /// Confirms a reservation.
    CONFIRM = "confirm.lua";
    /// Adds addresses that are sent nothing.
    SUPPRESS = "suppress.lua";
    /// Expires, changes and tells the member list of gateways.
    MEMBERS = "members.lua";
    /// Sends to an address again.
    RELEASE = "release.lua";
}

/// Records states of a message. It begins with what is the same in every call: which states are ends, which follow which, which may be
/// first, a digit each.
pub(super) static RECORD: LazyLock<Source> = LazyLock::new(|| {
    let digit = |yes| if yes { '1' } else { '0' };
    let ends: String = State::ALL.into_iter().map(|state| digit(is_end(state))).collect();
    let pairs = State::ALL.into_iter().flat_map(|from| State::ALL.map(|to| (from, to)));
    let follows: String = pairs.map(|(from, to)| digit(may_follow(from, to))).collect();
    let starts: String = State::ALL.into_iter().map(|state| digit(may_start(state))).collect();
    let states = format!("local ends, follows, starts = '{ends}', '{follows}', '{starts}'\n");
    Source::of(states + include_str!("scripts/record.lua"))
});

/// A script and its hash.
pub(super) struct Source {
    code: String,
    hash: String,
    /// How each call of it begins, as it is sent: two arguments.
    beginning: Vec<u8>,
}

impl Source {
    fn of(code: String) -> Self {
        let hash = Script::new(&code).get_hash().to_owned();
        let beginning = format!("$7\r\nEVALSHA\r\n${}\r\n{hash}\r\n", hash.len()).into_bytes();
        Self { code, hash, beginning }
    }

    /// The command that loads it.
    pub(super) fn load(&self) -> Cmd {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(&self.code);
        load
    }

    /// The command that calls it; arguments are added to it.
    pub(super) fn call(&self, keys: &[&[u8]]) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.hash).arg(keys.len()).arg(keys);
        call
    }

    /// Begins a call of it in a batch: so many keys follow, then so many other arguments.
    pub(super) fn begin<'a>(&self, batch: &'a mut Batch, hash: u64, keys: usize, arguments: usize) -> Arguments<'a> {
        let mut call = batch.command(hash, 3 + keys + arguments);
        call.written(2, &self.beginning).number(keys as u64);
        call
    }
}
