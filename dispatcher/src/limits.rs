//! Bounds of the dispatcher.

mod accounts;
mod journal;
mod mail;
mod redis;
mod schedule;
mod sms;
mod webhook;

pub use accounts::*;
pub use journal::*;
pub use mail::*;
pub use redis::*;
pub use schedule::*;
pub use sms::*;
pub use webhook::*;

/// How long a record of a later version is held for a later version of this program, milliseconds from its append on.
pub const NEWER_VERSION_HOLD_MS: u64 = 60 * 60 * 1_000;

/// Largest body of a REST batch, bytes.
pub const REST_BATCH_BYTES_MAX: usize = 16 << 20;
/// Bodies of REST requests in memory, KiB; a request beyond it is answered 503.
pub const REST_BODY_KIB_MAX: usize = 256 * 1024;
/// How long a REST body may take to arrive, milliseconds.
pub const REST_BODY_TIMEOUT_MS: u64 = 30_000;
/// How long REST waits for one answer of a store or log before it answers 503, milliseconds.
pub const REST_STORE_TIMEOUT_MS: u64 = 10_000;
/// What 503 tells in `Retry-After`, seconds.
pub const RETRY_AFTER_S: u32 = 1;
/// Longest `x-request-id` of a caller that is echoed, bytes; a longer one is replaced.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// Recipients in one page of an answer, unless asked otherwise.
pub const MESSAGE_PAGE_DEFAULT: usize = 100;

/// Jobs waiting for the embedded store's writer; a caller beyond it waits.
pub const STORE_QUEUE_JOBS: usize = 4_096;
/// Jobs that share one fsync of the embedded store, at most.
pub const STORE_GROUP_JOBS_MAX: usize = 2_048;
/// Bytes written between two fsyncs of the embedded store, at most (one job may pass it).
pub const STORE_GROUP_BYTES_MAX: usize = 8 << 20;
/// Block cache of the embedded store, bytes.
pub const STORE_CACHE_BYTES: u64 = 64 << 20;
/// Memtable of one keyspace of the embedded store, bytes.
pub const STORE_MEMTABLE_BYTES: u64 = 16 << 20;
/// Journal files of the embedded store before it flushes the keyspaces that hold them, bytes.
pub const STORE_JOURNAL_BYTES: u64 = 256 << 20;
/// Threads of the embedded store that flush and compact.
pub const STORE_WORKERS: usize = 2;

/// Records of one lane that may stand between the oldest unsettled one of each partition and the newest, all partitions
/// together, 24 bytes each. At the bound the source polls no more: one slow record holds back at most this many behind it.
/// That is 50,000 a second while one waits for its acknowledgement (10 s).
pub const LEDGER_RECORDS_MAX: usize = 1 << 19;

/// Most marks read in one request of a worker.
pub const MARKS_BATCH_MAX: usize = 512;
/// Most stream changes in one request of a worker.
pub const STREAM_BATCH_MAX: usize = 512;
/// First pause after a store failed, milliseconds; it doubles.
pub const STORE_RETRY_FIRST_MS: u64 = 20;
/// Longest pause before a store that failed is asked again, milliseconds.
pub const STORE_RETRY_MAX_MS: u64 = 2_000;

/// Names of stored pushes that a worker keeps because a session may still acknowledge them. Past it the oldest is
/// forgotten: its acknowledgement then comes to nothing, and the push is sent once more at the next replay.
pub const KEPT_REFERENCES_MAX: usize = 1 << 16;
/// Users whose owner shard a worker could not tell that something was stored. Past it a shard is told `StoredMany`.
pub const UNTOLD_USERS_MAX: usize = 1 << 14;
/// Recalls that a worker tells again to shards whose link comes up; past it the oldest is not.
pub const RECALLS_RETOLD_MAX: usize = 1_024;
/// How long it does, milliseconds: longer than a link that broke takes to be noticed and opened again.
pub const RECALL_RETELL_MS: u64 = 60_000;
/// Times a push that is not to be stored is routed again after `Moved` before it is skipped.
pub const MOVES_MAX: u8 = 2;

