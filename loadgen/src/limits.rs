//! Bounds of the load generator.

use std::time::Duration;

/// Largest head of an HTTP answer, bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers of an HTTP answer, at most.
pub const HEADERS_MAX: usize = 32;
/// Largest body of an HTTP answer, bytes.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Largest frame a client takes, bytes: a push tail and its head.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Read buffer that the clients of one thread share, bytes.
pub const READ_BYTES: usize = 64 * 1024;
/// How long a client may take to connect and be greeted.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Clients of a crowd that connect at the same time.
pub const CONNECTING_MAX: usize = 16;

/// Requests of a stream under way, at most: connections to REST, or batches at Kafka.
pub const SENDER_WORKERS: usize = 32;
/// Messages of one request, at most.
pub const SENDER_BATCH_MAX: usize = 200;
/// Bytes of one request, about, at most.
pub const SENDER_BATCH_BYTES_MAX: usize = 4 << 20;
/// Pause after a request that failed.
pub const SENDER_RETRY: Duration = Duration::from_millis(100);
/// Shortest time between two wake-ups of a pacing thread.
pub const SENDER_PAUSE: Duration = Duration::from_micros(200);
/// How long a request may take.
pub const SENDER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long each step of linking to a gateway may take.
pub const LINK_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A link that takes nothing for this long is broken.
pub const LINK_PATIENCE: Duration = Duration::from_secs(30);
/// How often a link says that it is there, and looks whether it has to.
pub const LINK_PING_EVERY: Duration = Duration::from_secs(4);
/// Bytes that are read from a link at once, at most.
pub const LINK_READ_BYTES: usize = 256 * 1024;
/// Batches that wait for one link, at most.
pub const LINK_JOBS_MAX: usize = 64;
/// Pushes that a gateway handed back and whose sender has not looked, at most.
pub const HANDED_BACK_MAX: usize = 65_536;
/// Requests about messages' states under way, at most.
pub const INQUIRY_WORKERS: usize = 8;
/// Before a message is asked about again.
pub const INQUIRY_PAUSE: Duration = Duration::from_millis(100);
/// How long the answer may take.
pub const INQUIRY_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages of a run that are asked about, at most; of more, some that are spread evenly.
pub const INQUIRIES_MAX: u64 = 100_000;
/// Mail addresses or telephone numbers of a run, at most.
pub const RECIPIENTS_MAX: u32 = 1_000_000;
/// Telephone numbers of a run, at most: so many are kept free for plays and films (Ofcom, 07700 900000 to 900999).
pub const PHONES_MAX: u32 = 1_000;
/// How long after its planned time a message may be scheduled for.
pub const DELAY_MAX: Duration = Duration::from_secs(3_600);
/// Messages of a stream a second, at most.
pub const RATE_PER_S_MAX: u64 = 1_000_000;
/// Messages of a stream in a phase, at most: far fewer than have numbers, over all phases.
pub const MESSAGES_MAX: f64 = 1e6 * 1_000.0;
/// Phases of a scenario.
pub const PHASES_MAX: usize = 1_000;
/// Clients of a run.
pub const CONNECTIONS_MAX: u32 = 10_000_000;
/// Longest body of a message, bytes; a server may allow less.
pub const BODY_BYTES_MAX: u32 = 500 * 1024;

