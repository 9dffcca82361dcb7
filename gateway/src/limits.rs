//! Bounds of the gateway, in one place.

use pushgate_protocol::limits::{LINK_FRAME_BYTES_MAX, REPLAY_WINDOW, TAIL_BYTES_MAX};

/// Sockets in one session ring at most; a lower descriptor limit of the process lowers it further.
pub const RING_SOCKETS_MAX: u32 = 32_768;
/// Sockets in one crowd at most: the slot number has this many values in an operation's tag.
pub const CROWD_SOCKETS_MAX: u32 = 1 << 24;
/// Submissions handed to the kernel in one call; batches of 64–1024 sends are the cheapest.
pub const RING_SUBMISSIONS: u32 = 1_024;
/// Completions a session ring holds before the kernel keeps them aside.
pub const RING_COMPLETIONS: u32 = 8_192;
/// Receive buffers shared by all sockets of one session ring.
pub const RING_BUFFERS: u16 = 1_024;
/// Size of one receive buffer, bytes: acknowledgements and pings fit; what does not is taken in pieces. All buffers of a ring
/// are touched sooner or later, so they are part of what an idle session costs.
pub const RING_BUFFER_BYTES: u32 = 256;
/// Rounds of receiving and sending in one turn before other work of the shard gets its chance.
pub const TURN_ROUNDS_MAX: usize = 4;
/// How long a closing connection may take to read what was sent and to close its side, milliseconds.
pub const DRAIN_MS: u64 = 5_000;
/// Largest single send, bytes; more waits for the next one.
pub const SEND_BYTES_MAX: usize = 1 << 30;
/// A staging buffer larger than this is given back to the allocator after its send, bytes.
pub const SPARE_BUFFER_BYTES_MAX: usize = 16 * 1024;
/// Capacity of all idle staging buffers kept for reuse, bytes per crowd.
pub const SPARE_BYTES_MAX: usize = 1 << 20;
/// Consecutive refusals of a submission (no memory, completion queue busy) before a ring counts as broken.
pub const SUBMIT_REFUSALS_MAX: u32 = 1_000;

/// Bytes the epoll engine reads in one call.
pub const READ_BYTES_MAX: usize = 64 * 1024;
/// Reads of one connection in one round before the epoll engine turns to the others.
pub const READS_PER_ROUND: usize = 4;
/// Readiness events the epoll engine takes in one call.
pub const EPOLL_EVENTS: usize = 1_024;

const _: () = assert!(RING_SOCKETS_MAX <= CROWD_SOCKETS_MAX, "a full ring fits the crowd");
const _: () = assert!(RING_BUFFERS.is_power_of_two(), "the kernel wants a power of two");
const _: () = assert!(RING_COMPLETIONS >= RING_BUFFERS as u32, "every buffer's completion fits");
const _: () = assert!(SPARE_BUFFER_BYTES_MAX <= SPARE_BYTES_MAX, "one spare buffer fits the spare bytes");

