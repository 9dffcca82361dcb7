//! Bounds of the schedule.

/// Shards of the schedule; all nodes of an installation have the same number. Each has one hash tag in Redis.
pub const SCHEDULE_SHARDS: u16 = 16;
/// Loops of a dispatcher that claim, send and settle tasks, each those of its own shards.
pub const SCHEDULE_LOOPS: usize = 4;
/// Tasks of one shard claimed at once. A loop has at most so many times its shards in flight.
pub const CLAIM_TASKS_MAX: usize = 1_000;
/// Bytes of messages claimed from one shard at once; one task may pass it.
pub const CLAIM_BYTES_MAX: usize = 4 << 20;
/// Longest lease of a claimed task, milliseconds: a dispatcher that dies delays what it held by at most this.
pub const LEASE_MS_MAX: u64 = 5_000;
/// Shortest lease, milliseconds: sending takes a while.
pub const LEASE_MS_MIN: u64 = 500;
/// A lease that ends later than this from now was given before the clock was set back, milliseconds.
pub const LEASE_DOUBT_MS: u64 = 2 * LEASE_MS_MAX;
/// How often a dispatcher looks at the schedule whatever it knows, milliseconds: another may have added a task and died.
pub const SCHEDULE_POLL_MS: u64 = 1_000;
/// First pause of a loop after a store or log failed, milliseconds; it doubles up to [`SCHEDULE_POLL_MS`].
pub const SCHEDULE_RETRY_MS: u64 = 50;
/// Settlements of one task whose holder finds it changed each time; then its lease runs out.
pub const SETTLE_ATTEMPTS_MAX: usize = 4;
/// A time that passed longer ago than this was missed, milliseconds.
pub const MISFIRE_GRACE_MS: u64 = 30_000;
/// Missed times of one task that are caught up with: the latest.
pub const CATCH_UP_MAX: u64 = 1_000;
/// Missed times of one task that are sent for one claim.
pub const FIRINGS_PER_CLAIM: usize = 16;
/// Occurrences that a task remembers.
pub const RECENT_OCCURRENCES: usize = 10;
/// Tasks that ended and are kept to be shown and sent again, of each shard; the oldest leave first.
pub const ENDED_TASKS_MAX: usize = 1_000;
/// How long they are kept, milliseconds.
pub const ENDED_TASK_KEEP_MS: u64 = 24 * 60 * 60 * 1_000;
/// Messages larger than this leave their tasks at the end, bytes.
pub const ENDED_BODY_BYTES_MAX: usize = 16 * 1024;
/// Tasks removed in one step after their time.
pub const ENDED_TRIM_MAX: usize = 64;
/// Tasks looked at for one page of an answer that filters; the page may be short then.
pub const TASKS_LOOKED_AT_MAX: usize = 10_000;
/// Tasks in one page of an answer.
pub const TASK_PAGE_MAX: usize = 1_000;
/// Times that a change of a task is made again because the task changed meanwhile.
pub const TASK_CHANGE_ATTEMPTS: usize = 5;

const _: () = assert!(MISFIRE_GRACE_MS > 2 * LEASE_MS_MAX, "a lease that runs out makes no time missed");