/// Replays of a worker that ask for their streams at once: most find nothing there, in one look at all of them.
pub const READS_MAX: usize = 512;
/// Entries that a worker's reads may bring at once, of streams in which there is something: where many are read, each brings few.
pub const READS_ENTRIES_MAX: usize = 32 * READ_ENTRIES;
/// Entries that a read brings at least, if there are as many.
pub const READ_ENTRIES_MIN: usize = READS_ENTRIES_MAX / READS_MAX;
const _: () = assert!(READ_ENTRIES_MIN > 0, "as many are read at once as ask");
/// Entries asked for in one stream read.
pub const READ_ENTRIES: usize = pushgate_protocol::limits::REPLAY_WINDOW;
/// Bytes of stored pushes sent to one user and not yet acknowledged during a replay; one push may exceed it.
pub const REPLAY_WINDOW_BYTES: usize = 256 * 1024;
/// First pause of a replay that waits for deferred pushes or for room in the outbox, milliseconds; it doubles.
pub const REPLAY_PAUSE_FIRST_MS: u64 = 20;
/// Longest such pause, milliseconds.
pub const REPLAY_PAUSE_MAX_MS: u64 = 1_000;
/// Times a replay starts over because the outbox had no room; then the rest stays for the user's next replay. With the pauses
/// between them they outlast the 30 s that a gateway gives a socket which takes nothing.
pub const REPLAY_RESTARTS_MAX: u32 = 36;
/// Records of a partition that a lane's Kafka consumer fetches ahead of the pipeline, at least.
pub const KAFKA_PREFETCH_RECORDS: usize = 5_000;
/// Bytes of a partition that a lane's Kafka consumer fetches ahead of the pipeline, at most (one fetch may pass it).
pub const KAFKA_PREFETCH_BYTES: usize = 4 << 20;
/// Bytes of one answer to a fetch, all partitions together.
pub const KAFKA_FETCH_BYTES: usize = 16 << 20;
/// Records of a partition that a poll takes before the next partition has its turn.
pub const KAFKA_PARTITION_TURN: usize = 64;
/// How long a partition that the consumer group asks back waits for what was read of it to settle, milliseconds. What has not by then comes again at
/// its next owner. The lane fetches nothing meanwhile.
pub const KAFKA_REVOKE_DRAIN_MS: u64 = 500;
/// Bytes handed to the Kafka producer and not yet reported; whoever would pass it waits.
pub const KAFKA_SEND_BYTES: usize = 64 << 20;
/// Largest record the Kafka producer takes, bytes; the topic's own bound may be smaller.
pub const KAFKA_RECORD_BYTES_MAX: usize = 2 << 20;
/// How long the Kafka producer tries to deliver a record, milliseconds.
pub const KAFKA_DELIVERY_TIMEOUT_MS: u64 = 30_000;
/// How long the same refusal of brokers to let us in stays out of the log, milliseconds. librdkafka tells it every 30 s at most.
pub const KAFKA_REFUSAL_REPEAT_MS: u64 = 60_000;
/// How long brokers are out before the log tells of a reason that also holds while they start, milliseconds.
pub const KAFKA_UNSURE_MS: u64 = 5_000;
/// How long a topic that we may not write to counts as failing after the last try, milliseconds: that it may be written to is seen by writing alone, and
/// who is not ready is given nothing to write.
pub const KAFKA_REFUSAL_KEPT_MS: u64 = 60_000;
/// How often it is tried whether a topic may be read that could not, milliseconds. Each try is a client of its own.
pub const KAFKA_READ_TRY_MS: u64 = 5_000;
/// How long such a try may take, milliseconds; a lane that could not be read waits for it.
pub const KAFKA_READ_TRY_WAIT_MS: u64 = 2_000;

const _: () = assert!(
    KAFKA_RECORD_BYTES_MAX > pushgate_protocol::limits::MESSAGE_BYTES_MAX + 64 * 1024,
    "the largest message fits a record with key and headers"
);
/// Entries of one user's stream: a burst to one user outlives a client that falls behind or is away for a while.
pub const STREAM_ENTRIES_MAX: usize = 10_000;
/// Encoded bytes of one user's stream; the newest entry stays even if it alone is larger.
pub const STREAM_BYTES_MAX: usize = 8 << 20;
/// Expired messages to everyone that leave their stream with the next one.
pub const EXPIRED_PER_PUBLISH: usize = 64;
/// Runs of positions remembered of what one user has had of the messages to everyone; past it the two oldest are joined.
pub const SEEN_RUNS_MAX: usize = 256;
/// Length of a window of marks: a mark is remembered for one to two of them.
pub const MARK_WINDOW_MS: u64 = 10 * 60 * 1_000;
/// What a mark is reckoned to take beyond the names of its user, bytes: a key of its own in Redis, an entry on disk.
pub const MARK_BYTES: u64 = 200;
/// What marks may take, unless configured, bytes.
pub const MARK_BYTES_MAX: u64 = 1 << 30;
/// Replay episodes of one user whose deferred pushes are counted at the same time; the oldest is forgotten.
pub const STREAM_EPISODES_MAX: usize = 4;
/// How long the count of an episode is kept after its last push.
pub const STREAM_EPISODE_KEEP_MS: u64 = 60 * 60 * 1_000;
/// Separate runs of deferred numbers remembered per episode; past it the lowest two are joined.
pub const STREAM_EPISODE_RUNS_MAX: usize = 256;
/// Longest life of what a stream keeps beyond its entries' own expiry, and of an entry that never expires.
pub const STREAM_KEEP_MS_MAX: u64 = 10 * 365 * 24 * 60 * 60 * 1_000;
/// Users (or messages) whose leftovers one sweep of the embedded store looks at.
pub const STORE_SWEEP_MAX: usize = 64;
/// Shortest time between two sweeps of the embedded store.
pub const STORE_SWEEP_EVERY_MS: u64 = 1_000;