/// A client silent this long is pinged, seconds.
pub const HEARTBEAT_S: u32 = 30;
/// A client silent this long is closed, milliseconds: a ping and a second chance.
pub const IDLE_TIMEOUT_MS: u64 = 75_000;
/// Bytes waiting for one client, by default.
pub const OUTBOX_BYTES_MAX: usize = 1 << 20;
/// Bytes waiting in the outboxes of all sessions of one shard; past it, a session whose socket is full counts as one whose outbox is.
pub const OUTBOXES_BYTES_MAX: usize = 512 << 20;
/// Pushes of one session waiting or unacknowledged, by default; each costs about 150 bytes.
pub const UNACKED_MAX: usize = 8_192;
/// A session with this part of its bounds under way is behind: pushes for users all of whose sessions are go to the stream.
pub const BEHIND_SHARE: usize = 2;
/// A session with at most this part of its bounds under way has caught up.
pub const CAUGHT_UP_SHARE: usize = 4;
/// A client whose socket takes none of the waiting bytes for this long is closed, milliseconds.
pub const WRITE_TIMEOUT_MS: u64 = 30_000;
/// While more than this waits for a client's socket, further pushes wait in its outbox, where they can still be dropped; bytes.
pub const STAGED_BYTES_MAX: usize = 64 * 1024;
/// Longest message taken from a client, by default, bytes.
pub const CLIENT_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Sessions of one user, by default.
pub const SESSIONS_PER_USER_MAX: u32 = 256;
/// Messages and control frames per second that one session may send, by default: far more than a person makes.
pub const CLIENT_MESSAGES_PER_S: u32 = 50;
/// Messages and control frames that one session may send at once, by default.
pub const CLIENT_MESSAGES_BURST: u32 = 500;
/// Largest such burst that a configuration may set: what was sent is counted in tenths, in 16 bits.
pub const CLIENT_MESSAGES_BURST_MAX: u32 = 6_000;
/// Pushes and echoes shorter than this are not deflated, bytes: they hardly get shorter, and no packet less is sent.
pub const DEFLATE_BYTES_MIN: usize = 256;
/// Longer echoes are not deflated, bytes: the shard's other clients would wait. Pushes are always shorter.
pub const DEFLATE_BYTES_MAX: usize = 1 << 20;
/// Longest message of an echo connection, bytes.
pub const ECHO_MESSAGE_BYTES_MAX: usize = 16 << 20;
/// An echo connection with more than this waiting is not received from until half of it went out; bytes.
pub const ECHO_BACKLOG_BYTES_MAX: usize = 256 * 1024;
/// What one read of an echo connection inflates to, all in all, bytes; the connection that exceeds it is closed with 1013.
pub const ECHO_INFLATED_BYTES_MAX: usize = 2 * ECHO_MESSAGE_BYTES_MAX;
/// Echo connections of one shard; more are answered 503.
pub const ECHO_CONNECTIONS_MAX: u64 = 256;
/// Unfinished messages and unread answers of one shard's echo connections, bytes; the connection that exceeds it is
/// closed with 1013.
pub const ECHO_BYTES_MAX: usize = 256 << 20;

/// Every session that something waits for is looked at once in this time, milliseconds, while there are at most
/// [`VISITS_PER_TICK_MAX`] a tick.
pub const HEARTBEAT_PASS_MS: u64 = 2_000;
/// The least time between two looks at sessions' clocks, milliseconds.
pub const TICK_MS: u64 = 100;
/// The time between two looks for memory that a shard no longer needs, milliseconds. An allocator looks when it is used: after a
/// wave of pushes, the memory of the wave would stay for as long as the sessions are idle.
pub const GIVE_BACK_MS: u64 = 1_000;
/// The part of a heartbeat in which a crowd that came at once is pinged: each ping is a buffer until it is written, and what others
/// are sent in the same turn waits behind them.
pub const HEARTBEAT_SPREAD_SHARE: u64 = 4;
/// Idle slots that are looked at in one tick though the crowd is small.
pub const VISITS_PER_TICK_MIN: usize = 512;
/// Idle slots that are looked at in one tick at most, and as many others: 163,840 a second.
pub const VISITS_PER_TICK_MAX: usize = 16_384;
/// Coarsest grain of the wheel by which idle sessions are looked at, milliseconds.
pub const WHEEL_GRAIN_MS_MAX: u64 = 1_000;
/// Revocations in force at a time.
pub const REVOCATIONS_MAX: usize = 65_536;
/// How long a revocation is remembered, by default, seconds: tokens should not live longer.
pub const REVOCATION_TTL_S: u64 = 7 * 86_400;
/// Longest that may be asked for, seconds.
pub const REVOCATION_TTL_S_MAX: u64 = 366 * 86_400;
/// Longest `jti` that may be revoked, bytes.
pub const TOKEN_ID_BYTES_MAX: usize = 256;
/// Slots whose token is asked about in one tick after something was revoked.
pub const RECHECK_VISITS_PER_TICK: u32 = 16_384;
/// Sessions of revoked tokens that end in one tick.
pub const RECHECK_ENDS_PER_TICK: u32 = 2_048;
/// A session is told that its token ends this long before, milliseconds.
pub const EXPIRING_NOTICE_MS: u64 = 60_000;
/// Sessions whose outbox is looked at in one turn.
pub const WATCHED_PER_TURN_MAX: usize = 4_096;

