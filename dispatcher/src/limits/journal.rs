//! Bounds of the journals of what providers took.

use pushgate_protocol::limits::{APP_ID_BYTES_MAX, USER_ID_BYTES_MAX};

use super::{ACCOUNT_CONCURRENCY_MAX, FINISH_BACKLOG};

/// Where journals stand in the data directory.
pub const JOURNAL_FOLDER: &str = "taken";
/// Longest record of a journal, bytes: length, checksum, key, app and recipient.
pub const JOURNAL_RECORD_BYTES_MAX: usize = 2 + 4 + 16 + 1 + APP_ID_BYTES_MAX + 1 + USER_ID_BYTES_MAX;
/// From so many bytes on a part of a journal is left for the other one, if nothing there is needed any more.
pub const JOURNAL_PART_BYTES: u64 = 256 << 10;
/// Largest part of a journal, bytes; what would pass it is not noted, which is counted, and comes again if the process is killed then.
pub const JOURNAL_PART_BYTES_MAX: u64 = 8 << 20;

const _: () = assert!(
    JOURNAL_PART_BYTES as usize + (FINISH_BACKLOG + ACCOUNT_CONCURRENCY_MAX) * JOURNAL_RECORD_BYTES_MAX
        <= JOURNAL_PART_BYTES_MAX as usize,
    "all that may wait to be marked fits, however long its names are"
);
