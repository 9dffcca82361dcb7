//! The Lua scripts: each change is one script call, so it happens whole or not at all.

use std::sync::LazyLock;

use redis::{Cmd, Script};

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $($file:literal)+;)*) => {
        $($(#[$doc])* pub(super) static $name: LazyLock<Source> =
            LazyLock::new(|| Source::of(concat!($(include_str!(concat!("scripts/", $file)),)+)));)*

        /// Every script.
        pub(super) fn all() -> Vec<&'static Source> {
            vec![$(&*$name),*]
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
    /// Records states of a message.
    RECORD = "record.lua";
    /// Takes a message back.
    RECALL = "recall.lua";
    /// Reserves a message id.
    RESERVE = "reserve.lua";
    /// Confirms a reservation.
    CONFIRM = "confirm.lua";
}

/// A script and its hash.
pub(super) struct Source {
    code: &'static str,
    hash: String,
}

impl Source {
    fn of(code: &'static str) -> Self {
        Self { code, hash: Script::new(code).get_hash().to_owned() }
    }

    /// The command that loads it.
    pub(super) fn load(&self) -> Cmd {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(self.code);
        load
    }

    /// The command that calls it; arguments are added to it.
    pub(super) fn call(&self, keys: &[&[u8]]) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.hash).arg(keys.len()).arg(keys);
        call
    }
}