/// Users times records that a walk with pushes to everyone passes in one turn.
pub const ALL_VISITS_PER_TURN: u32 = 32_768;
/// Pushes that such a walk hands out in one turn.
pub const ALL_PUSHES_PER_TURN: u32 = 4_096;
/// Bytes that it hands out in one turn (one user's share may pass it).
pub const ALL_BYTES_PER_TURN: usize = 4 << 20;
/// Records that one walk carries.
pub const ALL_WALK_RECORDS_MAX: usize = 64;
/// Pushes to everyone that wait for their walk, bytes; past it they are left to the stream, and everyone is replayed.
pub const ALL_QUEUE_BYTES_MAX: usize = 8 << 20;
/// The same of one app.
pub const ALL_QUEUE_BYTES_PER_APP_MAX: usize = 4 << 20;
/// Messages taken back that are remembered; past it the oldest is forgotten.
pub const RECALLED_MAX: usize = 1_024;
/// Recalls that wait to be brought to all sessions of a shard, and as many for those that hold the message; past it, sessions
/// keep what they hold.
pub const RECALL_WALKS_MAX: usize = 1_024;
/// The same of one app.
pub const RECALL_WALKS_PER_APP_MAX: usize = 256;
/// Sessions with something under way that are asked in one turn whether they hold what was taken back.
pub const RECALL_VISITS_PER_TURN: u32 = 2_048;
/// How long a message taken back is remembered, milliseconds: longer than a push is under way.
pub const RECALLED_KEEP_MS: u64 = 30_000;
/// Bytes taken of one session in a tick; past it nothing is received from it until the next (one read may pass it).
pub const INBOUND_BYTES_PER_TICK: usize = 256 * 1024;
/// Room for sessions that the table of inbound bytes keeps from tick to tick.
pub const INBOUND_TABLE_KEPT: usize = 4_096;

/// Replays that a sweep starts in one tick, less those it started that are under way: what is pushed to one who replays goes through its
/// stream, so a sweep ahead of its dispatchers would send all that is pushed that way.
pub const SWEEP_STARTS_PER_TICK: u32 = 500;
/// Replays that a sweep starts in one tick however many are under way: those of clients that read slowly take long.
pub const SWEEP_STARTS_PER_TICK_MIN: u32 = 10;
/// Users that a sweep passes in one tick.
pub const SWEEP_VISITS_PER_TICK: u32 = 16_384;
/// Users with sessions on other gateways that one shard registers.
pub const GUESTS_AWAY_MAX: u32 = 1 << 22;
/// Pushes of one user that one host holds unanswered. With half of that its pushes wait in the stream.
pub const GUEST_HELD_MAX: usize = 2_048;
/// How often hosts are asked to show that they are there, milliseconds.
pub const GUEST_PING_MS: u64 = 5_000;
/// Links of other gateways, for their guests, that one shard takes. Those that it opens itself are one to each shard that owns some of its guests.
pub const GUEST_LINKS_MAX: usize = 4_096;
/// Links to other gateways that one shard opens at a time.
pub const GUEST_DIALS_MAX: usize = 4;
/// Shortest time before a link for guests is tried again, milliseconds; it doubles.
pub const GUEST_DIAL_AGAIN_MS_MIN: u64 = 100;
/// Longest such time, milliseconds: that of dispatchers, so that guests of a gateway that is back wait no longer than its own users.
pub const GUEST_DIAL_AGAIN_MS_MAX: u64 = 1_000;
/// A link to the owner of guests is ended when there has been none for so long, milliseconds.
pub const GUEST_LINK_IDLE_MS: u64 = 60_000;
/// Frames kept for the next link while none is up, bytes.
pub const PARKED_BYTES_MAX: usize = 1 << 20;
/// A link whose peer leaves more than this unread is to be closed, bytes.
pub const LINK_OUTPUT_BYTES_MAX: usize = 64 << 20;