/// Recipients (per channel) of one message whose states are kept.
pub const MESSAGE_RECIPIENTS_MAX: usize = 3 * pushgate_protocol::limits::RECIPIENTS_MAX;
/// Recipients in one page of an answer.
pub const MESSAGE_PAGE_MAX: usize = 1_000;
/// How long the states of a message are kept after the last change, unless configured.
pub const MESSAGE_KEEP_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
/// How long a message id is an idempotency key.
pub const IDEMPOTENCY_MS: u64 = 24 * 60 * 60 * 1_000;
/// First wait before a lost link is opened again, milliseconds; doubles up to [`LINK_RETRY_MS_MAX`].
pub const LINK_RETRY_MS_MIN: u64 = 20;
/// Longest wait before a lost link is opened again, milliseconds (a quarter more with jitter).
pub const LINK_RETRY_MS_MAX: u64 = 1_000;
/// Connecting and the handshake of a link together, milliseconds.
pub const LINK_OPEN_MS: u64 = 5_000;
/// A link sends `Ping` this often, milliseconds.
pub const LINK_PING_MS: u64 = 5_000;
/// A link without a byte from the gateway for this long is ended, milliseconds.
pub const LINK_SILENCE_MS: u64 = 15_000;
/// Users that a worker tells of again when their owner is another; past it every shard is told `StoredMany` then.
pub const RETOLD_USERS_MAX: usize = 1 << 14;
/// What a shard was told within this time before its link ended may have been sent after the gateway had given the link up, so
/// it is told once more.
pub const TOLD_DOUBT_MS: u64 = 2 * LINK_SILENCE_MS;
/// Read buffer of a link, bytes.
pub const LINK_READ_BYTES: usize = 128 * 1024;
/// Bytes gathered for one write to a link.
pub const LINK_WRITE_BYTES: usize = 128 * 1024;
/// Frames of the lower lanes that all links together write between the poll that returned a record of lane high and that record.
pub const PUSHES_BEFORE_HIGH_MAX: u64 = 256;
/// Those of them that may be on their way to sockets at any time, of all links.
pub const LOWER_TURN_FRAMES: u64 = 128;
/// A record of lane high that is not written for so long waits for somebody else than the lower lanes, which are held up no longer,
/// milliseconds.
pub const URGENT_HOLD_MS: u64 = 100;
/// Polls of lane high that are counted from at the same time; further ones share the newest.
pub const URGENT_WAITS_MAX: usize = 64;
/// Most shards a gateway may have.
pub const SHARDS_MAX: u16 = 1024;