/// Processes of a run, at most.
pub const PROCESSES_MAX: u32 = 250;
/// Longest frame between two of them, bytes: a second with all its histograms is a hundredth of it.
pub const JOIN_FRAME_BYTES_MAX: usize = 16 << 20;
/// Shortest key that they share, bytes.
pub const JOIN_KEY_BYTES_MIN: usize = 16;
/// Characters of a text that another process told, at most.
pub const JOIN_TEXT_CHARS_MAX: usize = 256;
/// How long to connect, and to prove the key, may take.
pub const JOIN_GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that are proving it, at most; further ones are closed.
pub const JOIN_GREETINGS_MAX: usize = 16;
/// A process that says nothing for this long is gone. Each says something every second.
pub const JOIN_SILENCE: Duration = Duration::from_secs(10);
/// How often the leader says that it is there.
pub const JOIN_BEAT: Duration = Duration::from_secs(1);
/// Round trips by which clocks are compared.
pub const JOIN_ROUND_TRIPS: usize = 32;
/// Between when the clients of all are there and when the phase begins: all have to hear of it.
pub const JOIN_LEAD: Duration = Duration::from_millis(250);
/// How long a second of one process waits for those of the others.
pub const JOIN_SECOND_PATIENCE: Duration = Duration::from_secs(3);
/// How much longer than their share of the drain the leader waits for the others' ends.
pub const JOIN_END_SPARE: Duration = Duration::from_secs(20);

/// How often a run looks what is due.
pub const RUN_TICK: Duration = Duration::from_millis(20);
/// How long before their time clients are told to connect: three ticks, for one may be late.
pub const CONNECT_AHEAD: Duration = Duration::from_millis(60);
/// What is told together.
pub const SECOND: Duration = Duration::from_secs(1);
/// How long a run waits for clients of which nobody comes any more.
pub const GATHER_PATIENCE: Duration = Duration::from_secs(12);

/// Clients that one worker of a fleet drives at most: the direct descriptors of its ring. A lower descriptor limit of the
/// process lowers it further.
pub const RING_CLIENTS_MAX: u32 = 16_384;
/// Descriptors of the process that are left to everything but the clients of one ring.
pub const DESCRIPTORS_SPARED: u32 = 256;
/// Submissions handed to the kernel in one call.
pub const RING_SUBMISSIONS: u32 = 1_024;
/// Completions a ring holds before the kernel keeps them aside.
pub const RING_COMPLETIONS: u32 = 16_384;
/// Receive buffers shared by the clients of one ring.
pub const RING_BUFFERS: u16 = 2_048;
/// Size of one receive buffer, bytes.
pub const RING_BUFFER_BYTES: u32 = 2_048;
/// Bytes that wait for one client's socket at most; a server that takes less ends the client.
pub const PENDING_BYTES_MAX: usize = 256 * 1024;
/// Clients that start to connect in one turn of a worker, so that those connected are served meanwhile.
pub const CONNECTS_PER_TURN_MAX: u32 = 64;
/// Handshakes of one worker under way at most.
pub const HANDSHAKES_MAX: u32 = 512;
/// Pause of a client whose connection ended unasked, before it connects again, milliseconds.
pub const RECONNECT_MS: u64 = 250;
/// Reasons of failed connections told apart; further ones count together.
pub const FAILURES_MAX: usize = 32;
/// How long a client that said goodbye waits for the server's end, milliseconds.
pub const GOODBYE_TIMEOUT_MS: u64 = 5_000;
/// Shortest pause of a worker whose clients are to connect, unless something completes.
pub const CONNECT_PAUSE: Duration = Duration::from_millis(1);
/// The longest a worker sleeps before it looks for commands, milliseconds.
pub const WORKER_SLEEP_MS: u64 = 10;
/// Clients per source address: the ephemeral ports of one address are about 28,000, and recently closed ones rest.
pub const CLIENTS_PER_SOURCE: u32 = 2_000;
/// Source addresses: 127.0.1.1 to 127.0.250.250.
pub const SOURCES_MAX: u32 = 250 * 250;

const _: () = assert!(JOIN_BEAT.as_millis() * 4 < JOIN_SILENCE.as_millis(), "a beat that is late is no silence");
const _: () = assert!(JOIN_LEAD.as_millis() > 4 * RUN_TICK.as_millis(), "a phase is made ready for in time");
const _: () = assert!(RING_BUFFERS.is_power_of_two(), "the kernel wants a power of two");
const _: () = assert!(RING_COMPLETIONS >= RING_BUFFERS as u32, "every buffer's completion fits");