const _: () = assert!(2 * ALL_QUEUE_BYTES_PER_APP_MAX <= ALL_QUEUE_BYTES_MAX, "one app leaves room for another");
const _: () = assert!(2 * RECALL_WALKS_PER_APP_MAX <= RECALL_WALKS_MAX, "one app leaves room for another");
const _: () = assert!(ALL_QUEUE_BYTES_PER_APP_MAX > LINK_FRAME_BYTES_MAX, "the largest push to everyone may wait");
const _: () =
    assert!(ECHO_BYTES_MAX >= 3 * ECHO_MESSAGE_BYTES_MAX, "the largest message is read, echoed and half sent");
const _: () = assert!(DEFLATE_BYTES_MAX >= TAIL_BYTES_MAX, "every push may be deflated");
const _: () = assert!(OUTBOXES_BYTES_MAX > 64 * OUTBOX_BYTES_MAX, "many may be behind before all make room");
const _: () = assert!(OUTBOX_BYTES_MAX > TAIL_BYTES_MAX, "the largest push fits an empty outbox");
const _: () =
    assert!(UNACKED_MAX / BEHIND_SHARE + REPLAY_WINDOW <= UNACKED_MAX, "who is behind has room to be replayed");
const _: () = assert!(CAUGHT_UP_SHARE > BEHIND_SHARE, "who has caught up is not behind at once");
const _: () =
    assert!(WRITE_TIMEOUT_MS > 2 * HEARTBEAT_PASS_MS, "a socket is looked at more than once before it is closed");
const _: () = assert!(STAGED_BYTES_MAX < OUTBOX_BYTES_MAX, "pushes wait before the outbox is full");
const _: () = assert!(IDLE_TIMEOUT_MS > 2 * HEARTBEAT_S as u64 * 1_000, "a client has time to answer a ping");
const _: () = assert!(LINK_OUTPUT_BYTES_MAX > LINK_FRAME_BYTES_MAX, "a link takes its largest frame");

/// Most shards of one gateway: a session id holds the shard in 16 bits, links name it in 16 bits.
pub const SHARDS_MAX: u16 = 1024;

/// Default bound of a client's request head, bytes. An RS256 token of ~1 KiB and a browser's headers fit.
pub const REQUEST_HEAD_BYTES: u32 = 8 * 1024;
/// Largest bound of a request head that a configuration may set, bytes.
pub const REQUEST_HEAD_BYTES_MAX: u32 = 64 * 1024;
/// Most header lines of a request.
pub const REQUEST_HEADERS_MAX: usize = 64;
/// Bytes a refused client may still send before its connection is closed, so that it reads the answer instead of a reset.
pub const LINGER_BYTES_MAX: usize = 64 * 1024;

/// Default time from accept to the end of the handshake, milliseconds.
pub const HANDSHAKE_TIMEOUT_MS: u32 = 10_000;
/// Time that a connection whose deadline has passed gets to take its answer, milliseconds.
pub const TIMED_OUT_ANSWER_MS: u64 = 1_000;
/// Default number of handshakes one shard serves at a time; more wait in the listener's queue.
pub const PENDING_HANDSHAKES: u32 = 1024;
/// Link handshakes one shard serves at a time.
pub const PENDING_LINK_HANDSHAKES_MAX: usize = 64;
/// Connections waiting to be accepted, per listener. The kernel lowers it to `net.core.somaxconn`.
pub const LISTEN_BACKLOG: i32 = 4096;
/// How long a bind is tried again while the address is taken, milliseconds: the port of a killed server stays taken
/// until its rings are torn down, tens to hundreds of milliseconds.
pub const BIND_RETRY_MS: u64 = 1_000;
/// Pause between two tries to bind, milliseconds.
pub const BIND_PAUSE_MS: u64 = 25;
/// Pause after an accept that failed for lack of descriptors or memory, milliseconds.
pub const ACCEPT_PAUSE_MS: u64 = 50;