/// Link events waiting for a worker; past it the link is not read.
pub const WORKER_EVENTS: usize = 256;
/// Batches of deliveries of one lane waiting for a worker; past it the lane is not polled.
pub const WORKER_BATCHES: usize = 2;
/// Most pipeline workers.
pub const WORKERS_MAX: u8 = 16;
/// Deliveries of a worker that are not finished; past it the worker takes no new ones and its lanes wait.
pub const WORKER_OPEN_MAX: usize = 32_768;
/// The same in bytes of push tails.
pub const WORKER_OPEN_BYTES_MAX: usize = 64 << 20;
/// Deliveries of one lane of which a worker does not know yet whether they settled before; past it the worker takes no more of the
/// lane: they were taken in turns of apps, and what waits here is in no turn.
pub const WORKER_UNKNOWN_MAX: usize = 2 * MARKS_BATCH_MAX;
/// Unanswered pushes of a worker; past it the oldest settle early into their streams.
pub const WORKER_UNANSWERED_MAX: usize = 16_384;
/// The same in bytes of push tails.
pub const WORKER_UNANSWERED_BYTES_MAX: usize = 32 << 20;
/// Ended deliveries of a worker whose result is not yet published; past it the worker takes no new deliveries.
pub const FINISH_BACKLOG: usize = 20_000;
/// Half of it: past it receipts of clients are dropped, so that they hold up no delivery.
pub const RECEIPT_BACKLOG: usize = FINISH_BACKLOG / 2;
/// A worker that may take nothing looks again this often, milliseconds.
pub const WORKER_TICK_MS: u64 = 20;
/// Longest sleep of a worker without anything to do, milliseconds.
pub const WORKER_IDLE_MS: u64 = 1_000;
/// After so many batches of other lanes a lane comes before the higher ones, so that a saturated lane starves none below it.
pub const LANE_WAIT: u32 = 16;
/// Bytes of one lane waiting to be written to one link; past it workers take no more of that lane.
pub const LINK_LANE_BYTES_MAX: usize = 8 << 20;
/// How long a link may take none of what waits for it before it is ended, milliseconds.
pub const LINK_STALL_MS: u64 = 10_000;
/// A link that stood at least this long is opened again without a longer pause, milliseconds.
pub const LINK_STEADY_MS: u64 = 5_000;
/// Marks of what providers took are written at most so often, milliseconds: what is taken meanwhile stands in the journal, and Redis syncs once
/// for all of it.
pub const MARK_EVERY_MS: u64 = 20;
/// Ended deliveries recorded and published together.
pub const FINISH_BATCH: usize = 2_000;

/// Nicest that threads may be configured to be.
pub const NICE_MAX: u8 = 19;
/// Records asked of a lane per poll.
pub const LANE_POLL_RECORDS: usize = 512;
/// Records asked of a lane while the size of its records is not known.
pub const LANE_POLL_RECORDS_FIRST: usize = 16;
/// Bytes of records that a poll asks for, going by the size of those before.
pub const LANE_POLL_BYTES: usize = 8 << 20;
/// Deliveries that a lane makes before it hands them over; one message may pass it.
pub const LANE_BATCH_DELIVERIES: usize = 1_024;
/// The same of lane low: a worker makes pushes of them in one turn, for which whatever comes in the other lanes waits.
pub const LANE_BATCH_LOW: usize = 256;
/// Records that a lane reads ahead of what its workers take, to find those of other apps behind a flood of one.
pub const LANE_AHEAD_RECORDS: usize = 100_000;
/// The same where one app alone is configured: enough for workers to go on.
pub const LANE_AHEAD_ONE_APP: usize = 4_096;
/// The same in bytes.
pub const LANE_AHEAD_BYTES: usize = 48 << 20;
/// Records read ahead that are for addresses of other channels alone. What such a channel has no room for waits here until this is
/// nearly full, then in the schedule.
pub const LANE_AHEAD_CHANNEL_RECORDS: usize = 131_072;
/// The same in bytes.
pub const LANE_AHEAD_CHANNEL_BYTES: usize = 64 << 20;
/// Polls of a lane in which it reads ahead before it hands over again.
pub const LANE_AHEAD_POLLS: u32 = 8;
/// What a record read ahead takes beyond its key and value, bytes.
pub const LANE_AHEAD_RECORD_BYTES: usize = 160;
/// What a plain message read ahead takes beyond its push tail, bytes.
pub const LANE_AHEAD_PLAIN_BYTES: usize = 400;
/// Deliveries of one app that a lane takes in a turn before the next app has its turn.
pub const LANE_APP_TURN: usize = 64;
/// Bytes of deliveries of one app that may be under way in a lane: less than what a worker takes of any lane.
pub const LANE_APP_BYTES_MAX: usize = 32 << 20;
/// How long a lane waits before it offers deliveries to a full worker again, milliseconds.
pub const LANE_HAND_OVER_MS: u64 = 5;
/// How long a poll of a lane without unsettled records waits for the first, milliseconds.
pub const LANE_IDLE_MS: u64 = 200;
/// Bytes of dead letters and scheduled messages that wait to be written; past it the lanes take nothing.
pub const LANE_ASIDE_BYTES_MAX: usize = 64 << 20;
/// Bytes of held records of a newer version in one lane; past it the oldest die early.
pub const LANE_HELD_BYTES_MAX: usize = 32 << 20;
/// Dead letters of a lane that are logged one by one within a second; the rest is counted.
pub const LANE_BURIALS_SAID: u32 = 10;
/// Held records of a newer version that die early, at a time, when their lane has no room.
pub const LANE_HELD_YIELD: usize = 64;
/// How long a poll waits for the first record, milliseconds.
pub const LANE_POLL_MS: u64 = 20;
/// How long a shutdown waits for deliveries in flight, milliseconds; the rest comes again after the restart.
pub const SHUTDOWN_DRAIN_MS: u64 = 3_000;
/// How long a shutdown waits, meanwhile, for what providers say of messages that were handed over to them, milliseconds, and no longer than
/// `deadline_ms` of their channel; what is not answered then may have been sent.
pub const SHUTDOWN_ANSWERS_MS: u64 = 15_000;
/// How long a shutdown then waits for providers to record what they still know and to say goodbye, milliseconds.
pub const SHUTDOWN_GOODBYE_MS: u64 = 2_000;
/// How long a shutdown then waits for results to be published, and as long for the last commits, milliseconds.
pub const SHUTDOWN_FINISH_MS: u64 = 2_000;
/// How long a shutdown waits for webhooks to take what waits for them, milliseconds.
pub const SHUTDOWN_HOOKS_MS: u64 = 1_000;
/// How long a shutdown waits for REST requests under way, milliseconds.
pub const SHUTDOWN_REST_MS: u64 = 1_000;
/// How long an address in use is tried again at start, milliseconds.
pub const LISTEN_RETRY_MS: u64 = 1_000;
/// How often the durability settings of Redis are read, milliseconds.
pub const DURABILITY_CHECK_MS: u64 = 2_000;
/// How often a lane makes its settlements durable, milliseconds.
pub const LANE_COMMIT_MS: u64 = 500;

