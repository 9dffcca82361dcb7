//! Bounds of the gateway, in one place.

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
/// Size of one receive buffer, bytes.
pub const RING_BUFFER_BYTES: u32 = 1_024;
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