/// Largest rate of handshakes that a configuration may set, per second.
pub const RATE_PER_S_MAX: u32 = 1_000_000;
/// Cells of each of the two rows in which addresses are counted; an address has one cell in each. Two rows of 4-byte cells are
/// 512 KiB, whatever the number of addresses.
pub const ADDRESS_CELLS: usize = 1 << 16;

/// Entries of a shard's mailbox. A hand-off that finds it full is answered 503.
pub const MAILBOX_ENTRIES_MAX: usize = 4096;
/// Entries of a mailbox handled in one turn, so that a storm of connects does not delay pushes.
pub const MAIL_PER_TURN_MAX: usize = 128;
/// A shard that has not ticked for this long is reported by `/healthz`, milliseconds.
pub const SHARD_STALL_MS: u64 = 5_000;
/// How often a gateway looks at its lease, milliseconds: it freezes and steps down no later than that.
pub const LEASE_LOOK_MS: u64 = 50;
/// Pause before a renewal that failed is tried again, milliseconds.
pub const LEASE_RETRY_MS: u64 = 250;
/// How long a gateway that ends tries to take its record away, milliseconds.
pub const LEAVE_MS: u64 = 1_000;

/// Smallest outbox that a configuration may set, bytes: it holds the largest push.
pub const OUTBOX_BYTES_MIN: u32 = (TAIL_BYTES_MAX + 16 * 1024) as u32;
/// Default bound of a shutdown, after its grace time, milliseconds: what container platforms commonly give a process.
pub const SHUTDOWN_TIMEOUT_MS: u32 = 25_000;
/// Default grace time of a drain, milliseconds: balancers that ask every few seconds notice.
pub const DRAIN_GRACE_MS: u32 = 5_000;
/// Default pace of a drain, sessions per second of a gateway.
pub const DRAIN_RATE_PER_S: u32 = 2_000;
/// Part of the shutdown's bound that is left, after the last session was told, for closing and for links.
pub const DRAIN_RESERVE_SHARE: u64 = 4;
/// How long a client that was told where to go may take before it is closed, milliseconds.
pub const MOVED_CLOSE_MS: u64 = 5_000;
/// Clients are told to go after a part of this, each after its own, milliseconds.
pub const MOVED_AFTER_MS_MAX: u64 = 1_000;
/// How long a shard that waits for nobody waits to write close frames, milliseconds.
pub const ABANDON_MS: u64 = 200;

/// Time that clients whose handshake is under way get to finish it once a shutdown began, milliseconds.
pub const HANDSHAKE_GRACE_MS: u64 = 500;
/// Pause between two looks at a thread that should end, milliseconds.
pub const JOIN_PAUSE_MS: u64 = 5;

