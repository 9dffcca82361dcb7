//! Bounds of the connections to Redis.

use super::{CLAIM_TASKS_MAX, SCHEDULE_LOOPS};

/// Connections to one Redis server. With `appendfsync always` Redis syncs once per turn of its loop, in which it reads at most
/// 16 KiB of each connection: a batch over several connections costs fewer syncs.
pub const REDIS_CONNECTIONS: usize = 8;
/// Connections beside them for what the schedule writes in bulk, one for each of its loops and one for what is added: nobody else's
/// commands wait behind that.
pub const REDIS_BULK_CONNECTIONS: usize = SCHEDULE_LOOPS + 1;
/// What goes over one of them before a batch takes another, bytes: each costs both sides its calls to the system, and Redis a sync if it comes
/// in a later turn.
pub const REDIS_PART_BYTES: usize = 12 << 10;
/// Batches waiting to be written to one connection; past it whoever asks waits.
pub const REDIS_REQUESTS: usize = 64;
/// Room for answers that a read of a connection finds at least, bytes.
pub const REDIS_READ_BYTES: usize = 16 << 10;
/// How long a connection to Redis may take, milliseconds.
pub const REDIS_CONNECT_TIMEOUT_MS: u64 = 2_000;
/// How long Redis may take to answer, milliseconds; then the connection is given up.
pub const REDIS_RESPONSE_TIMEOUT_MS: u64 = 5_000;
/// Pause after a failed connection to Redis before the next, milliseconds; calls meanwhile fail at once.
pub const REDIS_RECONNECT_MS: u64 = 100;
/// How long a write waits for the asked number of replicas, milliseconds.
pub const REDIS_WAIT_MS: u64 = 2_000;
/// Commands of one pipeline to Redis, at most.
pub const REDIS_PIPELINE_MAX: usize = 1_024;
/// Tasks in one script call: arguments of a call in a script are bounded (8,000).
pub const REDIS_TASKS_MAX: usize = 1_000;
/// Tasks added by one script call: Redis does nothing else meanwhile, and what many tasks are is soon more than it reads of one connection at a
/// time.
pub const REDIS_ADDED_MAX: usize = 32;

const _: () = assert!(CLAIM_TASKS_MAX <= REDIS_TASKS_MAX, "what was claimed by one call is settled by one");
/// State changes of one message in one script call.
pub const REDIS_CHANGES_MAX: usize = 256;

/// Nodes of a Redis Cluster, its replicas counted; more are not learned.
pub const REDIS_NODES_MAX: usize = 1_024;
/// How often commands of one batch are sent on to where a node of a cluster says that their keys are; then the batch has failed.
pub const REDIS_REDIRECTS_MAX: usize = 5;
/// Pause before commands are sent again whose keys are just being moved to another node, milliseconds.
pub const REDIS_MOVING_PAUSE_MS: u64 = 20;
/// Pause between two questions which node of a cluster has which slots, milliseconds.
pub const REDIS_SLOTS_PAUSE_MS: u64 = 200;
/// How long a node of a cluster or a Sentinel may take to say where data is, milliseconds; then the next one is asked.
pub const REDIS_WHERE_TIMEOUT_MS: u64 = 500;

/// How often Sentinels are asked whether the primary is still where it was, milliseconds.
pub const REDIS_PRIMARY_POLL_MS: u64 = 500;

const _: () = assert!(
    REDIS_CONNECT_TIMEOUT_MS >= 2 * REDIS_WHERE_TIMEOUT_MS,
    "a Sentinel that does not answer leaves time to connect to the primary that others name"
);