const _: () = assert!(
    LANE_AHEAD_RECORDS + LANE_AHEAD_CHANNEL_RECORDS < LEDGER_RECORDS_MAX,
    "what is read ahead fits the ledger beside what is under way"
);
const _: () = assert!(LANE_APP_BYTES_MAX < WORKER_OPEN_BYTES_MAX / 8 * 6, "one app fills no worker");
const _: () =
    assert!(LOWER_TURN_FRAMES < PUSHES_BEFORE_HIGH_MAX, "lower lanes go on while a record of lane high waits");
const _: () = assert!(LINK_PING_MS * 2 < LINK_SILENCE_MS, "a live link answers twice before it is given up");
const _: () = assert!(WORKER_UNANSWERED_MAX < WORKER_OPEN_MAX, "slow clients settle early before they stop a lane");

/// Bytes of one lane of the embedded log that are not yet processed. At the bound appends are refused, and REST says so.
pub const LOG_LANE_BYTES_MAX: u64 = 4 << 30;
/// Records behind the committed offset that one turn of the embedded store's writer removes.
pub const LOG_TRIM_RECORDS: usize = 4_096;
/// Results that the embedded backend keeps; the oldest leave first.
pub const RESULTS_KEPT: Kept = Kept { records: 100_000, bytes: 64 << 20 };
/// Dead letters that the embedded backend keeps; the oldest leave first.
pub const DEAD_LETTERS_KEPT: Kept = Kept { records: 10_000, bytes: 256 << 20 };

/// How much of an endless sequence is kept; the newest batch may pass it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Records, at most.
    pub records: u64,
    /// Bytes, at most.
    pub bytes: u64,
}

/// Dead letters in one page of an answer, unless asked otherwise.
pub const DEAD_PAGE_DEFAULT: usize = 100;
/// Dead letters in one page of an answer.
pub const DEAD_PAGE_MAX: usize = 1_000;
/// Content of the dead letters in one page, bytes; a longer letter is alone in its page.
pub const DEAD_PAGE_BYTES_MAX: usize = 8 << 20;
/// Requests that read the topic of dead letters at once; each has a consumer of its own, further ones wait for their turn.
pub const DEAD_READERS_MAX: usize = 4;
/// Dead letters sent once more by one request.
pub const DEAD_REPLAYS_MAX: usize = 100;
/// How long the topic of dead letters is read for one answer, milliseconds.
pub const DEAD_READ_MS: u64 = 5_000;
/// Shortest lease of a gateway in the member list, milliseconds.
pub const MEMBER_LEASE_MS_MIN: u64 = 2_000;
/// Longest lease of a gateway.
pub const MEMBER_LEASE_MS_MAX: u64 = 60_000;
/// How long a reader of the member list waits for an announced change before it reads the list all the same.
pub const MEMBER_POLL_MS: u64 = 1_500;
const _: () =
    assert!(MEMBER_POLL_MS < REDIS_RESPONSE_TIMEOUT_MS, "who waits is answered before the connection is given up");