/// Links held by one shard: dispatchers, and later gateways with guests.
pub const LINKS_MAX: usize = 256;
/// Silence after which a link is down, milliseconds.
pub const LINK_SILENCE_MS: u64 = 15_000;
/// Bytes read from a link at once, and so handled in one turn: half of what the lane normal may have under way, so that the
/// peer sends while this is handled. Sends of a turn go in batches, which are dear when they are small.
pub const LINK_READ_BYTES: usize = 256 * 1024;
/// Pushes that what they need is fetched for together: frames of a link, or users on a walk.
pub const WARMED_TOGETHER: usize = 16;
/// Room for this many pushes of a turn is kept.
pub const UNHELD_KEPT: usize = 4_096;
/// Bytes waiting to be written to a link above which nothing more is read from it.
pub const LINK_OUTPUT_PAUSE_BYTES: usize = 1024 * 1024;
/// Shortest link key, bytes.
pub const LINK_KEY_BYTES_MIN: usize = 16;
/// Longest handshake frame, bytes: a hello with the longest node name fits.
pub const LINK_HANDSHAKE_BYTES_MAX: usize = 1024;
/// Reads for which a connection that TLS refuses is kept, so that its peer hears why.
pub const LINK_LINGER_READS: usize = 16;

/// Handshakes that one shard begins per second, by default.
pub const TLS_HANDSHAKES_PER_S: u32 = 1_000;
/// Most that a configuration may allow.
pub const TLS_HANDSHAKES_PER_S_MAX: u32 = 100_000;
/// Handshakes that begin in one turn: a tenth of a millisecond each with ECDSA, some with RSA, and sessions wait as long.
pub const TLS_HANDSHAKES_PER_TURN: usize = 4;
/// The time whose share of handshakes may begin at once after a lull, milliseconds.
pub const TLS_HANDSHAKE_BURST_MS: u64 = 100;
/// Bytes of a handshake that may wait for the rest of their message: one full record. Known clients send up to 2 KiB.
pub const TLS_HANDSHAKE_BYTES_MAX: usize = 18 * 1024;
/// Bytes read at once while a client's TLS handshake or request is under way.
pub const TLS_READ_BYTES: usize = 2 * 1024;
/// Records in a row without data before a connection ends, as in other TLS libraries.
pub const TLS_QUIET_RECORDS_MAX: u8 = 32;
/// Emptied buffers of incomplete records kept for the next, per shard.
pub const TLS_SPARE_PARTIALS_MAX: usize = 64;
/// A larger one is given back to the allocator, bytes.
pub const TLS_SPARE_PARTIAL_BYTES_MAX: usize = 18 * 1024;
/// Certificates of one gateway.
pub const TLS_CERTIFICATES_MAX: u32 = 1_000;
/// Time between looks at the certificates' files, by default, seconds.
pub const TLS_RELOAD_S: u32 = 10;
/// Longest that a configuration may set.
pub const TLS_RELOAD_S_MAX: u32 = 86_400;
/// A certificate that ends within this time is warned of, seconds.
pub const CERTIFICATE_NOTICE_S: u64 = 14 * 86_400;

/// How long the admin port waits for a shard's answer, milliseconds.
pub const ADMIN_REPLY_MS: u64 = 2_000;

const _: () = assert!(GUEST_HELD_MAX / 2 > REPLAY_WINDOW, "a host that is behind has room for what is replayed");
const _: () = assert!(GUEST_PING_MS * 2 < LINK_SILENCE_MS, "a host is asked twice before it is silent");
const _: () = assert!(MOVED_AFTER_MS_MAX < MOVED_CLOSE_MS, "a client is not closed before it should go");
const _: () = assert!(CLIENT_MESSAGES_BURST_MAX * 10 + 10 <= u16::MAX as u32, "a burst is counted in 16 bits");
const _: () = assert!(ADDRESS_CELLS == 1 << 16, "a cell has 16 bits of an address' hash");
const _: () = assert!(LINK_OUTPUT_PAUSE_BYTES < LINK_OUTPUT_BYTES_MAX, "a link is paused before it is closed");
const _: () = assert!(LINK_READ_BYTES <= LINK_FRAME_BYTES_MAX, "the read buffer grows to hold one frame");
const _: () = assert!(OUTBOX_BYTES_MAX >= OUTBOX_BYTES_MIN as usize, "the default outbox holds the largest push");
const _: () = assert!(REQUEST_HEAD_BYTES <= REQUEST_HEAD_BYTES_MAX, "the default head bound is allowed");
