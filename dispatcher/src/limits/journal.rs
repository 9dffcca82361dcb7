//! Bounds of the journals of what was handed to providers.

use pushgate_protocol::limits::{APP_ID_BYTES_MAX, USER_ID_BYTES_MAX};

use super::{ACCOUNT_CONCURRENCY_MAX, ACCOUNTS_MAX, FINISH_BACKLOG};

/// Where journals stand in the data directory.
pub const JOURNAL_FOLDER: &str = "taken";
/// Longest record of a journal, bytes: kind, length, checksum, key, app and recipient.
pub const JOURNAL_RECORD_BYTES_MAX: usize = 1 + 2 + 4 + 16 + 1 + APP_ID_BYTES_MAX + 1 + USER_ID_BYTES_MAX;
/// A place in a journal, bytes: a page of the system's memory holds whole ones, so none is half written by a process that is killed.
pub const JOURNAL_PLACE_BYTES: usize = 512;
/// Places of a journal: for all that may be under way in the accounts of both channels, and all that may wait to be marked. What finds none is
/// not noted, which is counted.
pub const JOURNAL_PLACES_MAX: usize = FINISH_BACKLOG + 2 * ACCOUNTS_MAX * ACCOUNT_CONCURRENCY_MAX;
/// Largest journal, bytes: as many places as were needed at once, behind the place of its first bytes.
pub const JOURNAL_BYTES_MAX: usize = (1 + JOURNAL_PLACES_MAX) * JOURNAL_PLACE_BYTES;
/// How often it is looked for journals of other processes that were killed meanwhile, milliseconds. Kafka gives nobody else what they were at
/// for longer than that (`session.timeout.ms`, 10 s).
pub const JOURNAL_LOOK_MS: u64 = 2_000;

const _: () = assert!(
    JOURNAL_RECORD_BYTES_MAX <= JOURNAL_PLACE_BYTES && 4_096 % JOURNAL_PLACE_BYTES == 0,
    "a place holds a record, however long its names are"
);
const _: () = assert!(JOURNAL_PLACES_MAX < u32::MAX as usize, "a place has a number");
